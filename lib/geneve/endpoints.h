// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The two tunnels between a node and its gateway as Istio 1.18's redirection lays them: which
// packets are believed, and what the gateway answers inside them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include <rte_mbuf.h>

#include "geneve/geneve.h"
#include "packet/address.h"
#include "stats/reason.h"

namespace isthmus::geneve {

enum class Direction : uint8_t { inbound, outbound };  // as seen from the node's ambient pods

// One tunnel: its VNI, and the gateway's address and MAC inside it.
struct Tunnel {
  uint32_t vni = 0;
  packet::IpAddress address;
  packet::MacAddress mac;
};

struct EndpointConfig {
  packet::IpAddress gateway;             // outer destination
  std::vector<packet::IpAddress> hosts;  // outer sources that are believed
  // VNI 1000 with 192.168.126.2 and VNI 1001 with 192.168.127.2 (Istio 1.18 cni constants.go).
  Tunnel inbound{1000, packet::IpAddress::v4(0xc0a87e02), {}};
  Tunnel outbound{1001, packet::IpAddress::v4(0xc0a87f02), {}};
};

// A locally administered unicast MAC that is always the same for a gateway address and VNI, so that
// a restarted gateway finds the host's neighbour entries still right.
packet::MacAddress tunnel_mac(const packet::IpAddress& gateway, uint32_t vni);

// Immutable; shared by all workers.
class TunnelEndpoints {
 public:
  // A tunnel whose mac is all zero gets tunnel_mac().
  explicit TunnelEndpoints(const EndpointConfig& config);

  // Whether the tunnel packet may be believed, and which tunnel it came by. The gateway asks this
  // for packets from a `node` port only.
  stats::Refusal accept(const Tunnelled& packet, Direction& direction) const;
  const Tunnel& tunnel(Direction direction) const {
    return direction == Direction::inbound ? inbound_ : outbound_;
  }

  // Answers an ARP message that came by a tunnel; `message` starts at ARP (strip() was called) and
  // stays the caller's. On success `reply` is an L3 packet to be sent to the host that asked: the
  // only thing that ever travels back through Geneve.
  stats::Refusal answer_arp(rte_mbuf* message, const Tunnelled& from, Direction direction,
                            rte_mempool* pool, rte_mbuf*& reply) const;

 private:
  packet::IpAddress gateway_;
  std::vector<packet::IpAddress> hosts_;  // sorted
  Tunnel inbound_;
  Tunnel outbound_;
};

}  // namespace isthmus::geneve
