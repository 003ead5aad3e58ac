// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Reassembly, scoreboard and RTT estimator against simple models, by seed.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "support/packets.h"
#include "support/pools.h"
#include "tcp/congestion.h"
#include "tcp/reassembly.h"
#include "tcp/rtt.h"
#include "tcp/scoreboard.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

TEST(Reassembly, GivesTheFirstReceivedByteOfEachPositionInOrder) {
  const unsigned before = test::mbufs_in_use();
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    GapPool pool(64);
    Reassembly reassembly;
    const Seq base = static_cast<Seq>(0u - random() % 2000);  // wraps in the middle
    constexpr uint32_t kSpan = 3000;
    std::vector<int> model(kSpan, -1);
    for (int i = 0; i < 60; ++i) {
      const auto start = static_cast<uint32_t>(1 + random() % (kSpan - 1));
      const auto length =
          static_cast<uint32_t>(1 + random() % std::min<uint32_t>(400, kSpan - start));
      const auto first = static_cast<uint8_t>(random());
      const test::Bytes bytes = test::pattern(length, first);
      packet::Chain chain;
      ASSERT_TRUE(chain.append_copy(bytes, test::pools().small));
      bool news = false;
      for (uint32_t k = 0; k < length; ++k) {
        if (model[start + k] >= 0) continue;
        model[start + k] = bytes[k];
        news = true;
      }
      const auto result =
          reassembly.insert(pool, test::pools(), {}, base + start, std::move(chain));
      ASSERT_EQ(result, news ? Reassembly::Inserted::added : Reassembly::Inserted::duplicate);
    }
    const auto known = std::count_if(model.begin(), model.end(), [](int b) { return b >= 0; });
    ASSERT_EQ(reassembly.bytes(), known) << seed;
    // The missing bytes come one by one, as zeros; or many at once, which cover whole runs.
    packet::Chain queue;
    Seq next = base;
    while (next != base + kSpan) {
      const uint32_t at = next - base;
      ASSERT_LT(model[at], 0);
      const auto length = static_cast<uint32_t>(1 + random() % std::min<uint32_t>(200, kSpan - at));
      packet::Chain filler;
      ASSERT_TRUE(filler.append_copy(test::Bytes(length, 0), test::pools().small));
      for (uint32_t k = 0; k < length; ++k) {
        if (model[at + k] < 0) model[at + k] = 0;
      }
      uint64_t added = 0;
      next = reassembly.deliver(pool, test::pools(), next, std::move(filler), queue, added);
      ASSERT_GE(next - base, at + length);
    }
    test::Bytes got(queue.size());
    queue.copy_out(0, got);
    ASSERT_EQ(got.size(), kSpan);
    for (uint32_t k = 0; k < kSpan; ++k) ASSERT_EQ(got[k], model[k]) << seed << " at " << k;
    EXPECT_TRUE(reassembly.empty());
    EXPECT_EQ(pool.in_use(), 0u);
    EXPECT_EQ(pool.occupied(), 0u);
  }
  EXPECT_EQ(test::mbufs_in_use(), before);
}

packet::Chain bytes_of(uint32_t length, uint8_t first) {
  packet::Chain chain;
  EXPECT_TRUE(chain.append_copy(test::pattern(length, first), test::pools().small));
  return chain;
}

// Without a small buffer for the copy, what lies behind a covered run has to come again; what lies
// before it does not wait.
TEST(Reassembly, AnEmptyPoolDelaysOnlyWhatLiesBehindARun) {
  GapPool pool(4);
  Reassembly reassembly;
  reassembly.insert(pool, test::pools(), {}, 100, bytes_of(50, 100));
  packet::Chain queue;
  packet::Chain wide = bytes_of(300, 0);
  std::vector<rte_mbuf*> all;
  while (rte_mbuf* m = rte_pktmbuf_alloc(test::pools().small)) all.push_back(m);
  uint64_t added = 0;
  EXPECT_EQ(reassembly.deliver(pool, test::pools(), 0, std::move(wide), queue, added), 150u);
  for (rte_mbuf* m : all) rte_pktmbuf_free(m);
  test::Bytes got(queue.size());
  queue.copy_out(0, got);
  EXPECT_EQ(got, test::pattern(150));
}

TEST(Reassembly, WhatAllConnectionsHoldIsBounded) {
  GapPool pool(64);
  Reassembly one;
  Reassembly other;
  Reassembly::Limits limits;
  limits.occupied_by_all = 8 * bytes_of(1460, 0).occupied();
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(one.insert(pool, test::pools(), limits, 10'000 * i + 1, bytes_of(1460, 0)),
              Reassembly::Inserted::added);
  }
  limits.owner = 1;
  unsigned added = 0;
  for (uint32_t i = 0; i < 6; ++i) {
    added += other.insert(pool, test::pools(), limits, 10'000 * i + 1, bytes_of(1460, 0)) ==
                     Reassembly::Inserted::added
                 ? 1
                 : 0;
  }
  EXPECT_EQ(added, 2u);
  EXPECT_EQ(pool.occupied(), one.occupied() + other.occupied());
  EXPECT_EQ(pool.another_owner(0), 1u);
  one.clear(pool);
  other.clear(pool);
  EXPECT_EQ(pool.occupied(), 0u);
  EXPECT_EQ(pool.another_owner(0), GapPool::kNone);
}

// What is known of each byte.
struct Fate {
  bool sacked = false;
};

TEST(Scoreboard, AgreesWithAModelOfSingleBytes) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    RecordPool pool(512);
    Scoreboard board;
    const Seq base = static_cast<Seq>(0u - random() % 20'000);
    std::vector<Fate> model;
    uint32_t una = 0;
    timer::Instant now{1s};
    for (int step = 0; step < 300; ++step) {
      now += timer::Duration(static_cast<int64_t>(random() % 5000));
      AckResult result;
      result.now = now;
      const auto sent = static_cast<uint32_t>(model.size());
      switch (random() % 6) {
        case 0: {
          const auto n = static_cast<uint32_t>(1 + random() % 4000);
          if (sent - una > 40'000) break;
          ASSERT_TRUE(board.push(pool, base + sent, base + sent + n, nullptr, nullptr, now));
          model.resize(model.size() + n);
          break;
        }
        case 1:
        case 2: {
          if (sent - una < 3) break;
          const uint32_t start = una + 1 + static_cast<uint32_t>(random() % (sent - una - 1));
          const uint32_t end = start + 1 + static_cast<uint32_t>(random() % (sent - start));
          board.sack(pool, {base + start, base + end}, result);
          uint32_t news = 0;
          for (uint32_t i = start; i < end; ++i) {
            news += model[i].sacked ? 0 : 1;
            model[i].sacked = true;
          }
          ASSERT_EQ(result.delivered, news);
          break;
        }
        case 3: {
          const uint32_t ack = una + static_cast<uint32_t>(random() % (sent - una + 1)) / 3;
          uint32_t news = 0;
          for (uint32_t i = una; i < ack; ++i) news += model[i].sacked ? 0 : 1;
          board.acknowledge(pool, base + ack, result);
          ASSERT_EQ(result.delivered, news);
          una = ack;
          break;
        }
        case 4:
          board.detect_losses(pool, 1ms, result);
          break;
        default:
          if (random() % 8 == 0) {
            const bool reneged = una < sent && model[una].sacked;
            board.mark_all_lost(pool);
            if (reneged) {
              for (uint32_t i = una; i < sent; ++i) model[i].sacked = false;
            }
            if (random() % 2 == 0) board.unmark_losses(pool);
          }
          for (int i = 0; i < 3; ++i) {
            const uint32_t lost = board.next_lost(pool);
            if (lost == Scoreboard::kNone) break;
            ASSERT_TRUE(board.trim_record(pool, lost, 1 + random() % 2000));
            board.on_retransmit(pool, lost, pool[lost].length(), now);
          }
      }
      ASSERT_TRUE(board.consistent(pool, base + una, base + static_cast<Seq>(model.size())))
          << "seed " << seed << " step " << step;
      uint32_t sacked = 0;
      for (size_t i = una; i < model.size(); ++i) sacked += model[i].sacked ? 1 : 0;
      ASSERT_EQ(board.sacked_bytes(), sacked) << "seed " << seed << " step " << step;
    }
    board.clear(pool);
    EXPECT_EQ(pool.in_use(), 0u);
  }
}

TEST(Rtt, Rfc6298FirstAndLaterSamples) {
  RttEstimator rtt;
  EXPECT_EQ(rtt.timeout(1s, 200ms), 1s);
  rtt.sample(100ms, 1);
  EXPECT_EQ(rtt.smoothed(), 100'000u);
  EXPECT_EQ(rtt.variance(), 50'000u);
  EXPECT_EQ(rtt.timeout(1s, 200ms), 300ms);
  rtt.sample(180ms, 2);
  EXPECT_EQ(rtt.smoothed(), 110'000u);
  EXPECT_EQ(rtt.variance(), 57'500u);
  EXPECT_EQ(rtt.minimum(), 100'000u);
  rtt.sample(150ms, 2 + 360);
  EXPECT_EQ(rtt.minimum(), 150'000u);  // the old path is forgotten
}

}  // namespace
}  // namespace isthmus::tcp
