// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "capture/classify.h"

#include <gtest/gtest.h>

#include "support/mesh.h"

namespace isthmus::capture {
namespace {

using test::at;
using test::ip;

constexpr std::string_view kMesh = R"(
workloads:
- {name: ambient, namespace: default, workloadIps: [10.0.0.1, "fd00::1"], protocol: HBONE, node: a}
- {name: ambient2, namespace: default, workloadIps: [10.0.0.2], protocol: HBONE, node: a}
- {name: sidecar, namespace: default, workloadIps: [10.0.0.3], protocol: HBONE, nativeTunnel: true, node: a}
- {name: plain, namespace: default, workloadIps: [10.0.0.4], node: a}
- {name: remote, namespace: default, workloadIps: [10.0.1.1], protocol: HBONE, node: b}
)";

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kIcmp = 1;
constexpr uint8_t kSctp = 132;

class Classify : public testing::Test {
 protected:
  Verdict operator()(PortRole role, std::string_view from, std::string_view to,
                     std::optional<uint32_t> vni = {}, uint8_t protocol = kTcp,
                     std::string_view pod = "") {
    Packet packet;
    packet.role = role;
    packet.vni = vni;
    packet.tuple = {at(from), at(to)};
    packet.protocol = protocol;
    packet.pod = pod.empty() ? packet.tuple.source.address : ip(pod);
    return classify({mesh_.snapshot.get(), rules_.get(), hosts_}, packet);
  }

  test::Mesh mesh_{kMesh};
  std::vector<packet::IpAddress> hosts_ = {ip("10.0.0.254"), ip("172.18.0.2")};
  std::unique_ptr<const Rules> rules_;
};

void expect(const Verdict& verdict, Class class_, Why why) {
  EXPECT_EQ(to_string(verdict.class_), std::string(to_string(class_)));
  EXPECT_STREQ(text(verdict.why), text(why));
}

// ---- node ports: what istio-cni 1.18's rules have decided

TEST_F(Classify, Istio118Vni1001TcpGoesTo15001) {
  expect((*this)(PortRole::node, "10.0.0.1:4000", "10.96.0.1:80", 1001), Class::outbound_15001,
         Why::geneve_outbound);
  // Whatever the port: TPROXY rule 2 asks for none.
  expect((*this)(PortRole::node, "10.0.0.1:4000", "10.0.0.2:15008", 1001), Class::outbound_15001,
         Why::geneve_outbound);
}

TEST_F(Classify, Istio118Vni1000TcpPort15008GoesTo15008) {
  expect((*this)(PortRole::node, "10.0.1.1:4000", "10.0.0.1:15008", 1000),
         Class::inbound_hbone_15008, Why::geneve_inbound);
}

TEST_F(Classify, Istio118Vni1000OtherTcpGoesTo15006) {
  expect((*this)(PortRole::node, "10.0.1.1:4000", "10.0.0.1:8080", 1000),
         Class::inbound_plaintext_15006, Why::geneve_inbound);
  // Not exempt: a HostIP that came by the tunnel was marked by nobody.
  expect((*this)(PortRole::node, "10.0.0.254:4000", "10.0.0.1:8080", 1000),
         Class::inbound_plaintext_15006, Why::geneve_inbound);
}

TEST_F(Classify, Istio118WhatIsNotTcpIsForwarded) {
  for (const uint8_t protocol : {kUdp, kIcmp, kSctp}) {
    for (const uint32_t vni : {1000U, 1001U}) {
      expect((*this)(PortRole::node, "10.0.1.1:1", "10.0.0.1:1", vni, protocol), Class::bypass,
             Why::not_tcp);
    }
    expect((*this)(PortRole::node, "10.0.1.1:1", "10.0.0.1:1", {}, protocol), Class::bypass,
           Why::not_tcp);
  }
}

TEST_F(Classify, PlainTcpOnANodePortBelongsToAFlowOrIsRefused) {
  expect((*this)(PortRole::node, "10.0.0.1:4000", "10.0.1.1:80"), Class::drop, Why::no_flow);
  expect((*this)(PortRole::node, "10.0.1.1:4000", "10.0.0.1:80"), Class::drop, Why::no_flow);
}

TEST_F(Classify, UnknownVniIsRefused) {
  for (const uint8_t protocol : {kTcp, kIcmp}) {
    const Verdict v = (*this)(PortRole::node, "10.0.0.1:1", "10.0.1.1:1", 999, protocol);
    expect(v, Class::drop, Why::unknown_vni);
    EXPECT_EQ(reason(v.why), stats::Reason::capture_unknown_vni);
  }
}

TEST_F(Classify, GeneveIsForNodePortsOnly) {
  for (const auto role : {PortRole::underlay, PortRole::pod, PortRole::host}) {
    expect((*this)(role, "10.0.0.1:1", "10.0.1.1:1", 1001), Class::drop, Why::geneve_not_here);
  }
}

// ---- pod ports

TEST_F(Classify, AnAmbientPodsTcpIsOutbound) {
  expect((*this)(PortRole::pod, "10.0.0.1:4000", "10.96.0.1:80"), Class::outbound_15001,
         Why::from_ambient_pod);
  expect((*this)(PortRole::pod, "[fd00::1]:4000", "[fd00::96]:80"), Class::outbound_15001,
         Why::from_ambient_pod);
  // Also to a pod of the same node, and to 15008 itself.
  expect((*this)(PortRole::pod, "10.0.0.1:4000", "10.0.0.2:15008"), Class::outbound_15001,
         Why::from_ambient_pod);
}

TEST_F(Classify, AnAmbientPodsUdpAndIcmpBypass) {
  expect((*this)(PortRole::pod, "10.0.0.1:4000", "10.96.0.10:53", {}, kUdp), Class::bypass,
         Why::not_tcp);
  expect((*this)(PortRole::pod, "10.0.0.1:1", "10.96.0.10:1", {}, kIcmp), Class::bypass,
         Why::not_tcp);
}

TEST_F(Classify, APodMayUseNoOtherSource) {
  for (const uint8_t protocol : {kTcp, kUdp}) {
    expect((*this)(PortRole::pod, "10.0.0.2:4000", "10.0.1.1:80", {}, protocol, "10.0.0.1"),
           Class::drop, Why::spoofed_source);
  }
}

TEST_F(Classify, ASidecarPodIsNeverCaptured) {
  expect((*this)(PortRole::pod, "10.0.0.3:4000", "10.0.1.1:15008"), Class::bypass,
         Why::not_captured);
  expect((*this)(PortRole::pod, "10.0.0.4:4000", "10.0.0.3:80"), Class::bypass, Why::not_captured);
  expect((*this)(PortRole::underlay, "10.0.1.1:4000", "10.0.0.3:15008"), Class::bypass,
         Why::not_captured);
}

TEST_F(Classify, ASidecarPodReachesAnAmbientPodOfItsNodeAsAnyoneDoes) {
  expect((*this)(PortRole::pod, "10.0.0.3:4000", "10.0.0.1:15008"), Class::inbound_hbone_15008,
         Why::to_ambient_pod);
  expect((*this)(PortRole::pod, "10.0.0.4:4000", "10.0.0.1:80"), Class::inbound_plaintext_15006,
         Why::to_ambient_pod);
}

TEST_F(Classify, AnUnknownPodsTcpIsRefused) {
  expect((*this)(PortRole::pod, "10.0.0.99:4000", "10.0.1.1:80"), Class::drop, Why::unknown_source);
}

TEST_F(Classify, Istio118APodsConnectionToItsNodeIsNotCaptured) {
  expect((*this)(PortRole::pod, "10.0.0.1:4000", "172.18.0.2:10250"), Class::bypass, Why::to_host);
}

// ---- underlay

TEST_F(Classify, FromTheNetworkToAnAmbientPodIsInbound) {
  expect((*this)(PortRole::underlay, "10.0.1.1:4000", "10.0.0.1:15008"), Class::inbound_hbone_15008,
         Why::to_ambient_pod);
  expect((*this)(PortRole::underlay, "10.0.1.1:4000", "[fd00::1]:80"),
         Class::inbound_plaintext_15006, Why::to_ambient_pod);
  expect((*this)(PortRole::underlay, "10.0.1.1:53", "10.0.0.1:53", {}, kUdp), Class::bypass,
         Why::not_tcp);
}

TEST_F(Classify, FromTheNetworkElsewhereIsForwarded) {
  expect((*this)(PortRole::underlay, "10.0.1.1:4000", "172.18.0.2:22"), Class::bypass,
         Why::not_captured);
}

TEST_F(Classify, NeitherOurPodsNorTheNodeSpeakFromTheNetwork) {
  expect((*this)(PortRole::underlay, "10.0.0.2:4000", "10.0.0.1:80"), Class::drop,
         Why::spoofed_source);
  expect((*this)(PortRole::underlay, "10.0.0.254:4000", "10.0.0.1:80"), Class::drop,
         Why::spoofed_source);
}

// ---- host

TEST_F(Classify, Istio118ProbesFromHostIpAreNotCaptured) {
  expect((*this)(PortRole::host, "10.0.0.254:4000", "10.0.0.1:8080"), Class::bypass,
         Why::host_probe);
}

TEST_F(Classify, Istio118OtherAddressesOfTheHostAreAnonymousClients) {
  expect((*this)(PortRole::host, "10.5.5.5:4000", "10.0.0.1:8080"), Class::inbound_plaintext_15006,
         Why::to_ambient_pod);
  expect((*this)(PortRole::host, "10.0.0.2:4000", "10.0.0.1:8080"), Class::drop,
         Why::spoofed_source);
}

// ---- the operator's rules

TEST_F(Classify, RulesExcludeOrDropWhatWouldBeCaptured) {
  Rule out;
  out.direction = Direction::outbound;
  out.destination = packet::Prefix::parse("203.0.113.0/24");
  Rule in;
  in.direction = Direction::inbound;
  in.action = Action::drop;
  in.destination_ports = {9999, 9999};
  Rules::BuildError error{};
  rules_ = Rules::build(std::vector{out, in}, &error);
  ASSERT_NE(rules_, nullptr);
  for (const auto& [role, vni] :
       {std::pair(PortRole::pod, std::optional<uint32_t>()), {PortRole::node, 1001}}) {
    expect((*this)(role, "10.0.0.1:4000", "203.0.113.5:443", vni), Class::bypass, Why::excluded);
    EXPECT_EQ((*this)(role, "10.0.0.1:4000", "203.0.114.5:443", vni).class_, Class::outbound_15001);
  }
  const Verdict dropped = (*this)(PortRole::underlay, "10.0.1.1:4000", "10.0.0.1:9999");
  expect(dropped, Class::drop, Why::denied_by_rule);
  EXPECT_EQ(dropped.rule, 1U);
  // What is not captured anyway is not the rules' business.
  expect((*this)(PortRole::underlay, "10.0.1.1:4000", "10.0.0.3:9999"), Class::bypass,
         Why::not_captured);
}

}  // namespace
}  // namespace isthmus::capture
