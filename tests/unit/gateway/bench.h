// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One gateway on a bench: frames written by hand go in, frames that leave are looked at. It has a
// node port, an underlay port and one ambient pod; every neighbour is known beforehand.
#pragma once

#include <deque>
#include <gtest/gtest.h>
#include <memory>
#include <string_view>

#include "support/gateway_node.h"
#include "support/packets.h"

namespace isthmus::gateway {

inline constexpr uint16_t kNode = 0;
inline constexpr uint16_t kUnderlay = 1;
inline constexpr uint16_t kPod = 2;

inline constexpr std::string_view kHost = "10.2.0.253";
inline constexpr std::string_view kGateway = "10.2.0.254";  // on the node port
inline constexpr std::string_view kRouter = "10.100.0.2";   // on the underlay
inline constexpr std::string_view kPodAddress = "10.1.0.1";
inline constexpr std::string_view kPodGateway = "169.254.1.1";

packet::MacAddress own_mac(uint16_t interface);
packet::MacAddress peer_mac(uint16_t interface);

struct Sent {
  uint16_t interface = 0;
  packet::Ethernet ethernet;
  test::Bytes packet;  // L3, or ARP
  uint64_t flags = 0;

  const packet::Ipv4& ip() const { return *reinterpret_cast<const packet::Ipv4*>(packet.data()); }
  const packet::Tcp& tcp() const {
    return *reinterpret_cast<const packet::Tcp*>(packet.data() + 20);
  }
  const packet::Icmp& icmp() const {
    return *reinterpret_cast<const packet::Icmp*>(packet.data() + 20);
  }
};

class Bench : public testing::Test {
 protected:
  Bench();
  ~Bench() override;

  // Before the first frame: with these options, one worker otherwise.
  void make(const test::GatewayOptions& options);

  // An L3 packet from whoever is at the other end of the interface.
  void put(uint16_t interface, const test::Bytes& packet, unsigned worker = 0);
  void put_frame(uint16_t interface, const test::Bytes& frame, unsigned worker = 0);
  void put_mbuf(uint16_t interface, rte_mbuf* frame, unsigned worker = 0);
  // What would be the frame of put().
  static test::Bytes frame(uint16_t interface, const test::Bytes& packet);
  // The packet around an inner frame, from the host to the gateway unless said otherwise.
  static test::Bytes geneve(uint32_t vni, const test::Bytes& inner_frame,
                            std::string_view host = kHost, std::string_view gateway = kGateway);
  static test::Bytes inner(const test::Bytes& packet, uint16_t type = packet::Ethernet::kIpv4);
  static test::Bytes syn(std::string_view from, std::string_view to, uint32_t sequence = 1000);

  // The next frame that left; fails when there is none.
  Sent out();
  bool nothing_out() const { return sent_.empty(); }
  void run(timer::Duration time);
  uint64_t count(stats::Reason reason) { return gateway_->count(reason); }
  uint64_t count_all();

  timer::Instant now_{std::chrono::hours(1)};
  std::unique_ptr<test::GatewayNode> gateway_;
  std::deque<Sent> sent_;

 private:
  unsigned before_;
};

}  // namespace isthmus::gateway
