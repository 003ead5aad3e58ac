// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/ethernet.h"

#include <gtest/gtest.h>

#include "packet/buffer.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::packet {
namespace {

using stats::Reason;
using test::Bytes;
using test::hex;

const MacAddress kOne = *MacAddress::parse("02:00:00:00:00:01");
const MacAddress kTwo = *MacAddress::parse("02:00:00:00:00:02");

stats::Refusal run(const Bytes& bytes, FrameView& view, size_t segment = 0) {
  rte_mbuf* frame = test::to_mbuf(bytes, segment);
  const auto reason = parse_ethernet(frame, view);
  rte_pktmbuf_free(frame);
  return reason;
}

TEST(Ethernet, UntaggedFrame) {
  FrameView view;
  ASSERT_FALSE(run(test::ethernet_frame(kOne, kTwo, 0x0800, {1, 2, 3}), view, 5));
  EXPECT_EQ(view.destination, kOne);
  EXPECT_EQ(view.source, kTwo);
  EXPECT_EQ(view.type, Ethernet::kIpv4);
  EXPECT_EQ(view.length, 14);
  EXPECT_EQ(view.vlan_id, 0);
}

TEST(Ethernet, Ieee8021qTagsAreReadUpToTwo) {
  FrameView view;
  ASSERT_FALSE(run(test::ethernet_frame(kOne, kTwo, 0x8100, hex("e064 86dd 6000")), view, 3));
  EXPECT_EQ(view.type, Ethernet::kIpv6);
  EXPECT_EQ(view.length, 18);
  EXPECT_EQ(view.vlan_id, 100);
  ASSERT_FALSE(run(test::ethernet_frame(kOne, kTwo, 0x88a8, hex("0065 8100 0064 0806")), view));
  EXPECT_EQ(view.type, Ethernet::kArp);
  EXPECT_EQ(view.length, 22);
  EXPECT_EQ(view.vlan_id, 101);
  EXPECT_EQ(
      run(test::ethernet_frame(kOne, kTwo, 0x8100, hex("0001 8100 0002 8100 0003 0800")), view),
      Reason::packet_unknown_ethertype);
}

TEST(Ethernet, TruncatedAndLengthFramesAreRefused) {
  FrameView view;
  const Bytes tagged = test::ethernet_frame(kOne, kTwo, 0x8100, hex("0001 0800"));
  for (size_t n = 0; n < tagged.size(); ++n) {
    EXPECT_EQ(run(test::slice(tagged, 0, n), view), Reason::packet_truncated);
  }
  EXPECT_EQ(run(test::ethernet_frame(kOne, kTwo, 0x05dc, {1, 2}), view),
            Reason::packet_unknown_ethertype);
}

TEST(Ethernet, StripAndPushAreInverse) {
  const Bytes bytes = test::ethernet_frame(kOne, kTwo, 0x0800, test::pattern(50));
  for (const size_t segment : {0u, 14u, 10u}) {
    rte_mbuf* frame = test::to_mbuf(bytes, segment);
    FrameView view;
    ASSERT_FALSE(parse_ethernet(frame, view));
    strip_ethernet(frame, view);
    EXPECT_EQ(test::to_bytes(frame), test::pattern(50));
    frame = push_ethernet(frame, kOne, kTwo, Ethernet::kIpv4, test::pools().small);
    EXPECT_EQ(test::to_bytes(frame), bytes);
    EXPECT_EQ(frame->l2_len, 14);
    rte_pktmbuf_free(frame);
  }
}

TEST(Ethernet, PushWritesNothingThatAnotherCanSee) {
  rte_mbuf* packet = test::to_mbuf(test::pattern(50));
  packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  packet->tso_segsz = 1448;
  rte_mbuf* other = share_slice(packet, 0, 50, test::pools().clones);
  rte_mbuf* frame = push_ethernet(packet, kOne, kTwo, Ethernet::kIpv4, test::pools().small);
  EXPECT_NE(frame, packet);
  EXPECT_EQ(frame->nb_segs, 2);
  EXPECT_EQ(frame->tso_segsz, 1448);
  EXPECT_NE(frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
  EXPECT_EQ(test::to_bytes(frame), test::ethernet_frame(kOne, kTwo, 0x0800, test::pattern(50)));
  rte_pktmbuf_free(frame);
  rte_pktmbuf_free(other);
}

}  // namespace
}  // namespace isthmus::packet
