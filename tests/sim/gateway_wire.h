// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What lies between a gateway and its surroundings in the simulator: packets as a virtual link
// carries them, and the station at the other end of one of the gateway's interfaces.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <rte_mbuf.h>

#include "packet/address.h"
#include "packet/headers.h"

namespace isthmus::sim {

// An L3 packet on its way, its offloads not yet done, as a virtio link hands them on.
struct Carried {
  std::vector<uint8_t> bytes;
  bool partial = false;       // the transport checksum is not computed
  uint16_t segment_size = 0;  // not 0: many segments in one

  bool header_intact() const;   // IPv4 checksum
  packet::Tuple tuple() const;  // ports are 0 unless it is TCP or UDP
  uint8_t protocol() const { return bytes[9]; }
  const packet::Tcp* tcp() const;  // null when it is not TCP
};

// From what an engine or a gateway sends; takes the mbuf, whose data starts at L3.
Carried carry(rte_mbuf* packet);
// As a port receives it. Null when the pool is empty.
rte_mbuf* to_received(const Carried& packet);
// As an engine sends it: with the offloads asked for that are still to be done.
rte_mbuf* to_transmit(const Carried& packet);
// Cut as a device without segmentation gets it.
std::vector<Carried> segments(Carried&& packet);

// Who is at the other end of an interface: a pod, a router, a node. Answers ARP for its addresses,
// asks for the gateway's, and minds that frames are addressed and cut as they must be.
class Peer {
 public:
  struct Config {
    packet::MacAddress mac;
    std::vector<packet::IpAddress> addresses;  // the first asks
    packet::IpAddress gateway;                 // whose MAC is asked for
    packet::MacAddress gateway_mac;            // what the answer must be
    uint16_t mtu = 1500;
    bool offload = false;  // the interface may leave checksums and segmentation to us
  };
  using ToGateway = std::function<void(rte_mbuf* frame)>;
  using Up = std::function<void(Carried&&)>;

  Peer(const Config& config, ToGateway to_gateway, Up up)
      : config_(config), to_gateway_(std::move(to_gateway)), up_(std::move(up)) {}

  // Takes ownership of a frame that the gateway sent.
  void from_gateway(rte_mbuf* frame);
  void send(Carried&& packet);
  const std::string& error() const { return error_; }
  uint64_t arp_requests() const { return arp_requests_; }  // from the gateway

 private:
  void arp(const packet::Ethernet& ethernet, rte_mbuf* frame);
  void put(rte_mbuf* packet, const packet::MacAddress& to, uint16_t type);

  Config config_;
  ToGateway to_gateway_;
  Up up_;
  bool resolved_ = false;
  std::vector<Carried> waiting_;
  uint64_t arp_requests_ = 0;
  std::string error_;
};

}  // namespace isthmus::sim
