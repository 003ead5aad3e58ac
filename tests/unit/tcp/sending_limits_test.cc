// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Sending when something is short: records, the peer's window, patience.
#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Shortage : public Sending {
 protected:
  // One long record is in flight, and the only other one went to cut a tail loss probe off it.
  void use_up_records() {
    config_.max_sent_records = 2;
    make_engine();
    open_passive(sack_syn());
    send(12'000, 12'000);
    drain();
    time_to_packet();
    expect("PA", 10'541, 1, 1460);
  }
};

// Bytes that are written one at a time come in a buffer each. Those that wait share a few.
TEST_F(Shortage, WhatIsWrittenByTheByteAndWaitsHoldsFewBuffers) {
  open_passive();
  in({.window = 0});
  const unsigned before = test::mbufs_in_use();
  for (int i = 0; i < 400; ++i) send(1);
  EXPECT_LE(test::mbufs_in_use(), before + 10);
  in({.window = 5000});
  expect("PA", 1, 1, 400);
  in({.acknowledgment = 401, .window = 5000});
  EXPECT_LE(test::mbufs_in_use(), before + 1);
}

// New data leaves the last records to what retransmission must cut.
TEST_F(Shortage, NewDataLeavesRecordsForRetransmission) {
  config_.max_sent_records = 16;
  make_engine();
  open_passive(sack_syn());
  for (int i = 0; i < 40; ++i) send(100);
  EXPECT_EQ(drain(), 14 * 100u);
  EXPECT_EQ(connection_->info().limit, SendLimit::buffers);
  for (uint32_t acked = 101; acked <= 4001; acked += 100) {
    in({.acknowledgment = acked});
    run(2ms);
  }
  EXPECT_EQ(connection_->send_queued(), 0u);
  sent_.clear();
}

// Also without any record to cut with, what is lost is sent again, a segment at a time.
TEST_F(Shortage, RetransmissionNeedsNoRecord) {
  use_up_records();
  const timer::Instant start = now_;
  for (uint32_t acked = 1; acked < 12'001;) {
    if (!anything_out()) time_to_packet();
    while (anything_out()) {
      const Out again = out();
      if (again.sequence == acked) acked += again.length;
    }
    now_ += 1ms;
    in({.acknowledgment = acked});
    ASSERT_TRUE(connection_->consistent());
    ASSERT_LT(now_ - start, 2s) << "stuck at " << acked;
  }
  EXPECT_EQ(connection_->send_queued(), 0u);
}

// The front of a record was sent again alone; its acknowledgment exposes the rest at once.
TEST_F(Shortage, TheRestFollowsTheFrontWithoutATimeout) {
  use_up_records();
  EXPECT_GE(time_to_packet(), 190ms);
  expect("A", 1, 1, 1460);
  in({.acknowledgment = 1461});
  const Out next = out();
  EXPECT_EQ(next.sequence, 1461u);
  EXPECT_EQ(connection_->info().timeouts, 1u);
  EXPECT_TRUE(connection_->consistent());
  sent_.clear();
}

// The peer's window shuts with data in flight, which it throws away while it answers each time.
TEST_F(Shortage, AStallWithDataInFlightIsBoundedByPolicy) {
  options_.stall_timeout = 60s;
  options_.user_timeout = 30s;
  open_passive();
  send(5000);
  sent_.clear();
  const timer::Instant start = now_;
  for (int i = 0; i < 100 && connection_ != nullptr; ++i) {
    in({.window = 0});
    time_to_packet();
    sent_.clear();
  }
  EXPECT_EQ(failure_, Failure::timed_out);
  // As long as it answers it is not silent: the stall's patience counts, not the other.
  EXPECT_GE(now_ - start, 59s);
  EXPECT_LE(now_ - start, 130s);
}

TEST_F(Shortage, AWindowThatOpensEndsTheStall) {
  options_.stall_timeout = 60s;
  open_passive();
  send(5000);
  sent_.clear();
  for (int i = 0; i < 12; ++i) {
    in({.window = 0});
    run(20s);
    ASSERT_NE(connection_, nullptr);
    in({.acknowledgment = 1, .window = 5000});
    sent_.clear();
  }
  EXPECT_EQ(connection_->state(), State::established);
}

// RFC 9293 section 3.10.7.4: the window counts from what is acknowledged. A segment that
// acknowledges more, with an older sequence number, must not leave the old window at the new place.
TEST_F(Shortage, AWindowIsNeverCountedFromALaterAcknowledgment) {
  open_passive();
  in({.sequence = 101, .length = 100, .window = 4000});
  sent_.clear();
  send(10'000);
  EXPECT_EQ(drain(), 2920u);
  in({.sequence = 1, .acknowledgment = 2921, .length = 100, .window = 1080});
  EXPECT_EQ(connection_->info().send_window, 1080u);
  EXPECT_LE(drain(), 1080u);
}

// A writer that has filled its short queue hears of the room that comes.
class ShortQueue : public Sending {
 protected:
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

TEST_F(ShortQueue, IsToldOfRoomWhateverTheLimits) {
  expect_told_of_room();
  config_.memory_floor = 64 << 10;
  expect_told_of_room();
  config_.short_queue = 4096;
  expect_told_of_room();
}

}  // namespace
}  // namespace isthmus::tcp
