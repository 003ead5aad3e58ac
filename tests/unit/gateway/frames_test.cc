// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Frames that a gateway must not believe, and those that it answers by itself.
#include "bench.h"
#include "support/pools.h"

namespace isthmus::gateway {
namespace {

using packet::Ethernet;
using packet::Tcp;
using stats::Reason;

class Frames : public Bench {
 protected:
  // One frame goes in, nothing comes out, and one reason is counted once.
  void expect_dropped(Reason reason, const char* what) {
    EXPECT_TRUE(nothing_out()) << what;
    EXPECT_EQ(count(reason), 1u) << what;
    EXPECT_EQ(count_all(), 1u) << what;
    EXPECT_EQ(gateway_->worker().flows().opened(), 0u) << what;
  }
  const test::Bytes outbound_ = syn("10.2.0.1:40000", "10.3.0.1:80");
};

TEST_F(Frames, GeneveOfAForeignHostIsDropped) {
  put(kNode, geneve(1001, inner(outbound_), "10.2.0.252"));
  expect_dropped(Reason::geneve_unknown_source, "source");
}

TEST_F(Frames, GeneveWithAnotherVniIsDropped) {
  put(kNode, geneve(1002, inner(outbound_)));
  expect_dropped(Reason::geneve_unknown_vni, "vni");
}

TEST_F(Frames, GeneveOnAnotherPortIsDropped) {
  put(kUnderlay, geneve(1001, inner(outbound_), kHost, "10.100.0.1"));
  expect_dropped(Reason::capture_geneve_not_here, "underlay");
}

TEST_F(Frames, GeneveFromAPodIsDropped) {
  put(kPod, geneve(1001, inner(outbound_), kPodAddress, kGateway));
  expect_dropped(Reason::capture_geneve_not_here, "pod");
}

TEST_F(Frames, GeneveInsideGeneveIsNotOpenedTwice) {
  put(kNode, geneve(1001, inner(geneve(1001, inner(outbound_), "10.2.0.1"))));
  expect_dropped(Reason::gateway_not_ours, "nested");
}

TEST_F(Frames, InnerFrameCutAnywhereIsDroppedOnce) {
  const test::Bytes whole = inner(outbound_);
  uint64_t sent = 0;
  for (size_t length = 0; length < whole.size(); ++length) {
    put(kNode, geneve(1001, test::slice(whole, 0, length)));
    ++sent;
    ASSERT_EQ(count_all(), sent) << length << " bytes";
  }
  EXPECT_TRUE(nothing_out());
  EXPECT_EQ(gateway_->worker().flows().opened(), 0u);
}

TEST_F(Frames, FrameCutAnywhereIsDroppedOnce) {
  const test::Bytes whole = frame(kNode, geneve(1001, inner(outbound_)));
  uint64_t sent = 0;
  for (size_t length = 1; length < whole.size(); ++length) {
    put_frame(kNode, test::slice(whole, 0, length));
    ++sent;
    ASSERT_EQ(count_all(), sent) << length << " bytes";
  }
  EXPECT_TRUE(nothing_out());
}

TEST_F(Frames, PodMayUseItsOwnAddressOnly) {
  put(kPod, syn("10.1.0.9:40000", "10.3.0.1:80"));
  expect_dropped(Reason::gateway_spoofed, "address");
}

TEST_F(Frames, PodMayUseItsOwnMacOnly) {
  put_frame(kPod, test::ethernet_frame(own_mac(kPod), {{6, 6, 6, 6, 6, 6}}, Ethernet::kIpv4,
                                       syn("10.1.0.1:40000", "10.3.0.1:80")));
  expect_dropped(Reason::gateway_spoofed, "MAC");
}

TEST_F(Frames, LocalPodsAddressFromTheNetworkIsRefused) {
  put(kUnderlay, syn("10.1.0.1:40000", "10.2.0.1:80"));
  EXPECT_EQ(count(Reason::capture_spoofed_source), 1u);
  // Told to whom the address belongs, for whom it is a stray RST.
  EXPECT_EQ(out().interface, kPod);
}

TEST_F(Frames, FrameToAnotherStationIsDropped) {
  put_frame(kUnderlay, test::ethernet_frame({{2, 7, 7, 7, 7, 7}}, peer_mac(kUnderlay),
                                            Ethernet::kIpv4, outbound_));
  expect_dropped(Reason::packet_other_host, "destination MAC");
}

TEST_F(Frames, UnknownEtherTypeIsDropped) {
  put_frame(kUnderlay, test::ethernet_frame(own_mac(kUnderlay), peer_mac(kUnderlay), 0x88cc,
                                            test::pattern(60)));
  expect_dropped(Reason::packet_unknown_ethertype, "LLDP");
}

TEST_F(Frames, FragmentOfACapturedFlowDoesNotPassBesideCapture) {
  struct Case {
    uint16_t interface;
    const char* from;
    const char* to;
  };
  uint64_t sent = 0;
  for (const Case& c : {Case{kUnderlay, "10.9.0.1:40000", "10.1.0.1:80"},
                        Case{kPod, "10.1.0.1:40000", "10.3.0.1:80"}}) {
    test::Bytes packet = syn(c.from, c.to);
    packet[6] = 0x20;  // more fragments
    test::fix_checksums(packet);
    put(c.interface, packet);
    EXPECT_TRUE(nothing_out()) << c.to;
    EXPECT_EQ(count(Reason::packet_fragment), ++sent);
  }
}

TEST_F(Frames, SegmentOfNoFlowIsReset) {
  put(kPod, test::tcp_packet(test::tuple("10.1.0.1:40000", "10.3.0.1:80"), test::pattern(100),
                             {.sequence = 5000, .acknowledgment = 7000}));
  const Sent reset = out();
  EXPECT_EQ(reset.interface, kPod);
  EXPECT_EQ(reset.tcp().flags, Tcp::kRst);
  EXPECT_EQ(reset.tcp().sequence.get(), 7000u);
  EXPECT_EQ(packet::IpAddress::v4(reset.ip().source), test::ip("10.3.0.1"));
  EXPECT_EQ(count(Reason::gateway_no_flow), 1u);
}

TEST_F(Frames, SegmentOfNoFlowThatIsNotCapturedPasses) {
  put(kUnderlay, test::tcp_packet(test::tuple("10.9.0.1:40000", "10.3.0.1:80")));
  EXPECT_EQ(out().interface, kUnderlay);
  EXPECT_EQ(count(Reason::gateway_no_flow), 0u);
}

TEST_F(Frames, PlainSynOnANodePortOpensNothing) {
  put(kNode, outbound_);
  EXPECT_EQ(out().tcp().flags, Tcp::kRst | Tcp::kAck);
  EXPECT_EQ(count(Reason::capture_no_flow), 1u);
  EXPECT_EQ(gateway_->live_flows(), 0u);
}

TEST_F(Frames, ArpInTheTunnelsIsAnsweredByGeneve) {
  for (const auto& [vni, address] : {std::pair{1000u, "192.168.126.2"}, {1001u, "192.168.127.2"}}) {
    const packet::MacAddress asker = {{2, 9, 0, 0, 0, 2}};
    const packet::Arp arp = {packet::be16(1),
                             packet::be16(Ethernet::kIpv4),
                             6,
                             4,
                             packet::be16(packet::Arp::kRequest),
                             asker,
                             test::ip("192.168.126.1").v4_wire(),
                             {},
                             test::ip(address).v4_wire()};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&arp);
    put(kNode, geneve(vni, inner(test::Bytes(bytes, bytes + sizeof arp), Ethernet::kArp)));
    const Sent answer = out();
    EXPECT_EQ(answer.interface, kNode);
    EXPECT_EQ(packet::IpAddress::v4(answer.ip().destination), test::ip(kHost));
    EXPECT_EQ(packet::load_be<uint16_t>(answer.packet.data() + 22), 6081);
    EXPECT_EQ(packet::load_be<uint32_t>(answer.packet.data() + 32) >> 8, vni);
    const auto& reply = *reinterpret_cast<const packet::Arp*>(answer.packet.data() + 36 + 14);
    EXPECT_EQ(reply.operation.get(), packet::Arp::kReply);
    EXPECT_EQ(packet::IpAddress::v4(reply.sender_ip), test::ip(address));
    EXPECT_EQ(reply.target_mac, asker);
  }
}

TEST_F(Frames, ArpOnAPortIsAnsweredForItsOwnAddress) {
  const packet::Arp arp = {packet::be16(1),
                           packet::be16(Ethernet::kIpv4),
                           6,
                           4,
                           packet::be16(packet::Arp::kRequest),
                           peer_mac(kPod),
                           test::ip(kPodAddress).v4_wire(),
                           {},
                           test::ip(kPodGateway).v4_wire()};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&arp);
  put_frame(kPod, test::ethernet_frame(packet::MacAddress::broadcast(), peer_mac(kPod),
                                       Ethernet::kArp, test::Bytes(bytes, bytes + sizeof arp)));
  const Sent reply = out();
  EXPECT_EQ(reply.ethernet.type.get(), Ethernet::kArp);
  EXPECT_EQ(reply.ethernet.destination, peer_mac(kPod));
  EXPECT_EQ(reinterpret_cast<const packet::Arp*>(reply.packet.data())->sender_mac, own_mac(kPod));
}

TEST_F(Frames, EchoToAnOwnAddressIsAnswered) {
  put(kPod, test::icmp_packet(test::ip(kPodAddress), test::ip(kPodGateway), 8, 0, 0x00010002,
                              test::pattern(56)));
  const Sent reply = out();
  EXPECT_EQ(reply.interface, kPod);
  EXPECT_EQ(reply.icmp().type, 0);
  EXPECT_EQ(packet::IpAddress::v4(reply.ip().destination), test::ip(kPodAddress));
  EXPECT_TRUE(test::checksums_right(reply.packet));
}

// Istio 1.18: ICMP that reaches the gateway is forwarded, not answered.
TEST_F(Frames, EchoToAnotherIsForwarded) {
  put(kNode, geneve(1000, inner(test::icmp_packet(test::ip("10.3.0.1"), test::ip(kPodAddress), 8, 0,
                                                  0x00010002, test::pattern(56)))));
  const Sent echo = out();
  EXPECT_EQ(echo.interface, kPod);
  EXPECT_EQ(echo.icmp().type, 8);
  EXPECT_EQ(echo.ip().ttl, 63);
  EXPECT_TRUE(test::checksums_right(echo.packet));
}

TEST_F(Frames, LastHopIsTold) {
  test::Bytes packet = test::udp_packet(test::tuple("10.1.0.1:53", "10.9.0.1:53"));
  packet[8] = 1;  // TTL
  test::fix_checksums(packet);
  put(kPod, packet);
  const Sent error = out();
  EXPECT_EQ(error.interface, kPod);
  EXPECT_EQ(error.icmp().type, 11);
  EXPECT_EQ(packet::IpAddress::v4(error.ip().source), test::ip(kPodGateway));
  EXPECT_EQ(count(Reason::ip_ttl_exceeded), 1u);
  EXPECT_TRUE(nothing_out());
}

TEST_F(Frames, NoRouteIsToldAndCounted) {
  put(kPod, test::udp_packet(test::tuple("10.1.0.1:53", "172.16.0.1:53")));
  const Sent error = out();
  EXPECT_EQ(error.icmp().type, 3);
  EXPECT_EQ(error.icmp().code, 0);
  EXPECT_EQ(count(Reason::ip_no_route), 1u);
}

TEST_F(Frames, PacketBeyondTheMtuIsTold) {
  put(kPod, test::udp_packet(test::tuple("10.1.0.1:53", "10.9.0.1:53"), test::pattern(1600)));
  const Sent error = out();
  EXPECT_EQ(error.icmp().type, 3);
  EXPECT_EQ(error.icmp().code, 4);
  EXPECT_EQ(error.icmp().rest.get() & 0xffff, 1500u);
  EXPECT_EQ(count(Reason::ip_too_big), 1u);
}

// A coalesced packet leaves in the segments that it came in, so it is these that must fit.
TEST_F(Frames, CoalescedPacketWhoseSegmentsExceedTheMtuIsTold) {
  for (const uint16_t size : {1460, 1461}) {
    rte_mbuf* made =
        test::to_mbuf(frame(kUnderlay, test::tcp_packet(test::tuple("10.9.0.1:80", "10.3.0.1:4000"),
                                                        test::pattern(4000))));
    made->ol_flags = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
    made->tso_segsz = size;
    put_mbuf(kUnderlay, made);
    if (size == 1460) {
      EXPECT_EQ(sent_.size(), 3u);
      sent_.clear();
    }
  }
  EXPECT_EQ(out().icmp().type, 3);
  EXPECT_EQ(count(Reason::ip_too_big), 1u);
}

}  // namespace
}  // namespace isthmus::gateway
