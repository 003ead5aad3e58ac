// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A sender with Options::short_queue on a path whose round trip is worked out from windows: the
// path's own time, and the time of what stands in its queue.
#include "tcp/standing_queue.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>

namespace isthmus::tcp {
namespace {

constexpr uint32_t kBase = 1000;        // microseconds
constexpr uint32_t kProduct = 125'000;  // bytes that the path itself holds
constexpr uint32_t kSegment = 1448;

class Path : public testing::Test {
 protected:
  // A round of one ACK for each segment of the window, which grows by one where it may.
  void round(bool limited = true) {
    const Seq end = una_ + window_;
    nxt_ = end + window_;
    const uint32_t all = window_ + others_;
    const uint32_t rtt =
        product_ < all ? static_cast<uint32_t>(uint64_t{kBase} * all / product_) : kBase;
    bool grow = true;
    uint32_t next = window_;
    while (seq_lt(una_, end)) {
      una_ = seq_lt(una_ + kSegment, end) ? una_ + kSegment : end;
      const StandingQueue::Advice advice = queue_.on_ack({.una = una_,
                                                          .nxt = nxt_,
                                                          .rtt = rtt,
                                                          .base = kBase,
                                                          .window = next,
                                                          .limited = limited});
      grow = grow && advice.grow;
      if (advice.window != 0) next = advice.window;
    }
    held_ = !grow;
    window_ = next + (grow && next == window_ ? kSegment : 0);
    others_ += others_grow_;
    largest_ = std::max(largest_, window_);
    smallest_ = std::min(smallest_, window_);
  }
  void rounds(int n) {
    for (int i = 0; i < n; ++i) round();
  }
  // What was the largest and the smallest window, from now on.
  void watch() { largest_ = smallest_ = window_; }

  StandingQueue queue_;
  Seq una_ = 0xffff0000;
  Seq nxt_ = 0;
  uint32_t window_ = 100 * kSegment;
  uint32_t product_ = kProduct;
  uint32_t others_ = 0;
  uint32_t others_grow_ = 0;
  bool held_ = false;
  uint32_t largest_ = 0;
  uint32_t smallest_ = 0;
};

TEST_F(Path, AWindowThatBuysOnlyDelayIsGivenBack) {
  rounds(100);
  watch();
  rounds(2000);
  EXPECT_LE(largest_, 2 * kProduct) << "CUBIC would have grown until the queue is full";
  EXPECT_GE(smallest_, kProduct) << "the link always has something to send";
}

TEST_F(Path, AQueueThatALossHasLeftIsTakenDown) {
  window_ = 2 * kProduct + kProduct / 4;
  rounds(300);
  watch();
  rounds(2000);
  EXPECT_LE(largest_, 2 * kProduct);
  EXPECT_GE(smallest_, kProduct);
}

TEST_F(Path, GrowthThatBuysThroughputIsNotHeld) {
  product_ = 10'000'000;
  for (int i = 0; i < 1000; ++i) {
    round();
    ASSERT_FALSE(held_) << i;
  }
  EXPECT_GT(window_, 1000u * kSegment);
}

TEST_F(Path, AShareOfThePathIsNotHeld) {
  others_ = 4 * kProduct;
  for (int i = 0; i < 200; ++i) {
    round();
    ASSERT_FALSE(held_) << i;
  }
}

TEST_F(Path, OthersThatFillTheQueueEndTheRest) {
  rounds(300);
  while (!held_) round();
  others_grow_ = kSegment;
  int waited = 0;
  while (held_ && waited < 1000) {
    round();
    ++waited;
  }
  EXPECT_LT(waited, 100);
  for (int i = 0; i < 500; ++i) {
    round();
    ASSERT_FALSE(held_) << "competes, as CUBIC does";
  }
}

TEST_F(Path, AFasterPathIsFoundAgain) {
  rounds(300);
  product_ = 2 * kProduct;
  rounds(3000);
  EXPECT_GE(window_, product_ - product_ / 40);
}

TEST_F(Path, ASenderWithPausesIsNotMeasured) {
  for (int i = 0; i < 500; ++i) {
    round(false);
    ASSERT_FALSE(held_);
  }
}

TEST_F(Path, RestEndsForASenderWithPauses) {
  for (int on = 1; on <= 5; ++on) {
    for (int off = 1; off <= 4; ++off) {
      queue_ = {};
      window_ = 100 * kSegment;
      product_ = kProduct;
      held_ = false;
      for (int i = 0; i < 10'000 && !held_; ++i) round();
      ASSERT_TRUE(held_);
      product_ *= 20;
      const uint32_t before = window_;
      int rounds = 0;
      for (; rounds < 1'000 && window_ <= before; ++rounds) round(rounds % (on + off) < on);
      EXPECT_LT(rounds, 1'000) << on << " rounds limited, " << off << " not";
    }
  }
}

// The same path, an ACK at a time, as a window-limited sender sees it.
struct AckClock {
  void ack() {
    for (; nxt - una + kSegment <= window; sent.push_back(nxt - una)) nxt += kSegment;
    una += kSegment;
    const uint32_t out = std::max(sent.front(), kProduct);
    sent.pop_front();
    const StandingQueue::Advice advice =
        queue.on_ack({.una = una,
                      .nxt = nxt,
                      .rtt = static_cast<uint32_t>(uint64_t{kBase} * out / kProduct),
                      .base = kBase,
                      .window = window,
                      .limited = true});
    raised |= advice.window > window;
    if (advice.window != 0) window = advice.window;
    held = !advice.grow;
    credit += kSegment;
    if (!advice.grow || credit < window) return;
    credit = 0;
    window += kSegment;
  }

  StandingQueue queue;
  Seq una = 0;
  Seq nxt = 0;
  uint32_t window = 100 * kSegment;
  uint32_t credit = 0;
  std::deque<uint32_t> sent;  // in flight when each was sent
  bool held = false;
  bool raised = false;
};

// RFC 3168 section 6.1.2, RFC 5681: whoever has cut the window has the last word.
TEST(PathByAcks, Rfc3168AReductionIsNotUndone) {
  AckClock whole;
  int acks = 0;
  for (; !whole.held && acks < 1'000'000; ++acks) whole.ack();
  for (int at = acks - 1000; at < acks; ++at) {
    AckClock one;
    for (int i = 0; i < at; ++i) one.ack();
    one.window = one.window / 10 * 7;
    one.raised = false;
    for (int i = 0; i < 300; ++i) one.ack();
    ASSERT_FALSE(one.raised) << "cut after " << at << " ACKs";
  }
}

}  // namespace
}  // namespace isthmus::tcp
