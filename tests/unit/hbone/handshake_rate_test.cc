// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/handshake_rate.h"

#include <gtest/gtest.h>

namespace isthmus::hbone {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr timer::Instant kStart{seconds(5)};

unsigned taken(HandshakeRate& rate, uint64_t workload, unsigned tries, timer::Instant now) {
  unsigned count = 0;
  for (unsigned i = 0; i < tries; ++i) count += rate.take(workload, now) ? 1 : 0;
  return count;
}

TEST(HandshakeRate, ASecondsWorthAtOnceAndTheRateFromThenOn) {
  HandshakeRate rate(100);
  EXPECT_EQ(taken(rate, 7, 500, kStart), 100u);
  EXPECT_EQ(taken(rate, 7, 500, kStart + milliseconds(100)), 10u);
  EXPECT_EQ(taken(rate, 7, 500, kStart + seconds(60)), 100u);
}

TEST(HandshakeRate, WorkloadsDontFeelEachOther) {
  HandshakeRate rate(10);
  EXPECT_EQ(taken(rate, 1, 1000, kStart), 10u);
  for (uint64_t workload = 2; workload < 500; ++workload) {
    EXPECT_EQ(taken(rate, workload, 10, kStart), 10u) << workload;
  }
}

// More workloads than it can remember: it forgets whom it has to hold back least.
TEST(HandshakeRate, AGreedyOneIsNotForgottenForThoseThatBeginFew) {
  HandshakeRate rate(10);
  EXPECT_EQ(taken(rate, 1, 1000, kStart), 10u);
  for (uint64_t workload = 2; workload < 100'000; ++workload) rate.take(workload, kStart);
  EXPECT_EQ(taken(rate, 1, 1000, kStart), 0u);
}

TEST(HandshakeRate, NoneIsNoLimit) {
  HandshakeRate rate(0);
  EXPECT_EQ(taken(rate, 1, 10'000, kStart), 10'000u);
}

}  // namespace
}  // namespace isthmus::hbone
