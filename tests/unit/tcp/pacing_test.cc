// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/pacing.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>

#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kMss = 1448;

// A sender whose window has grown on a path with this round trip, everything acknowledged.
class Paced : public Sending {
 protected:
  static constexpr uint32_t kWindow = 100 * 1460;

  void open_grown(timer::Duration rtt) {
    config_.paced_rtt = 2ms;
    make_engine();
    open_after(rtt, scaled_syn(8));
    next_ = grow(rtt);
    take_events();
  }
  // As long as the windows allow, all that is asked for leaves some time.
  uint32_t grow(timer::Duration rtt) {
    uint32_t next = 1;
    while (connection_->info().congestion_window < kWindow) {
      send(connection_->info().congestion_window);
      const timer::Instant start = now_;
      while (connection_->info().not_sent != 0 && now_ - start < 10 * rtt) run(100us);
      next += drain();
      now_ = std::max(now_, start + rtt);
      in({.acknowledgment = next});
    }
    return next;
  }
  SendLimit limit() { return connection_->info().limit; }

  uint32_t next_ = 1;
};

TEST_F(Paced, Rfc9002WhatComesAfterAPauseIsSpreadOverTheRoundTrip) {
  open_grown(20ms);
  const uint32_t window = connection_->info().congestion_window;
  ASSERT_GE(window, kWindow);
  now_ += 50ms;
  send(window);
  flush();
  uint32_t sent = drain();
  EXPECT_GE(sent, 10 * kMss) << "the initial window may always leave at once";
  EXPECT_LE(sent, window / 4);
  EXPECT_EQ(limit(), SendLimit::pacing);
  uint32_t most = 0;
  const timer::Instant start = now_;
  while (sent < window && now_ - start < 1s) {
    run(100us);
    const uint32_t n = drain();
    most = std::max(most, n);
    sent += n;
  }
  EXPECT_EQ(sent, window);
  EXPECT_LE(most, 10 * kMss);
  EXPECT_GE(now_ - start, 5ms);
  EXPECT_LE(now_ - start, 16ms) << "above the window's own pace, so that ACKs come in time";
  EXPECT_NE(limit(), SendLimit::pacing);
}

TEST_F(Paced, AShortRoundTripIsNot) {
  open_grown(1ms);
  send(connection_->info().congestion_window);
  flush();
  EXPECT_EQ(drain(), connection_->info().congestion_window);
}

// In congestion avoidance, behind a bottleneck that just takes a window each round trip.
TEST_F(Paced, WhatAcksReleaseOneByOneIsNeverHeldUp) {
  constexpr auto kRtt = 20ms;
  open_grown(kRtt);
  send(10 * kMss);
  flush();
  drain();
  now_ += kRtt;
  in(sack(next_, {{next_ + kMss, next_ + 10 * kMss}}));
  ASSERT_EQ(drain(), kMss);
  now_ += kRtt;
  next_ += 10 * kMss;
  in({.acknowledgment = next_});
  const uint32_t window = connection_->info().congestion_window;
  ASSERT_EQ(window, connection_->info().slow_start_threshold);

  const timer::Duration each = kRtt * kMss / window;
  std::deque<timer::Instant> acks;
  unsigned held_up = 0;
  send(5 * window);
  for (const timer::Instant start = now_; now_ - start < 4 * kRtt;) {
    flush();
    for (uint32_t n = drain(); n >= kMss; n -= kMss) {
      acks.push_back(std::max(now_ + kRtt, acks.empty() ? now_ : acks.back() + each));
    }
    while (!acks.empty() && acks.front() <= now_) {
      acks.pop_front();
      in({.acknowledgment = next_ += kMss});
      held_up += limit() == SendLimit::pacing ? 1 : 0;
    }
    run(100us);
  }
  EXPECT_EQ(held_up, 0u);
}

// The pace is worked out from instants that begin anew after 71 minutes.
TEST_F(Paced, NothingWaitsForAPaceOfLongAgo) {
  for (const timer::Duration age : {36min, 71min, 72min, 100min}) {
    options_.user_timeout = {};
    open_grown(20ms);
    send(kMss);
    flush();
    now_ += age;
    engine_->advance(now_);
    flush();
    drain();
    in({.acknowledgment = next_ + kMss});  // the timeout left a window of one
    next_ += kMss;
    send(20 * kMss);
    run(100ms);
    EXPECT_NE(limit(), SendLimit::pacing) << age.count();
    drain();
  }
}

TEST(Pacing, ABurstIsTheInitialWindowOrHalfAMillisecond) {
  const Pacing::Path slow{.window = 100 * kMss, .rtt = 100'000, .mss = kMss, .slow_start = false};
  EXPECT_EQ(Pacing::burst(slow), 10 * kMss);
  const Pacing::Path fast{.window = 4 << 20, .rtt = 4'000, .mss = kMss, .slow_start = false};
  EXPECT_EQ(Pacing::burst(fast), (4u << 20) / 8 * 5 / 4);
}

// The window grows under what has left, whose time was worked out by the one before.
TEST(Pacing, AnAckBehindABurstDoesNotReleaseAnother) {
  Pacing::Path path{.window = 100 * kMss, .rtt = 50'000, .mss = kMss, .slow_start = true};
  Pacing pacing;
  uint32_t now = 1'000'000;
  pacing.on_sent(now, Pacing::burst(path), path, true);
  ASSERT_EQ(pacing.allowance(now, path), 0u);
  now += 20;
  path.window += 2 * kMss;
  EXPECT_LE(pacing.allowance(now, path), kMss);
  // Of a path that was much longer, it is forgotten.
  path.rtt = 500;
  EXPECT_EQ(pacing.allowance(now, path), Pacing::burst(path));
}

TEST(Pacing, TwoWindowsEachRoundTripInSlowStartAndFiveQuartersLater) {
  for (const bool slow_start : {true, false}) {
    const Pacing::Path path{
        .window = 1'000'000, .rtt = 100'000, .mss = kMss, .slow_start = slow_start};
    Pacing pacing;
    uint32_t now = UINT32_MAX - 50'000;  // it wraps
    uint64_t sent = 0;
    for (unsigned i = 0; i < 1'000; ++i, now += 100) {
      const uint32_t n = pacing.allowance(now, path) / kMss * kMss;
      if (i == 0 || n != 0) pacing.on_sent(now, n, path, i == 0);
      sent += n;
    }
    const uint64_t rate = slow_start ? 2'000'000 : 1'250'000;
    const auto expected = static_cast<double>(rate + Pacing::burst(path));
    EXPECT_NEAR(static_cast<double>(sent), expected, expected / 100);
  }
}

}  // namespace
}  // namespace isthmus::tcp
