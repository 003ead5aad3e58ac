// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "flow/walk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus::flow {
namespace {

using testing::HasSubstr;
using testing::Not;

class TestNames : public Names {
 public:
  std::string interface(uint16_t index) const override {
    return index == 0 ? "node0" : index == 1 ? "pod-a" : "";
  }
  bool is_pod_interface(uint16_t index) const override { return index == 1; }
  std::string identity(uint32_t id) const override {
    return id == 7 ? "spiffe://cluster.local/ns/default/sa/sleep" : "";
  }
  std::string policy(uint32_t name) const override { return name == 3 ? "default/deny-sleep" : ""; }
  std::string hostname(uint32_t service) const override {
    return service == 4 ? "httpbin.default.svc.cluster.local" : "";
  }
  std::string address(const packet::IpAddress& address) const override {
    return address == *packet::IpAddress::parse("10.0.1.5") ? "default/sleep" : "";
  }
};

packet::Endpoint endpoint(const char* text) {
  return *packet::Endpoint::parse(text);
}
// The walk tells times from its first step on.
timer::Instant step(int64_t us) {
  return timer::Instant(timer::Duration(us));
}

// Without what happened after the last of them.
Moments until(const Moments& all, Moment last) {
  Moments kept(all.captured());
  for (unsigned i = kDecided; i <= last; ++i) {
    const auto moment = static_cast<Moment>(i);
    if (all.happened(moment)) kept.mark(moment, all.captured() + all.after(moment));
  }
  return kept;
}

std::string text(const Report& record) {
  std::string all;
  for (const auto& step : walk(record, TestNames())) all += step.number + " " + step.text + "\n";
  return all;
}

Report a2s() {
  Report r;
  r.id = 3;
  r.kind = Kind::direct;
  r.state = State::open;
  r.capture = capture::Class::outbound_15001;
  r.in_interface = 0;
  r.out_interface = 0;
  r.vni = 1001;
  r.geneve_source = *packet::IpAddress::parse("172.18.0.2");
  r.client = {endpoint("10.0.1.5:40000"), endpoint("10.96.0.10:8000")};
  r.endpoint = endpoint("10.0.2.7:80");
  r.upstream = {endpoint("10.0.1.5:51000"), endpoint("10.0.2.7:80")};
  r.source_identity = 7;
  r.at = Moments(step(1000));
  r.at.mark(kDecided, step(1004));
  r.at.mark(kDialled, step(1005));
  r.at.mark(kUpstream, step(1300));
  r.at.mark(kFirstByte, step(1900));
  r.bytes_to_client = 321;
  return r;
}

Report s2a() {
  Report r;
  r.id = 4;
  r.kind = Kind::inbound_stream;
  r.state = State::open;
  r.capture = capture::Class::inbound_hbone_15008;
  r.in_interface = 0;
  r.out_interface = 0;
  r.vni = 1000;
  r.tunnel = 2;
  r.geneve_source = *packet::IpAddress::parse("172.18.0.3");
  r.client = {endpoint("10.0.1.8:40000"), endpoint("10.0.2.7:15008")};
  r.endpoint = endpoint("10.0.2.7:80");
  r.upstream = {endpoint("10.0.1.8:51000"), endpoint("10.0.2.7:80")};
  r.authority = endpoint("10.0.2.7:80");
  r.peer = "spiffe://cluster.local/ns/default/sa/sleep";
  r.http_status = 200;
  r.at = Moments(step(1000));
  r.at.mark(kDecided, step(1010));
  r.at.mark(kDialled, step(1011));
  r.at.mark(kUpstream, step(1200));
  r.at.mark(kAccepted, step(1201));
  return r;
}

TEST(Walk, A2sTellsEveryStepWithTheFlowsOwnFacts) {
  const std::string walk = text(a2s());
  EXPECT_THAT(walk, HasSubstr("(1)(2)(3) pod 10.0.1.5 (default/sleep) -> veth -> mark -> istioout: "
                              "SYN 10.0.1.5:40000 -> 10.96.0.10:8000 in Geneve VNI 1001 from "
                              "172.18.0.2"));
  EXPECT_THAT(walk, HasSubstr("(4)(5) gateway decapsulates on 'node0': outbound capture, "
                              "port class 15001"));
  EXPECT_THAT(walk, HasSubstr("(6) 10.96.0.10:8000 -> endpoint 10.0.2.7:80"));
  EXPECT_THAT(walk, HasSubstr("at +4 us"));
  EXPECT_THAT(walk, HasSubstr("leaves on 'node0' as 10.0.1.5:51000 -> 10.0.2.7:80"));
  EXPECT_THAT(walk, HasSubstr("(7) plain TCP to 10.0.2.7:80, answered at +300 us"));
  EXPECT_THAT(walk, HasSubstr("15006"));
  EXPECT_THAT(walk, HasSubstr("(8) application: first byte back at +900 us, 0 bytes to it, "
                              "321 bytes back"));
}

TEST(Walk, APlainSynNamesItsInterfaceAndNoGeneve) {
  Report r = a2s();
  r.vni = 0;
  r.in_interface = 1;
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("came plain on 'pod-a', the pod's own"));
  EXPECT_THAT(walk, Not(HasSubstr("VNI")));
  EXPECT_THAT(walk, Not(HasSubstr("istioout")));
}

TEST(Walk, AStepThatHasNotHappenedIsNotTold) {
  Report r = a2s();
  r.at = until(r.at, kDialled);
  r.bytes_to_client = 0;
  const std::string walk = text(r);
  EXPECT_THAT(walk, Not(HasSubstr("(7)")));
  EXPECT_THAT(walk, Not(HasSubstr("(8)")));
}

TEST(Walk, OutboundHboneTellsAuthorityPeerAndCode) {
  Report r = a2s();
  r.kind = Kind::outbound_hbone;
  r.through_waypoint = true;
  r.upstream.destination = endpoint("10.0.3.9:15008");
  r.authority = endpoint("10.96.0.10:8000");
  r.peer = "spiffe://cluster.local/ns/default/sa/waypoint";
  r.http_status = 200;
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("(7) HBONE to the waypoint 10.0.3.9:15008, CONNECT 10.96.0.10:8000, "
                              "it proved spiffe://cluster.local/ns/default/sa/waypoint, "
                              "answered 200 at +300 us"));
}

TEST(Walk, S2aTellsTunnelIdentityAndPod) {
  const std::string walk = text(s2a());
  EXPECT_THAT(walk, HasSubstr("(5)(6) pod route -> istioin: SYN 10.0.1.8:40000 -> 10.0.2.7:15008 "
                              "in Geneve VNI 1000 from 172.18.0.3"));
  EXPECT_THAT(walk, HasSubstr("(7)(8) gateway decapsulates on 'node0': inbound capture, "
                              "port class 15008 (HBONE)"));
  EXPECT_THAT(walk, HasSubstr("proved spiffe://cluster.local/ns/default/sa/sleep"));
  EXPECT_THAT(walk, HasSubstr("CONNECT 10.0.2.7:80 in the tunnel of flow 2"));
  EXPECT_THAT(walk, HasSubstr("(9) pod 10.0.2.7:80 on 'node0' as 10.0.1.8:51000 -> "
                              "10.0.2.7:80 at +11 us, answered at +200 us"));
}

TEST(Walk, ARefusalTellsReasonPolicyAndCodeAndNoPod) {
  Report r = s2a();
  r.kind = Kind::refused;
  r.state = State::closed;
  r.upstream = {};
  r.at = until(r.at, kDecided);
  r.closed = step(1020);
  r.http_status = 401;
  r.policy = 3;
  r.reason = stats::Reason::packet_truncated;
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("refused: "));
  EXPECT_THAT(walk, HasSubstr("policy default/deny-sleep, HTTP 401"));
  EXPECT_THAT(walk, HasSubstr("closed at +20 us"));
  EXPECT_THAT(walk, Not(HasSubstr("(9)")));
  EXPECT_THAT(walk, Not(HasSubstr("policy allows")));
}

TEST(Walk, AResetOfTheUpstreamIsNoAnswer) {
  Report r = a2s();
  r.at = until(r.at, kUpstream);
  r.reason = stats::Reason::gateway_upstream_refused;
  r.bytes_to_upstream = 60;
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("(7) plain TCP to 10.0.2.7:80, refused at +300 us"));
  EXPECT_THAT(walk, Not(HasSubstr("application")));
}

TEST(Walk, ARefusedTunnelKeepsWhatWasTried) {
  Report r = a2s();
  r.kind = Kind::refused;
  r.upstream = {{r.client.source.address, 0}, endpoint("10.0.2.7:15008")};
  r.authority = endpoint("10.0.2.7:80");
  r.at = until(r.at, kDialled);
  r.bytes_to_client = 0;
  r.reason = stats::Reason::packet_truncated;
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("leaves on 'node0' to 10.0.2.7:15008 at +5 us"));
  EXPECT_THAT(walk, HasSubstr("(7) HBONE to the peer 10.0.2.7:15008, CONNECT 10.0.2.7:80\n"));
  EXPECT_THAT(walk, HasSubstr("refused: "));
}

TEST(Walk, AnAuthorityIsToldByNameOrAsItWasRefused) {
  Report r = s2a();
  r.authority = {{}, 8000};
  r.authority_service = 4;
  EXPECT_THAT(text(r), HasSubstr("CONNECT httpbin.default.svc.cluster.local:8000 in the tunnel"));
  r.authority = {};
  r.authority_service = 0;
  r.refused_authority.assign("no-port");
  EXPECT_THAT(text(r), HasSubstr("CONNECT no-port in the tunnel"));
}

TEST(Walk, PlaintextInboundSaysPortClass15006) {
  Report r = s2a();
  r.kind = Kind::inbound_plain;
  r.capture = capture::Class::inbound_plaintext_15006;
  r.peer = "";
  r.authority = {};
  const std::string walk = text(r);
  EXPECT_THAT(walk, HasSubstr("port class 15006 (plain)"));
  EXPECT_THAT(walk, Not(HasSubstr("TLS")));
}

}  // namespace
}  // namespace isthmus::flow
