// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/edge.h"

#include "bench.h"
#include "packet/offload.h"
#include "support/pools.h"

namespace isthmus::gateway {
namespace {

using stats::Reason;

// A device that takes what it is told to.
struct Device final : PacketIo {
  uint16_t receive(rte_mbuf**, uint16_t) override { return 0; }
  uint16_t transmit(uint16_t, rte_mbuf** frames, uint16_t n) override {
    for (uint16_t i = 0; i < n; ++i) {
      if (i < takes) {
        sent.push_back(test::to_bytes(frames[i]));
        flags.push_back(frames[i]->ol_flags);
        segment_sizes.push_back(frames[i]->tso_segsz);
      }
      rte_pktmbuf_free(frames[i]);
    }
    return std::min(n, takes);
  }
  uint16_t takes = UINT16_MAX;
  std::vector<test::Bytes> sent;
  std::vector<uint64_t> flags;
  std::vector<uint16_t> segment_sizes;
};

class EdgeTest : public testing::Test {
 protected:
  EdgeTest() {
    plan_.interfaces = {
        test::make_interface(capture::PortRole::underlay, own_mac(0), "10.100.0.1")};
    plan_.routes = *ip::RouteTable::build(
        std::vector{test::make_route("10.0.0.0/8", 0, kRouter, "10.100.0.1")});
    plan_.own_addresses = plan_.interfaces[0].addresses;
  }
  ~EdgeTest() override {
    edge_.reset();
    EXPECT_EQ(test::mbufs_in_use(), before_) << "mbufs leaked";
  }
  Edge& edge(bool known_neighbour = true) {
    if (known_neighbour) plan_.interfaces[0].neighbours = {{test::ip(kRouter), peer_mac(0)}};
    edge_ =
        std::make_unique<Edge>(device_, test::pools(), reasons_, packet::SipKey{1, 2}, plan_, now_);
    return *edge_;
  }
  // As an engine sends it: partial checksum, segments of so many bytes.
  static rte_mbuf* large(size_t payload, uint16_t segment_size) {
    rte_mbuf* made = test::to_mbuf(
        test::tcp_packet(test::tuple("10.1.0.1:80", "10.3.0.1:4000"), test::pattern(payload)));
    packet::Parsed parsed;
    made->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO;
    made->tso_segsz = segment_size;
    EXPECT_FALSE(packet::parse(made, parsed).has_value());
    packet::prepare_forward(parsed);
    return made;
  }
  static test::Bytes l3(const test::Bytes& frame) { return test::slice(frame, 14, frame.size()); }

  const unsigned before_ = test::mbufs_in_use();
  timer::Instant now_{std::chrono::hours(1)};
  Plan plan_;
  Device device_;
  stats::ReasonCounters reasons_;
  std::unique_ptr<Edge> edge_;
};

TEST_F(EdgeTest, SegmentsInSoftwareWhatTheDeviceCannot) {
  Edge& e = edge();
  e.send(large(10'000, 1460));
  e.flush();
  ASSERT_EQ(device_.sent.size(), 7u);
  test::Bytes payload;
  for (const test::Bytes& frame : device_.sent) {
    EXPECT_LE(frame.size(), 1514u);
    EXPECT_TRUE(test::checksums_right(l3(frame)));
    payload.insert(payload.end(), frame.begin() + 54, frame.end());
  }
  EXPECT_EQ(payload, test::pattern(10'000));
  EXPECT_EQ(e.frames_sent(), 7u);
}

TEST_F(EdgeTest, LeavesToTheDeviceWhatItCan) {
  plan_.interfaces[0].can_checksum = plan_.interfaces[0].can_segment = true;
  Edge& e = edge();
  e.send(large(10'000, 1460));
  e.flush();
  ASSERT_EQ(device_.sent.size(), 1u);
  EXPECT_NE(device_.flags[0] & RTE_MBUF_F_TX_TCP_SEG, 0u);
  EXPECT_EQ(device_.segment_sizes[0], 1460);
}

TEST_F(EdgeTest, ChecksumsInSoftwareWhereTheDeviceOnlySegmentsNothing) {
  Edge& e = edge();
  e.send(large(100, 1460));
  e.flush();
  ASSERT_EQ(device_.sent.size(), 1u);
  EXPECT_EQ(device_.flags[0] & RTE_MBUF_F_TX_L4_MASK, 0u);
  EXPECT_TRUE(test::checksums_right(l3(device_.sent[0])));
}

TEST_F(EdgeTest, AsksForItsNextHopAndThenSends) {
  Edge& e = edge(false);
  e.send(test::to_mbuf(test::tcp_packet(test::tuple("10.1.0.1:80", "10.3.0.1:4000"))));
  e.flush();
  ASSERT_EQ(device_.sent.size(), 1u);
  const auto& request = *reinterpret_cast<const packet::Arp*>(device_.sent[0].data() + 14);
  EXPECT_EQ(packet::IpAddress::v4(request.target_ip), test::ip(kRouter));
  packet::Arp reply = request;
  reply.operation = packet::be16(packet::Arp::kReply);
  std::swap(reply.sender_ip, reply.target_ip);
  reply.target_mac = own_mac(0);
  reply.sender_mac = peer_mac(0);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&reply);
  e.neighbour_message(test::to_mbuf(test::Bytes(bytes, bytes + sizeof reply)), 0);
  e.flush();
  ASSERT_EQ(device_.sent.size(), 2u);
  const auto& ethernet = *reinterpret_cast<const packet::Ethernet*>(device_.sent[1].data());
  EXPECT_EQ(ethernet.destination, peer_mac(0));
  EXPECT_EQ(ethernet.source, own_mac(0));
}

TEST_F(EdgeTest, CountsWhatTheDeviceDidNotTake) {
  Edge& e = edge();
  device_.takes = 2;
  for (int i = 0; i < 5; ++i) {
    e.send(test::to_mbuf(test::tcp_packet(test::tuple("10.1.0.1:80", "10.3.0.1:4000"))));
  }
  e.flush();
  EXPECT_EQ(reasons_.get(Reason::gateway_device_full), 3u);
  EXPECT_EQ(e.frames_sent(), 2u);
}

TEST_F(EdgeTest, OwnPacketWithoutRouteIsDroppedAndCounted) {
  Edge& e = edge();
  e.send(test::to_mbuf(test::tcp_packet(test::tuple("10.1.0.1:80", "11.0.0.1:4000"))));
  e.flush();
  EXPECT_TRUE(device_.sent.empty());
  EXPECT_EQ(reasons_.get(Reason::ip_no_route), 1u);
}

TEST_F(EdgeTest, MoreFramesThanABurstLeaveInOrder) {
  Edge& e = edge();
  for (uint8_t i = 0; i < 150; ++i) {
    e.send(test::to_mbuf(
        test::tcp_packet(test::tuple("10.1.0.1:80", "10.3.0.1:4000"), test::pattern(1, i))));
  }
  e.flush();
  ASSERT_EQ(device_.sent.size(), 150u);
  for (uint8_t i = 0; i < 150; ++i) EXPECT_EQ(device_.sent[i][54], i);
}

}  // namespace
}  // namespace isthmus::gateway
