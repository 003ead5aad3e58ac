// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/handoff.h"

#include <gtest/gtest.h>

#include <rte_mbuf.h>

#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::gateway {
namespace {

rte_mbuf* packet_of(size_t length) {
  return test::to_mbuf(test::pattern(length));
}

uint16_t pop(Handoff& handoff, unsigned to, rte_mbuf** packets, uint16_t n) {
  const uint16_t count = handoff.pop(to, packets, n);
  for (uint16_t i = 0; i < count; ++i) rte_pktmbuf_free(packets[i]);
  return count;
}

TEST(Handoff, KeepsOrderAndSeparatesWorkers) {
  Handoff handoff(3, 64, 1 << 20);
  rte_mbuf* first = packet_of(10);
  rte_mbuf* second = packet_of(20);
  EXPECT_FALSE(handoff.pending(1));
  ASSERT_TRUE(handoff.push(0, 1, first));
  ASSERT_TRUE(handoff.push(0, 1, second));
  EXPECT_TRUE(handoff.pending(1));
  EXPECT_FALSE(handoff.pending(2));
  rte_mbuf* packets[4];
  EXPECT_EQ(handoff.pop(2, packets, 4), 0);
  ASSERT_EQ(handoff.pop(1, packets, 4), 2);
  EXPECT_EQ(packets[0], first);
  EXPECT_EQ(packets[1], second);
  EXPECT_FALSE(handoff.pending(1));
  rte_pktmbuf_free(first);
  rte_pktmbuf_free(second);
}

TEST(Handoff, BoundsPackets) {
  Handoff handoff(2, 16, 1 << 20);
  unsigned pushed = 0;
  rte_mbuf* refused = nullptr;
  while (refused == nullptr) {
    rte_mbuf* packet = packet_of(1);
    if (handoff.push(0, 1, packet)) {
      ++pushed;
    } else {
      refused = packet;
    }
  }
  EXPECT_EQ(pushed, 15u);  // a ring of DPDK holds one less than its size
  // The other direction has its own bound.
  rte_mbuf* other = packet_of(1);
  EXPECT_TRUE(handoff.push(1, 0, other));
  rte_mbuf* packets[32];
  EXPECT_EQ(pop(handoff, 1, packets, 32), 15);
  EXPECT_TRUE(handoff.push(0, 1, refused));
  EXPECT_EQ(pop(handoff, 1, packets, 32), 1);
  EXPECT_EQ(pop(handoff, 0, packets, 32), 1);
}

TEST(Handoff, BoundsBytesAndFreesThemWhenTaken) {
  Handoff handoff(2, 64, 3000);
  for (int round = 0; round < 100; ++round) {
    rte_mbuf* packets[4];
    rte_mbuf* third = packet_of(1001);
    ASSERT_TRUE(handoff.push(0, 1, packet_of(1000)));
    ASSERT_TRUE(handoff.push(0, 1, packet_of(1000)));
    ASSERT_FALSE(handoff.push(0, 1, third));
    ASSERT_TRUE(handoff.push(0, 1, packet_of(1000)));  // exactly full
    ASSERT_EQ(pop(handoff, 1, packets, 4), 3);
    rte_pktmbuf_free(third);
  }
}

TEST(Handoff, TakesFromAllSendersUpToTheBurst) {
  Handoff handoff(4, 64, 1 << 20);
  for (unsigned from = 1; from < 4; ++from) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(handoff.push(from, 0, packet_of(1)));
  }
  rte_mbuf* packets[16];
  EXPECT_EQ(pop(handoff, 0, packets, 5), 5);
  EXPECT_EQ(pop(handoff, 0, packets, 16), 4);
}

TEST(Handoff, EverySenderHasItsShareOfABurst) {
  Handoff handoff(4, 64, 1 << 20);
  for (unsigned from = 1; from < 4; ++from) {
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(handoff.push(from, 0, packet_of(from)));
  }
  unsigned taken[4] = {};
  rte_mbuf* packets[12];
  for (int burst = 0; burst < 4; ++burst) {
    ASSERT_EQ(handoff.pop(0, packets, 12), 12);
    for (rte_mbuf* packet : packets) {
      ++taken[packet->pkt_len];
      rte_pktmbuf_free(packet);
    }
  }
  for (unsigned from = 1; from < 4; ++from) EXPECT_EQ(taken[from], 16u) << from;
  // A burst smaller than the number of senders: in turn.
  unsigned firsts[4] = {};
  for (int burst = 0; burst < 12; ++burst) {
    ASSERT_EQ(handoff.pop(0, packets, 1), 1);
    ++firsts[packets[0]->pkt_len];
    rte_pktmbuf_free(packets[0]);
  }
  for (unsigned from = 1; from < 4; ++from) EXPECT_GE(firsts[from], 3u) << from;
}

TEST(Handoff, FreesWhatWasNeverTaken) {
  const unsigned before = test::mbufs_in_use();
  {
    Handoff handoff(2, 64, 1 << 20);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(handoff.push(0, 1, packet_of(1)));
  }
  EXPECT_EQ(test::mbufs_in_use(), before);
}

}  // namespace
}  // namespace isthmus::gateway
