// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sleeper.h"

#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

namespace isthmus::app {
namespace {

constexpr timer::Duration kLong{20'000'000};

class SleeperTest : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_LT(std::chrono::steady_clock::now() - started_, std::chrono::seconds(10))
        << "somebody slept through a wake-up";
  }
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  Sleeper sleeper_;
};

TEST_F(SleeperTest, AWakeUpBetweenTheLastLookAndTheSleepIsNotLost) {
  sleeper_.announce();
  sleeper_.wake();
  sleeper_.block(kLong);
  EXPECT_FALSE(sleeper_.sleeping());
}

TEST_F(SleeperTest, ProducersAndSleeperNeverMissEachOther) {
  constexpr int kRounds = 20'000;
  std::atomic<int> produced{0};
  int consumed = 0;
  std::thread producer([&] {
    for (int i = 1; i <= kRounds; ++i) {
      produced.store(i, std::memory_order_relaxed);
      sleeper_.wake();
    }
  });
  while (consumed < kRounds) {
    sleeper_.announce();
    if (produced.load(std::memory_order_relaxed) != consumed) {
      sleeper_.cancel();
      consumed = produced.load(std::memory_order_relaxed);
    } else {
      sleeper_.block(kLong);
    }
  }
  producer.join();
}

TEST_F(SleeperTest, AWatchedDescriptorWakesOnlyWhileWatching) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_TRUE(sleeper_.watch(ends[0]));
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  sleeper_.set_watching(true);
  sleeper_.announce();
  sleeper_.block(kLong);
  sleeper_.set_watching(false);
  const auto before = std::chrono::steady_clock::now();
  sleeper_.announce();
  sleeper_.block(timer::Duration(20'000));
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(20));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(SleeperTest, WithoutASleeperWakingIsFreeAndForgotten) {
  sleeper_.wake();
  sleeper_.announce();
  const auto before = std::chrono::steady_clock::now();
  sleeper_.block(timer::Duration(5'000));
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(5));
}

}  // namespace
}  // namespace isthmus::app
