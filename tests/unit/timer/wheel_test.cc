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
    Wheel wheel(kStart, 200);
    Timer timer;
    wheel.arm(timer, kStart + delay);
    EXPECT_EQ(run(wheel, kStart + delay - microseconds(1)), 0u) << delay.count();
    EXPECT_EQ(run(wheel, kStart + delay + kTick), 1u) << delay.count();
    EXPECT_FALSE(timer.armed());
    EXPECT_EQ(wheel.size(), 0u);
  }
}

TEST(Wheel, DeadlineOnATickExpiresAtThatInstant) {
  Wheel wheel(kStart, 200);
  Timer timer;
  wheel.arm(timer, kStart + seconds(3));
  EXPECT_EQ(run(wheel, kStart + seconds(3)), 1u);
}

TEST(Wheel, PassedDeadlineExpiresAtTheNextTick) {
  Wheel wheel(kStart, 200);
  run(wheel, kStart + seconds(5));
  Timer timer;
  wheel.arm(timer, kStart + seconds(1));
  EXPECT_EQ(wheel.next_deadline(), kStart + seconds(5) + kTick);
  EXPECT_EQ(run(wheel, kStart + seconds(5)), 0u);
  EXPECT_EQ(run(wheel, kStart + seconds(5) + kTick), 1u);
}

TEST(Wheel, RearmFromTheCallbackCannotLoop) {
  Wheel wheel(kStart, 200);
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
  Wheel wheel(kStart, 200);
  Timer timer;
  wheel.arm(timer, kStart + milliseconds(200));
  wheel.arm(timer, kStart + milliseconds(500));
  EXPECT_EQ(run(wheel, kStart + milliseconds(499)), 0u);
  EXPECT_TRUE(timer.armed());
  EXPECT_EQ(run(wheel, kStart + milliseconds(500)), 1u);
}

TEST(Wheel, EarlierDeadlineIsHonoured) {
  Wheel wheel(kStart, 200);
  Timer timer;
  wheel.arm(timer, kStart + hours(2));
  wheel.arm(timer, kStart + milliseconds(5));
  EXPECT_EQ(run(wheel, kStart + milliseconds(5)), 1u);
}

TEST(Wheel, CancelDisarmsAtOnce) {
  Wheel wheel(kStart, 200);
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
    Wheel wheel(kStart, 200);
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
  Wheel wheel(kStart, 200);
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
  Wheel wheel(kStart, 200);
  Timer timers[2];
  wheel.arm(timers[0], kStart + milliseconds(1));
  wheel.arm(timers[1], kStart + milliseconds(1));
  const unsigned count = wheel.advance(kStart + seconds(1), kNoCap, [&](Wheel::Entry& e) {
    wheel.cancel(&e == &timers[0] ? timers[1] : timers[0]);
  });
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(wheel.size(), 0u);
}

// More than a cache line names, in all the states that those of one tick can be in.
TEST(Wheel, CallbackMayCancelPutOffAndGiveUpAnyOfTheSameTick) {
  constexpr unsigned kCount = 500;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    Wheel wheel(kStart, kCount);
    std::vector<Timer> timers(kCount);
    std::vector<int> wanted(kCount, 1);
    for (Timer& timer : timers) wheel.arm(timer, kStart + milliseconds(1));
    wheel.advance(kStart + milliseconds(1), kNoCap, [&](Wheel::Entry& e) {
      auto& expired = static_cast<Timer&>(e);
      ++expired.expired;
      for (unsigned i = 0; i < seed % 4; ++i) {
        const auto other = random() % kCount;
        if (timers[other].expired != 0) continue;
        wanted[other] = 0;
        switch (random() % 4) {
          case 0:
            wheel.cancel(timers[other]);
            break;
          case 1:
            wheel.arm(timers[other], kNever);
            break;
          case 2:
            wheel.arm(timers[other], kStart + seconds(1));
            break;
          default:  // has passed: the next tick
            wheel.arm(timers[other], kStart);
            break;
        }
      }
    });
    for (unsigned i = 0; i < kCount; ++i) EXPECT_EQ(timers[i].expired, wanted[i]) << i;
    for (Timer& timer : timers) wheel.cancel(timer);
    EXPECT_EQ(wheel.size(), 0u);
    EXPECT_EQ(wheel.next_deadline(), kNever);
  }
}

TEST(Wheel, AnEntryTakesNoMoreThan16Bytes) {
  EXPECT_EQ(sizeof(Wheel::Entry), 16u);
}

// The wheel ends the program when the memory that it was made with is not enough.
TEST(Wheel, RearmingEarlierAMillionTimesNeedsNoMoreMemory) {
  constexpr unsigned kTimes = 1'000'000;
  Wheel wheel(kStart, 1);
  Timer timer;
  for (unsigned i = kTimes; i != 0; --i) wheel.arm(timer, kStart + i * kTick);
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(run(wheel, kStart + kTick), 1u);
  for (unsigned i = 0; i < kTimes; ++i) {
    wheel.arm(timer, kStart + hours(2));
    wheel.arm(timer, kStart + milliseconds(i % 1000));
    wheel.cancel(timer);
  }
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

TEST(Wheel, LeavingFewInEverySlotNeedsNoMoreMemory) {
  constexpr unsigned kCount = 20'000;
  for (const unsigned stay : {2u, 5u, 7u, 13u, 50u}) {
    Wheel wheel(kStart, kCount);
    std::vector<Timer> timers(kCount);
    for (Timer& timer : timers) wheel.arm(timer, kStart + 63 * 4096 * kTick);
    // From slot to slot, and each time one of `stay` remains where it is.
    std::vector<Timer*> moving;
    moving.reserve(kCount);
    for (Timer& timer : timers) moving.push_back(&timer);
    for (unsigned step = 1; step < 60; ++step) {
      std::vector<Timer*> next;
      for (size_t i = 0; i < moving.size(); ++i) {
        if (i % stay == 0) continue;
        wheel.arm(*moving[i], kStart + (63 - step) * 4096 * kTick);
        next.push_back(moving[i]);
      }
      moving = std::move(next);
    }
    EXPECT_EQ(run(wheel, kStart + hours(1)), kCount);
  }
}

TEST(WheelDeathTest, MoreEntriesThanStatedEndTheProgram) {
  Wheel wheel(kStart, 2);
  Timer timers[3];
  wheel.arm(timers[0], kStart + seconds(1));
  wheel.arm(timers[1], kStart + seconds(2));
  EXPECT_DEATH(wheel.arm(timers[2], kStart + seconds(1)), "more entries than the 2");
  wheel.arm(timers[0], kStart + milliseconds(1));
  wheel.cancel(timers[1]);
  wheel.arm(timers[2], kStart + seconds(1));
  EXPECT_EQ(run(wheel, kStart + seconds(1)), 2u);
}

TEST(Wheel, NextDeadlineLeadsToEveryExpiration) {
  // A sleeper that always wakes at next_deadline() misses nothing, and wakes a bounded number of
  // times.
  Wheel wheel(kStart, 200);
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
  Wheel wheel(kStart, 200);
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

// Thousands, many in each tick, expired in parts; callbacks that change any of them.
TEST_P(WheelModel, AgreesWithAMultimapThatCallbacksChange) {
  constexpr unsigned kCount = 3000;
  std::mt19937_64 random(GetParam());
  Wheel wheel(kStart, kCount);
  std::vector<Timer> timers(kCount);
  std::multimap<Instant, Timer*> model;  // by the tick at which each must expire
  std::vector<std::multimap<Instant, Timer*>::iterator> at(kCount, model.end());
  const auto change = [&](Instant now, Instant first) {
    const auto which = random() % kCount;
    Timer& timer = timers[which];
    if (at[which] != model.end()) model.erase(at[which]);
    at[which] = model.end();
    const auto what = random() % 8;
    if (what == 0) return wheel.cancel(timer);
    if (what == 1) return wheel.arm(timer, kNever);
    // Never the very tick: then it depends on its place whether it still expires in this one.
    const Duration delay(random() >> (what < 7 ? 51 : 20 + random() % 30));
    const Instant deadline = what == 2 ? first - 2 * kTick - delay : now + Duration(1) + delay;
    wheel.arm(timer, deadline);
    const Instant tick = kStart + (deadline - kStart + kTick - Duration(1)) / kTick * kTick;
    at[which] = model.emplace(std::max(tick, first), &timer);
  };
  Instant now = kStart;
  for (int step = 0; step < 3000; ++step) {
    now += Duration(random() >> (step % 100 == 0 ? 30 : 53));
    const Instant ticked = kStart + (now - kStart) / kTick * kTick;
    const unsigned cap = random() % 2 == 0 ? kNoCap : random() % 64;
    unsigned count = 0;
    do {
      count = wheel.advance(now, cap, [&](Wheel::Entry& e) {
        auto& expired = static_cast<Timer&>(e);
        const auto place = at[static_cast<size_t>(&expired - timers.data())];
        ASSERT_NE(place, model.end()) << "expired twice, cancelled or given up";
        const Instant tick = place->first;
        ASSERT_EQ(tick, model.begin()->first) << "out of order";
        ASSERT_LE(tick, ticked) << "early";
        ASSERT_FALSE(expired.armed());
        model.erase(place);
        at[static_cast<size_t>(&expired - timers.data())] = model.end();
        for (auto i = random() % 3; i != 0; --i) change(tick, tick + kTick);
      });
      if (HasFatalFailure()) return;
    } while (count == cap && cap != 0);
    const Instant earliest = model.empty() ? kNever : model.begin()->first;
    ASSERT_GE(wheel.size(), model.size());
    ASSERT_LE(wheel.next_deadline(), earliest);
    // Where some are left, the wheel has not come as far as the clock.
    if (cap == 0) continue;
    ASSERT_GT(earliest, ticked) << "late";
    for (int i = 0; i < 200; ++i) change(now, ticked + kTick);
  }
  for (Timer& timer : timers) wheel.cancel(timer);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

INSTANTIATE_TEST_SUITE_P(Seeds, WheelModel, testing::Range(1u, 9u));

}  // namespace
}  // namespace isthmus::timer
