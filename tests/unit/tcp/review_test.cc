// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a reviewer found that no test had asked for: each sequence once went wrong.
#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <vector>

#include "sending.h"
#include "tcp/cookie.h"
#include "tcp/standing_queue.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Review : public Sending {
 protected:
  void expect_next_packet_in(timer::Duration wanted) {
    EXPECT_NEAR(static_cast<double>(time_to_packet().count()), static_cast<double>(wanted.count()),
                1e5);
  }
  // A writer that has filled its short queue hears of the room that comes.
  void expect_told_of_room() {
    options_ = {};
    options_.short_queue = true;
    make_engine();
    sent_.clear();
    open_passive(syn_options(), 0);  // the peer's window is shut
    take_events();
    send(connection_->send_room());
    flush();
    take_events();
    in({.acknowledgment = 1, .window = 65535});
    const uint32_t sent = drain();
    now_ += 10ms;
    in({.acknowledgment = 1 + sent});
    flush();
    EXPECT_NE(take_events() & kWritable, 0);
  }
};

// RFC 5681 section 2: what a copy of an ACK seemed to say is taken back by the ACKs behind it.
TEST_F(Review, Rfc5681WithoutSackACopiedAckIsForgotten) {
  open_after(20ms, syn_options());
  uint32_t next = grow_window(60'000, 20ms);
  uint32_t acked = next;
  send(400'000);
  next += drain();
  const uint32_t mss = connection_->info().send_mss;
  now_ += 5ms;
  in({.acknowledgment = acked});
  in({.acknowledgment = acked});
  next += drain();
  acked += mss;
  in({.acknowledgment = acked});
  next += drain();
  for (int i = 0; i < 8; ++i) {
    now_ += 2ms;
    acked += 4 * mss;
    in({.acknowledgment = acked});
    next += drain();
  }
  EXPECT_EQ(connection_->info().in_flight, next - acked);
  EXPECT_LE(next - acked, connection_->info().congestion_window);
}

TEST_F(Review, KeepaliveCountsFromTheAnswerWhateverItsInterval) {
  options_.keepalive_idle = 10s;
  options_.keepalive_interval = 60s;
  open_passive();
  expect_next_packet_in(10s);
  expect("A", 0, 1);
  now_ += 1ms;
  in({.acknowledgment = 1});
  expect_next_packet_in(10s);
}

TEST_F(Review, KeepaliveCountsFromTheAckThatEndsABackedOffTimeout) {
  options_.keepalive_idle = 5s;
  open_passive();
  send(1000);
  flush();
  run(40s);
  in({.acknowledgment = 1001});
  sent_.clear();
  expect_next_packet_in(5s);
}

TEST_F(Review, AShortQueueIsToldOfRoomWhateverTheLimits) {
  expect_told_of_room();
  config_.memory_floor = 64 << 10;
  expect_told_of_room();
  config_.short_queue = 4096;
  expect_told_of_room();
}

// Karn: what an import does not know it does not measure.
TEST_F(Review, Rfc6298RoundTripIsNotMeasuredFromAnImport) {
  open_after(100ms, sack_syn());
  send(5000);
  const uint32_t sent = drain();
  now_ += 98ms;
  std::vector<uint8_t> saved(engine_->export_connection(*connection_, {}, now_));
  engine_->export_connection(*connection_, saved, now_);
  make_engine();
  connection_ = engine_->import_connection(saved, this, now_);
  flush();
  sent_.clear();
  now_ += 2ms;
  in({.acknowledgment = 1 + sent});
  EXPECT_GE(connection_->info().min_rtt, 90'000u);
}

// The epoch before the first has no key that anybody could know.
TEST(ReviewCookie, Rfc4987NoneIsBelievedUnderAKeyOfZeros) {
  CookieMaker maker({0x123456789abcdef, 0xfedcba987654321});
  maker.make({test::endpoint("10.9.9.9:99"), test::endpoint("10.0.0.2:80")}, 1, {.mss = 1460}, 5);
  const packet::Tuple tuple{test::endpoint("192.0.2.1:1234"), test::endpoint("10.0.0.2:80")};
  for (uint32_t info = 0; info < 64; ++info) {
    packet::SipHash hash(packet::SipKey{});
    const uint64_t ports = packet::add_tuple(hash, tuple);
    hash.add(uint64_t{info} << 32 | 777u);
    const Seq forged = (static_cast<uint32_t>(hash.finish(ports)) & ~63u) | info;
    EXPECT_FALSE(maker.read(tuple, 777, forged, 5).has_value());
  }
}

// A path that is one segment longer for each that exceeds its product.
class ReviewPath : public testing::Test {
 protected:
  static constexpr uint32_t kBase = 1000;
  static constexpr uint32_t kSegment = 1448;

  void round(bool limited) {
    const Seq end = una_ + window_;
    const uint32_t rtt =
        window_ <= product_ ? kBase : static_cast<uint32_t>(uint64_t{kBase} * window_ / product_);
    bool grow = true;
    uint32_t next = window_;
    while (seq_lt(una_, end)) {
      una_ = seq_min(una_ + kSegment, end);
      const StandingQueue::Advice advice = queue_.on_ack({.una = una_,
                                                          .nxt = end + window_,
                                                          .rtt = rtt,
                                                          .base = kBase,
                                                          .window = next,
                                                          .limited = limited});
      grow = grow && advice.grow;
      if (advice.window != 0) next = advice.window;
    }
    held_ = !grow;
    window_ = next + (grow && next == window_ ? kSegment : 0);
  }
  void until_held() {
    for (int i = 0; i < 10'000 && !held_; ++i) round(true);
    ASSERT_TRUE(held_);
  }

  StandingQueue queue_;
  Seq una_ = 0xffff0000;
  uint32_t window_ = 100 * kSegment;
  uint32_t product_ = 125'000;
  bool held_ = false;
};

TEST_F(ReviewPath, RestEndsForASenderWithPauses) {
  for (int on = 1; on <= 5; ++on) {
    for (int off = 1; off <= 4; ++off) {
      queue_ = {};
      window_ = 100 * kSegment;
      product_ = 125'000;
      held_ = false;
      until_held();
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
  static constexpr uint32_t kProduct = 125'000;
  static constexpr uint32_t kSegment = 1448;

  void ack() {
    for (; nxt - una + kSegment <= window; sent.push_back(nxt - una)) nxt += kSegment;
    una += kSegment;
    const uint32_t out = std::max(sent.front(), kProduct);
    sent.pop_front();
    const StandingQueue::Advice advice =
        queue.on_ack({.una = una,
                      .nxt = nxt,
                      .rtt = static_cast<uint32_t>(uint64_t{1000} * out / kProduct),
                      .base = 1000,
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
TEST(ReviewAcks, Rfc3168AReductionIsNotUndone) {
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
