// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "bench.h"

#include <cstring>

#include "geneve/geneve.h"
#include "support/pools.h"

namespace isthmus::gateway {
namespace {

constexpr std::string_view kMesh = R"(
workloads:
- {name: a1, namespace: default, serviceAccount: a1, workloadIps: [10.1.0.1], protocol: HBONE, node: a}
- {name: a2, namespace: default, serviceAccount: a2, workloadIps: [10.2.0.1], protocol: HBONE, node: a}
- {name: b1, namespace: default, serviceAccount: b1, workloadIps: [10.3.0.1], protocol: HBONE, node: b}
)";

const test::Mesh& mesh() {
  static const test::Mesh made(kMesh, mesh::Profile::v1_18);
  return made;
}

std::unique_ptr<Plan> make_plan() {
  auto plan = std::make_unique<Plan>();
  plan->interfaces = {
      test::make_interface(capture::PortRole::node, own_mac(kNode), kGateway),
      test::make_interface(capture::PortRole::underlay, own_mac(kUnderlay), "10.100.0.1"),
      test::make_pod(own_mac(kPod), kPodAddress, peer_mac(kPod))};
  plan->interfaces[kNode].neighbours = {{test::ip(kHost), peer_mac(kNode)}};
  plan->interfaces[kUnderlay].neighbours = {{test::ip(kRouter), peer_mac(kUnderlay)}};
  plan->interfaces[kPod].neighbours = {{test::ip(kPodAddress), peer_mac(kPod)}};
  plan->hosts = {test::ip(kHost)};
  plan->tunnels =
      geneve::TunnelEndpoints({.gateway = test::ip(kGateway), .hosts = {test::ip(kHost)}});
  test::complete_plan(*plan, mesh(),
                      {test::make_route("10.2.0.0/16", kNode, kHost, kGateway),
                       test::make_route("10.2.0.253", kNode, "", kGateway),
                       test::make_route("10.3.0.0/16", kUnderlay, kRouter, "10.100.0.1"),
                       test::make_route("10.9.0.0/16", kUnderlay, kRouter, "10.100.0.1"),
                       test::make_route(kPodAddress, kPod, "", kPodGateway)});
  return plan;
}

}  // namespace

packet::MacAddress own_mac(uint16_t interface) {
  return test::gateway_mac(0, interface);
}
packet::MacAddress peer_mac(uint16_t interface) {
  return {{0x06, 0, 0, 0, 0, static_cast<uint8_t>(interface)}};
}

Bench::Bench() : before_(test::mbufs_in_use()) {
  make({});
}

Bench::~Bench() {
  gateway_.reset();
  EXPECT_EQ(test::mbufs_in_use(), before_) << "mbufs leaked";
}

void Bench::make(const test::GatewayOptions& options) {
  gateway_ = std::make_unique<test::GatewayNode>(
      make_plan(), mesh(), options,
      [this](uint16_t interface, rte_mbuf* made) {
        Sent sent{.interface = interface, .flags = made->ol_flags};
        sent.packet = test::to_bytes(made);
        rte_pktmbuf_free(made);
        std::memcpy(&sent.ethernet, sent.packet.data(), sizeof sent.ethernet);
        sent.packet.erase(sent.packet.begin(), sent.packet.begin() + sizeof sent.ethernet);
        sent_.push_back(std::move(sent));
      },
      now_);
}

test::Bytes Bench::frame(uint16_t interface, const test::Bytes& packet) {
  return test::ethernet_frame(own_mac(interface), peer_mac(interface), packet::Ethernet::kIpv4,
                              packet);
}

void Bench::put(uint16_t interface, const test::Bytes& packet, unsigned worker) {
  put_frame(interface, frame(interface, packet), worker);
}

void Bench::put_frame(uint16_t interface, const test::Bytes& bytes, unsigned worker) {
  put_mbuf(interface, test::to_mbuf(bytes), worker);
}

void Bench::put_mbuf(uint16_t interface, rte_mbuf* made, unsigned worker) {
  gateway_->deliver(worker, interface, made);
  EXPECT_TRUE(gateway_->poll(now_));
}

test::Bytes Bench::inner(const test::Bytes& packet, uint16_t type) {
  return test::ethernet_frame({{2, 9, 0, 0, 0, 1}}, {{2, 9, 0, 0, 0, 2}}, type, packet);
}

test::Bytes Bench::geneve(uint32_t vni, const test::Bytes& inner_frame, std::string_view host,
                          std::string_view gateway) {
  const geneve::Header header = {0, 0, packet::be16(packet::Ethernet::kTransparentBridging),
                                 packet::be32(vni << 8)};
  test::Bytes payload(sizeof header + inner_frame.size());
  std::memcpy(payload.data(), &header, sizeof header);
  std::copy(inner_frame.begin(), inner_frame.end(), payload.begin() + sizeof header);
  return test::udp_packet({{test::ip(host), 40'000}, {test::ip(gateway), geneve::kPort}}, payload);
}

test::Bytes Bench::syn(std::string_view from, std::string_view to, uint32_t sequence) {
  return test::tcp_packet(test::tuple(from, to), {},
                          {.sequence = sequence, .acknowledgment = 0, .flags = packet::Tcp::kSyn});
}

Sent Bench::out() {
  if (sent_.empty()) {
    ADD_FAILURE() << "nothing was sent";
    Sent none;
    none.packet.resize(128);
    return none;
  }
  Sent first = std::move(sent_.front());
  sent_.pop_front();
  return first;
}

void Bench::run(timer::Duration time) {
  const timer::Instant end = now_ + time;
  while (now_ < end) {
    now_ = std::min(end, std::max(gateway_->next_deadline(), now_ + std::chrono::milliseconds(1)));
    EXPECT_TRUE(gateway_->poll(now_));
  }
}

uint64_t Bench::count_all() {
  uint64_t sum = 0;
  for (unsigned i = 0; i < static_cast<unsigned>(stats::Reason::count_); ++i) {
    sum += count(static_cast<stats::Reason>(i));
  }
  return sum;
}

}  // namespace isthmus::gateway
