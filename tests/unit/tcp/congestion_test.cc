// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The congestion window by itself: RFC 5681, RFC 6928, RFC 9406 (HyStart++), RFC 9438 (CUBIC).
#include "tcp/congestion.h"

#include <cmath>
#include <gtest/gtest.h>

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kMss = 1000;

// A path that acknowledges whole windows, or parts of them.
class Windows : public testing::Test {
 protected:
  void start(CongestionControl algorithm) { congestion_.start(algorithm, kMss, 10'000'000); }
  // A window is acknowledged, in so many ACKs that each measure this time.
  void round(timer::Duration rtt, unsigned acks = 10, bool limited = true) {
    const uint32_t window = congestion_.window();
    const Seq una = nxt_;
    nxt_ += window;
    for (unsigned i = 1; i <= acks; ++i) {
      congestion_.on_ack({.acked = window / acks,
                          .una = una + window / acks * i,
                          .nxt = nxt_ + window / acks * i,
                          .now = now_ += rtt / acks,
                          .smoothed_rtt = rtt,
                          .rtt = rtt,
                          .limited = limited});
    }
    nxt_ = una + window / acks * acks;
  }
  void lose() {
    congestion_.on_loss(now_);
    congestion_.set_window(congestion_.slow_start_threshold());
  }
  uint32_t window() const { return congestion_.window(); }

  Congestion congestion_;
  timer::Instant now_{1h};
  Seq nxt_ = 0xffffff00;
};

TEST_F(Windows, Rfc6928InitialWindow) {
  const std::pair<uint32_t, uint32_t> expected[] = {{536, 5360},    {1220, 12'200}, {1448, 14'480},
                                                    {1460, 14'600}, {4000, 14'600}, {8948, 17'896}};
  for (const auto& [mss, initial] : expected) {
    congestion_.start(CongestionControl::cubic, mss, 10'000'000);
    EXPECT_EQ(window(), initial) << mss;
  }
}

TEST_F(Windows, Rfc5681SlowStartDoublesEachRound) {
  start(CongestionControl::reno);
  const uint32_t before = window();
  round(20ms);
  EXPECT_EQ(window(), 2 * before);
}

// RFC 3465: a receiver that acknowledges each byte alone gains nothing.
TEST_F(Windows, Rfc3465SplitAcknowledgmentsGainNothing) {
  for (const auto algorithm : {CongestionControl::reno, CongestionControl::cubic}) {
    start(algorithm);
    round(20ms, 1);
    const uint32_t whole = window();
    start(algorithm);
    round(20ms, 5000);
    EXPECT_LE(window(), whole);
    lose();
    const uint32_t reduced = window();
    round(20ms, 5000);
    EXPECT_LE(window(), reduced + 2 * kMss);
  }
}

TEST_F(Windows, Rfc5681RenoAddsASegmentEachRound) {
  start(CongestionControl::reno);
  for (int i = 0; i < 3; ++i) round(20ms);
  const uint32_t peak = window();
  lose();
  EXPECT_EQ(window(), peak / 2);
  const uint32_t half = window();
  for (int i = 0; i < 10; ++i) round(20ms);
  EXPECT_NEAR(window(), half + 10 * kMss, 2 * kMss);
}

TEST_F(Windows, Rfc5681TimeoutLeavesOneSegmentAndHalfTheFlight) {
  start(CongestionControl::reno);
  for (int i = 0; i < 3; ++i) round(20ms);
  congestion_.on_timeout(20'000, now_);
  EXPECT_EQ(window(), kMss);
  EXPECT_EQ(congestion_.slow_start_threshold(), 10'000u);
  congestion_.on_timeout(kMss, now_);
  EXPECT_EQ(congestion_.slow_start_threshold(), 2 * kMss);  // at least
}

TEST_F(Windows, Rfc7661AWindowThatIsNotUsedDoesNotGrow) {
  start(CongestionControl::cubic);
  round(20ms);
  const uint32_t before = window();
  for (int i = 0; i < 100; ++i) round(20ms, 10, false);
  EXPECT_EQ(window(), before);
  lose();
  const uint32_t reduced = window();
  for (int i = 0; i < 100; ++i) round(20ms, 10, false);
  EXPECT_EQ(window(), reduced);
  // And the time that passed so is no reason to leap.
  round(20ms);
  EXPECT_LT(window(), reduced + 3 * kMss);
}

TEST_F(Windows, Rfc7661IdleTimeHalvesAWindowDownToTheInitialOne) {
  start(CongestionControl::cubic);
  for (int i = 0; i < 4; ++i) round(20ms);
  lose();
  const uint32_t before = window();
  congestion_.on_idle(1);
  EXPECT_EQ(window(), before / 2);
  EXPECT_GE(congestion_.slow_start_threshold(), before / 4 * 3);
  congestion_.on_idle(30);
  EXPECT_EQ(window(), 10 * kMss);
}

TEST_F(Windows, Rfc9438ReducesToSevenTenths) {
  start(CongestionControl::cubic);
  for (int i = 0; i < 4; ++i) round(20ms);
  const uint32_t peak = window();
  lose();
  EXPECT_NEAR(window(), 0.7 * peak, 1);
}

TEST_F(Windows, Rfc9438WindowComesBackToWhereTheLossWas) {
  start(CongestionControl::cubic);
  while (window() < 1'000'000) round(100ms, 1);
  const uint32_t peak = window();
  lose();
  EXPECT_NEAR(window(), 0.7 * peak, 2000);
  // K = cbrt(W_max * 0.3 / 0.4) seconds.
  const double k = std::cbrt(peak / 1000.0 * 0.3 / 0.4);
  const timer::Instant start = now_;
  while (window() < peak * 99 / 100) {
    round(100ms);
    ASSERT_LT(now_ - start, 60s);
  }
  const double took = std::chrono::duration<double>(now_ - start).count();
  EXPECT_GT(took, 0.5 * k);
  EXPECT_LT(took, 1.2 * k);
}

// Section 4.3: where Reno would be faster, CUBIC is no slower.
TEST_F(Windows, Rfc9438IsAtLeastAsFastAsRenoOnAShortPath) {
  start(CongestionControl::cubic);
  round(1ms);
  lose();
  const uint32_t reduced = window();
  for (int i = 0; i < 40; ++i) round(1ms);
  const uint32_t grown = window() - reduced;
  // 3 * 0.3 / 1.7 of a segment each round, up to where the loss was.
  EXPECT_GT(grown, 40 * kMss / 2);
  EXPECT_LT(grown, 42 * kMss);
}

TEST_F(Windows, Rfc9438FastConvergenceGivesWayToNewerFlows) {
  start(CongestionControl::cubic);
  while (window() < 200'000) round(50ms, 1);
  lose();
  const uint32_t once = window();
  lose();  // before the old peak was reached again
  // The peak is now taken to be 0.85 of that window: it is met again the sooner.
  const timer::Instant start = now_;
  while (window() < once * 84 / 100) {
    round(50ms);
    ASSERT_LT(now_ - start, 30s);
  }
  const uint32_t at_peak = window();
  round(50ms);
  EXPECT_LT(window() - at_peak, 2 * kMss);  // the plateau is here
}

TEST_F(Windows, Rfc9438FractionsOfAByteAreNotLost) {
  start(CongestionControl::cubic);
  while (window() < 4'000'000) round(20ms, 1);
  lose();
  const uint32_t reduced = window();
  for (int i = 0; i < 50; ++i) round(20ms, 4000);
  EXPECT_GT(window(), reduced + 20 * kMss);
}

TEST_F(Windows, UndoRestores) {
  start(CongestionControl::cubic);
  for (int i = 0; i < 5; ++i) round(10ms);
  const uint32_t before = window();
  const Congestion::Before state = congestion_.on_timeout(before, now_);
  EXPECT_EQ(window(), kMss);
  congestion_.undo(state);
  EXPECT_EQ(window(), before);
  EXPECT_EQ(congestion_.slow_start_threshold(), UINT32_MAX);
}

TEST_F(Windows, Rfc9406RisingRoundTripsSlowTheGrowthAndEndSlowStart) {
  start(CongestionControl::cubic);
  round(40ms);
  round(40ms);
  const uint32_t before = window();
  round(46ms);  // more than an eighth: noticed with the eighth sample
  EXPECT_LT(window(), 2 * before);
  const uint32_t slow = window();
  round(46ms);
  const uint32_t quarter = slow / 4;
  EXPECT_NEAR(window(), slow + quarter, kMss);
  EXPECT_EQ(congestion_.slow_start_threshold(), UINT32_MAX);
  for (int i = 0; i < 5; ++i) round(46ms);
  EXPECT_NE(congestion_.slow_start_threshold(), UINT32_MAX);
  EXPECT_FALSE(congestion_.in_slow_start());
}

TEST_F(Windows, Rfc9406AFalseAlarmResumesSlowStart) {
  start(CongestionControl::cubic);
  round(40ms);
  round(40ms);
  round(46ms);
  round(41ms);  // below the baseline: growth is as before from here
  const uint32_t before = window();
  round(41ms);
  EXPECT_NEAR(window(), 2 * before, kMss);
  EXPECT_EQ(congestion_.slow_start_threshold(), UINT32_MAX);
}

TEST_F(Windows, Rfc9406SmallRisesAndFewSamplesMeanNothing) {
  start(CongestionControl::cubic);
  round(40ms);
  uint32_t before = window();
  round(43ms);  // less than four milliseconds, the least threshold
  EXPECT_EQ(window(), 2 * before);
  before = window();
  round(80ms, 7);  // one sample short of eight
  EXPECT_GE(window(), 2 * before - 7);
}

// Section 4.3: only the first slow start.
TEST_F(Windows, Rfc9406LaterSlowStartsAreClassic) {
  start(CongestionControl::cubic);
  for (int i = 0; i < 4; ++i) round(40ms);
  congestion_.on_timeout(window(), now_);
  round(40ms, 8);
  round(60ms, 8);
  const uint32_t before = window();
  round(80ms, 8);
  EXPECT_NEAR(window(), 2 * before, 8);
}

}  // namespace
}  // namespace isthmus::tcp
