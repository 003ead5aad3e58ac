// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "timer/wheel.h"

#include <chrono>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace isthmus::timer {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Instant kStart{seconds(1'000'000)};
constexpr unsigned kNoCap = ~0u;

struct Timer : Wheel::Entry {
  int expired = 0;
};

unsigned run(Wheel& wheel, Instant now, unsigned cap = kNoCap) {
  return wheel.advance(now, cap, [](Wheel::Entry& e) { ++static_cast<Timer&>(e).expired; });
}

TEST(Wheel, ExpiresAtTheDeadlineAndNeverEarly) {
  for (const Duration delay : {Duration(1), Duration(99), Duration(100), Duration(101),
                               Duration(6400), Duration(milliseconds(200)), Duration(seconds(60)),
                               Duration(hours(2)), Duration(hours(24 * 365))}) {
    Wheel wheel(kStart);
    Timer timer;
    wheel.arm(timer, kStart + delay);
    EXPECT_EQ(run(wheel, kStart + delay - microseconds(1)), 0u) << delay.count();
    EXPECT_EQ(run(wheel, kStart + delay + kTick), 1u) << delay.count();
    EXPECT_FALSE(timer.armed());
    EXPECT_EQ(wheel.size(), 0u);
  }
}

TEST(Wheel, DeadlineOnATickExpiresAtThatInstant) {
  Wheel wheel(kStart);
  Timer timer;
  wheel.arm(timer, kStart + seconds(3));
  EXPECT_EQ(run(wheel, kStart + seconds(3)), 1u);
}

TEST(Wheel, PassedDeadlineExpiresAtTheNextTick) {
  Wheel wheel(kStart);
  run(wheel, kStart + seconds(5));
  Timer timer;
  wheel.arm(timer, kStart + seconds(1));
  EXPECT_EQ(wheel.next_deadline(), kStart + seconds(5) + kTick);
  EXPECT_EQ(run(wheel, kStart + seconds(5)), 0u);
  EXPECT_EQ(run(wheel, kStart + seconds(5) + kTick), 1u);
}

TEST(Wheel, RearmFromTheCallbackCannotLoop) {
  Wheel wheel(kStart);
  Timer timer;
  wheel.arm(timer, kStart + milliseconds(1));
  const Instant now = kStart + milliseconds(10);
  unsigned calls = 0;
  while (wheel.next_deadline() <= now && calls < 1000) {
    calls += wheel.advance(now, 16, [&](Wheel::Entry& e) { wheel.arm(e, kStart); });
  }
  // One expiration per tick from 1 ms to 10 ms, however often it asks for the past.
  EXPECT_LE(calls, 91u);
  wheel.cancel(timer);
}

TEST(Wheel, LaterDeadlineIsHonoured) {
  Wheel wheel(kStart);
  Timer timer;
  wheel.arm(timer, kStart + milliseconds(200));
  wheel.arm(timer, kStart + milliseconds(500));
  EXPECT_EQ(run(wheel, kStart + milliseconds(499)), 0u);
  EXPECT_TRUE(timer.armed());
  EXPECT_EQ(run(wheel, kStart + milliseconds(500)), 1u);
}

TEST(Wheel, EarlierDeadlineIsHonoured) {
  Wheel wheel(kStart);
  Timer timer;
  wheel.arm(timer, kStart + hours(2));
  wheel.arm(timer, kStart + milliseconds(5));
  EXPECT_EQ(run(wheel, kStart + milliseconds(5)), 1u);
}

TEST(Wheel, CancelDisarmsAtOnce) {
  Wheel wheel(kStart);
  Timer timer;
  wheel.arm(timer, kStart + seconds(1));
  wheel.cancel(timer);
  wheel.cancel(timer);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next_deadline(), kNever);
  EXPECT_EQ(run(wheel, kStart + hours(1)), 0u);
}

TEST(Wheel, NeverLeavesTheEntryInItsPlaceButDoesNotExpireIt) {
  for (const auto deadline : {Duration(milliseconds(1)), Duration(hours(1))}) {
    Wheel wheel(kStart);
    Timer timer;
    Timer again;
    wheel.arm(timer, kStart + deadline);
    wheel.arm(again, kStart + deadline);
    wheel.arm(timer, kNever);
    wheel.arm(again, kNever);
    wheel.arm(again, kStart + deadline + hours(1));
    EXPECT_EQ(wheel.size(), 2u);
    EXPECT_EQ(run(wheel, kStart + deadline + seconds(1)), 0u);
    EXPECT_FALSE(timer.armed());
    EXPECT_EQ(wheel.size(), 1u);
    EXPECT_EQ(run(wheel, kStart + deadline + hours(1)), 1u);
    EXPECT_EQ(wheel.next_deadline(), kNever);
  }
}

TEST(Wheel, ExpirationsAreCappedAndTheRestIsNotLost) {
  Wheel wheel(kStart);
  std::vector<Timer> timers(100);
  for (auto& timer : timers) wheel.arm(timer, kStart + milliseconds(1));
  EXPECT_EQ(run(wheel, kStart + seconds(1), 30), 30u);
  EXPECT_LE(wheel.next_deadline(), kStart + seconds(1));
  EXPECT_EQ(run(wheel, kStart + seconds(1), 30), 30u);
  // One that waits for its turn can still be cancelled or put off.
  Timer* waiting[2] = {};
  for (auto& timer : timers) {
    if (timer.armed()) waiting[waiting[0] == nullptr ? 0 : 1] = &timer;
  }
  wheel.cancel(*waiting[0]);
  wheel.arm(*waiting[1], kStart + seconds(2));
  EXPECT_EQ(run(wheel, kStart + seconds(1)), 38u);
  EXPECT_EQ(run(wheel, kStart + seconds(2)), 1u);
}

TEST(Wheel, CallbackMayCancelOthersThatAreDue) {
  Wheel wheel(kStart);
  Timer timers[2];
  wheel.arm(timers[0], kStart + milliseconds(1));
  wheel.arm(timers[1], kStart + milliseconds(1));
  const unsigned count = wheel.advance(kStart + seconds(1), kNoCap, [&](Wheel::Entry& e) {
    wheel.cancel(&e == &timers[0] ? timers[1] : timers[0]);
  });
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(Wheel, NextDeadlineLeadsToEveryExpiration) {
  // A sleeper that always wakes at next_deadline() misses nothing, and wakes a bounded number of
  // times.
  Wheel wheel(kStart);
  Timer timer;
  const Instant deadline = kStart + hours(3) + microseconds(12'345);
  wheel.arm(timer, deadline);
  unsigned wakes = 0;
  Instant now = kStart;
  while (timer.expired == 0 && wakes < 100) {
    now = wheel.next_deadline();
    run(wheel, now);
    ++wakes;
  }
  EXPECT_GE(now, deadline);
  EXPECT_LT(now, deadline + kTick);
  EXPECT_LE(wakes, 8u);
}

// The wheel against the obvious data structure, over random operations and jumps of time.
class WheelModel : public testing::TestWithParam<unsigned> {};

TEST_P(WheelModel, AgreesWithAnOrderedMap) {
  std::mt19937_64 random(GetParam());
  Wheel wheel(kStart);
  std::vector<Timer> timers(200);
  std::map<Timer*, Instant> model;  // earliest instant at which each must expire
  const auto round_up = [](Instant t) {
    const auto past = (t - kStart) % kTick;
    return past == Duration(0) ? t : t + (kTick - past);
  };
  const auto random_delay = [&] { return Duration(random() >> (18 + random() % 45)) - kTick; };
  Instant now = kStart;
  for (int step = 0; step < 20'000; ++step) {
    Timer& timer = timers[random() % timers.size()];
    switch (random() % 8) {
      case 0:
        wheel.cancel(timer);
        model.erase(&timer);
        break;
      case 1: {
        now += Duration(random() >> (24 + random() % 40));
        const Instant ticked = kStart + (now - kStart) / kTick * kTick;
        Instant last = kStart;
        wheel.advance(now, kNoCap, [&](Wheel::Entry& e) {
          auto& expired = static_cast<Timer&>(e);
          ASSERT_TRUE(model.contains(&expired)) << "expired twice or cancelled";
          ASSERT_LE(model[&expired], ticked) << "early";
          ASSERT_GE(model[&expired], last) << "out of order";
          last = model[&expired];
          model.erase(&expired);
        });
        for (const auto& [left, deadline] : model) ASSERT_GT(deadline, ticked) << "late";
        break;
      }
      default: {
        const Instant deadline = now + random_delay();
        const Instant ticked = kStart + (now - kStart) / kTick * kTick;
        wheel.arm(timer, deadline);
        model[&timer] = std::max(round_up(deadline), ticked + kTick);
      }
    }
    ASSERT_EQ(wheel.size(), model.size());
    Instant earliest = kNever;
    for (const auto& [left, deadline] : model) earliest = std::min(earliest, deadline);
    ASSERT_LE(wheel.next_deadline(), earliest);
    if (HasFatalFailure()) return;
  }
  for (auto& timer : timers) wheel.cancel(timer);
}

INSTANTIATE_TEST_SUITE_P(Seeds, WheelModel, testing::Range(1u, 9u));

}  // namespace
}  // namespace isthmus::timer
