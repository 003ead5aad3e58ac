// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Segments that arrive at an established connection: acceptability, RFC 5961, RFC 7323, reassembly,
// acknowledgments owed.
#include <set>

#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
using stats::Reason;

class Receiving : public Script {
 protected:
  static SegmentOptions sack_syn() {
    SegmentOptions options = syn_options();
    options.sack_permitted = true;
    return options;
  }
  static SegmentOptions timed_syn() {
    SegmentOptions options = sack_syn();
    options.has_timestamp = true;
    options.timestamp = 1000;
    return options;
  }
  static In timed(In in, uint32_t value) {
    in.options.has_timestamp = true;
    in.options.timestamp = value;
    return in;
  }
};

TEST_F(Receiving, DataInOrderIsDeliveredAndAcknowledged) {
  open_passive();
  in({.length = 1460});
  expect("A", 1, 1461);
  EXPECT_EQ(take_events(), kReadable);
  EXPECT_EQ(take(), test::pattern(1460));
}

TEST_F(Receiving, Must58Must59OneAckForABurst) {
  open_passive();
  for (uint32_t i = 0; i < 10; ++i) put({.sequence = 1 + i * 1460, .length = 1460});
  expect_none();
  flush();
  expect("A", 1, 14601);
  expect_none();
}

TEST_F(Receiving, Must40AShortSegmentIsAcknowledgedSoon) {
  open_passive();
  // The first few are acknowledged at once: the peer's window opens by them.
  uint32_t at = 1;
  for (; at <= 20; ++at) in({.sequence = at, .length = 1});
  sent_.clear();
  in({.sequence = at, .length = 1});
  expect_none();
  EXPECT_LE(time_to_packet(), 500ms);
  expect("A", 1, at + 1);
}

TEST_F(Receiving, AnAnswerCarriesTheAck) {
  open_passive();
  in({.length = 100});
  sent_.clear();
  in({.sequence = 101, .length = 100});
  sent_.clear();
  for (int i = 0; i < 20; ++i) in({.sequence = 201 + static_cast<uint32_t>(i), .length = 1});
  sent_.clear();
  in({.sequence = 221, .length = 1});
  send(10);
  expect("PA", 1, 222, 10);
  run(1s);
  EXPECT_FALSE(anything_out() && out().flags == "A");
  sent_.clear();
}

TEST_F(Receiving, OutOfOrderIsAcknowledgedAtOnceWithSackLatestFirst) {
  open_passive(sack_syn());
  in({.sequence = 1001, .length = 100});
  Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 1u);
  ASSERT_EQ(ack.options.sack_count, 1);
  EXPECT_EQ(ack.options.sack[0], (SackBlock{1001, 1101}));
  in({.sequence = 3001, .length = 100});
  in({.sequence = 2001, .length = 100});
  out();
  ack = out();
  ASSERT_EQ(ack.options.sack_count, 3);
  EXPECT_EQ(ack.options.sack[0], (SackBlock{2001, 2101}));
  EXPECT_EQ(ack.options.sack[1], (SackBlock{3001, 3101}));
  EXPECT_EQ(ack.options.sack[2], (SackBlock{1001, 1101}));
}

TEST_F(Receiving, GapFilledDeliversEverythingInOrder) {
  open_passive(sack_syn());
  in({.sequence = 101, .length = 100, .first_byte = 100});
  EXPECT_EQ(take_events(), 0);
  in({.sequence = 1, .length = 100});
  out();
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 201u);
  EXPECT_EQ(ack.options.sack_count, 0);
  EXPECT_EQ(take(), test::pattern(200));
}

TEST_F(Receiving, FirstReceivedWinsWhereSegmentsOverlap) {
  open_passive(sack_syn());
  in({.sequence = 51, .length = 20, .first_byte = 200});
  in({.sequence = 101, .length = 20, .first_byte = 100});
  // Covers both runs, with other bytes.
  in({.sequence = 31, .length = 120, .first_byte = 0});
  in({.sequence = 1, .length = 60, .first_byte = 0});
  const test::Bytes got = take();
  ASSERT_EQ(got.size(), 150u);
  EXPECT_EQ(test::slice(got, 50, 70), test::pattern(20, 200));
  EXPECT_EQ(test::slice(got, 100, 120), test::pattern(20, 100));
  EXPECT_EQ(test::slice(got, 30, 50), test::pattern(20, 0));
  EXPECT_EQ(test::slice(got, 70, 100), test::pattern(30, 40));
  EXPECT_EQ(test::slice(got, 120, 150), test::pattern(30, 90));
}

TEST_F(Receiving, Rfc2883DuplicateIsReported) {
  open_passive(sack_syn());
  in({.length = 100});
  out();
  in({.length = 100});
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 101u);
  ASSERT_EQ(ack.options.sack_count, 1);
  EXPECT_EQ(ack.options.sack[0], (SackBlock{1, 101}));
  // Once only.
  in({.sequence = 101, .length = 1460});
  EXPECT_EQ(out().options.sack_count, 0);
  EXPECT_EQ(drops_.get(Reason::tcp_duplicate), 1u);
}

// A report of bytes that were refused would have the sender take them for received.
TEST_F(Receiving, Rfc2883WhatPawsRefusedIsNoDuplicate) {
  SegmentOptions options = timed_syn();
  options.sack_permitted = true;
  open_passive(options);
  in(timed({.sequence = 201, .length = 100}, 1000));
  in(timed({.sequence = 1, .length = 100}, 1010));
  sent_.clear();
  in(timed({.sequence = 101, .length = 100}, 1000));  // fills the hole, but is too old
  EXPECT_EQ(drops_.get(Reason::tcp_old_timestamp), 1u);
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 101u);
  ASSERT_EQ(ack.options.sack_count, 1);
  EXPECT_EQ(ack.options.sack[0], (SackBlock{201, 301}));
  // Of what is partly here, that part.
  in(timed({.sequence = 51, .length = 100}, 1000));
  const Out partly = out();
  ASSERT_EQ(partly.options.sack_count, 2);
  EXPECT_EQ(partly.options.sack[0], (SackBlock{51, 101}));
}

// A packet of many segments has its options in each of them.
TEST_F(Receiving, Rfc2883DuplicateIsReportedOnceWhenDataIsSent) {
  open_passive(sack_syn());
  in({.length = 100});
  sent_.clear();
  put({.length = 100});
  send(10'000, 16'384);
  flush();
  const Out ack = out();
  EXPECT_EQ(ack.length, 0u);
  ASSERT_EQ(ack.options.sack_count, 1);
  EXPECT_EQ(ack.options.sack[0], (SackBlock{1, 101}));
  const Out data = out();
  EXPECT_EQ(data.length, 10'000u);
  EXPECT_EQ(data.options.sack_count, 0);
  sent_.clear();
}

TEST_F(Receiving, HolesAreBounded) {
  config_.max_gaps_per_connection = 10;
  make_engine();
  open_passive(sack_syn());
  const unsigned before = test::mbufs_in_use();
  for (uint32_t i = 0; i < 1000; ++i) in({.sequence = 11 + 2 * i, .length = 1});
  EXPECT_LE(test::mbufs_in_use(), before + 10);
  EXPECT_EQ(drops_.get(Reason::tcp_too_many_gaps), 990u);
  sent_.clear();
}

// With no run to spare, and none allowed, the segment that closes the gap is still taken: without
// it nothing would ever be.
TEST_F(Receiving, WhatClosesTheGapIsTakenWhenAllRunsAreInUse) {
  config_.max_gaps = 2;
  make_engine();
  open_passive(sack_syn());
  in({.sequence = 101, .length = 100, .first_byte = 100});
  in({.sequence = 301, .length = 100, .first_byte = 45});
  in({.sequence = 501, .length = 100});
  EXPECT_EQ(drops_.get(Reason::tcp_too_many_gaps), 1u);
  // Not up to the first run; then over it, and over the second.
  in({.sequence = 1, .length = 50});
  EXPECT_EQ(connection_->receive_available(), 50u);
  in({.sequence = 51, .length = 450, .first_byte = 50});
  const test::Bytes got = take();
  ASSERT_EQ(got.size(), 500u);
  EXPECT_EQ(test::slice(got, 0, 200), test::pattern(200));
  EXPECT_EQ(test::slice(got, 300, 400), test::pattern(100, 45));
  EXPECT_EQ(drops_.get(Reason::tcp_too_many_gaps), 1u);
  sent_.clear();
}

TEST_F(Receiving, SmallSegmentsDoNotPinABufferEach) {
  open_passive();
  const unsigned before = test::mbufs_in_use();
  for (uint32_t i = 0; i < 1000; ++i) in({.sequence = 1 + i, .length = 1});
  EXPECT_LE(test::mbufs_in_use(), before + 2);
  EXPECT_EQ(take().size(), 1000u);
  sent_.clear();
}

TEST_F(Receiving, DataBeyondTheWindowIsCutOff) {
  config_.receive_buffer = config_.max_receive_buffer = 1000;
  make_engine();
  open_passive();
  in({.length = 1460});
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 1001u);
  EXPECT_EQ(ack.window, 0u);
  EXPECT_EQ(drops_.get(Reason::tcp_beyond_window), 1u);
  EXPECT_EQ(take().size(), 1000u);
}

TEST_F(Receiving, Rfc5961ResetOnlyByTheExactNumber) {
  open_passive();
  in({.flags = "R", .sequence = 2});
  expect("A", 1, 1);
  EXPECT_EQ(connection_->state(), State::established);
  in({.flags = "R", .sequence = 1u + 65'536 * 16});
  expect_none();
  in({.flags = "R", .sequence = 0});
  expect_none();
  in({.flags = "R", .sequence = 1});
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::reset);
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Receiving, Rfc5961SynGetsAChallengeAck) {
  open_passive();
  in({.flags = "S", .sequence = 5});
  expect("A", 1, 1);
  in({.flags = "S", .sequence = 0x70000000});
  expect("A", 1, 1);
  EXPECT_EQ(connection_->state(), State::established);
}

TEST_F(Receiving, Rfc5961AckOutsideWhatWasSentIsRefused) {
  open_passive();
  in({.acknowledgment = 2, .length = 10});  // never sent
  expect("A", 1, 1);
  in({.acknowledgment = 1u - 70'000, .length = 10});  // older than the largest window
  expect("A", 1, 1);
  EXPECT_EQ(connection_->receive_available(), 0u);
  EXPECT_EQ(drops_.get(Reason::tcp_bad_ack), 2u);
  in({.acknowledgment = 1u - 60'000, .length = 10});  // old, but possible
  EXPECT_EQ(connection_->receive_available(), 10u);
  sent_.clear();
}

TEST_F(Receiving, ChallengeAcksAreLimitedPerConnection) {
  open_passive();
  for (int i = 0; i < 100; ++i) in({.flags = "R", .sequence = 2});
  EXPECT_LE(sent_.size(), 13u);
  EXPECT_GE(sent_.size(), 6u);
  sent_.clear();
  run(1001ms);
  in({.flags = "R", .sequence = 2});
  expect("A", 1, 1);
}

// A limit that two connections share would tell one peer how many the other provoked (RFC 5961
// section 7, CVE-2016-5696).
TEST_F(Receiving, ChallengeAcksOfOneConnectionSayNothingAboutAnother) {
  open_passive();
  for (int i = 0; i < 100; ++i) in({.flags = "R", .sequence = 2});
  sent_.clear();
  ++remote_.port;
  open_passive();
  unsigned answered = 0;
  for (int i = 0; i < 100; ++i) {
    in({.flags = "R", .sequence = 2});
    answered += sent_.empty() ? 0 : 1;
    sent_.clear();
  }
  EXPECT_GE(answered, 6u);
}

// The limit is not a constant that an attacker may count with.
TEST_F(Receiving, ChallengeAckLimitIsRandom) {
  open_passive();
  std::set<size_t> limits;
  for (int second = 0; second < 40; ++second) {
    for (int i = 0; i < 30; ++i) in({.flags = "R", .sequence = 2});
    limits.insert(sent_.size());
    sent_.clear();
    run(1001ms);
  }
  EXPECT_GE(limits.size(), 4u);
}

// Two ends that disagree must not answer each other's answers for ever.
TEST_F(Receiving, AckStormIsBounded) {
  open_passive();
  for (int i = 0; i < 1000; ++i) in({.sequence = 1u + 0x20000000, .acknowledgment = 1});
  EXPECT_LE(sent_.size(), 13u);
  sent_.clear();
}

TEST_F(Receiving, SegmentWithoutAckIsDropped) {
  open_passive();
  in({.flags = "", .length = 5});
  EXPECT_EQ(connection_->receive_available(), 0u);
  EXPECT_EQ(drops_.get(Reason::tcp_no_ack), 1u);
  expect_none();
}

TEST_F(Receiving, LyingOptionsDropTheSegment) {
  open_passive();
  in({.length = 5, .raw_options = test::hex("08 00 01 01")});
  EXPECT_EQ(connection_->receive_available(), 0u);
  EXPECT_EQ(drops_.get(Reason::tcp_bad_options), 1u);
  expect_none();
}

TEST_F(Receiving, Must66ResetAndAckAreProcessedAtAClosedWindow) {
  config_.receive_buffer = config_.max_receive_buffer = 1000;
  make_engine();
  open_passive();
  send(100);
  in({.length = 1000});
  sent_.clear();
  // The data does not fit; what it acknowledges counts.
  in({.sequence = 1001, .acknowledgment = 101, .length = 100});
  EXPECT_EQ(connection_->send_queued(), 0u);
  expect("A", 101, 1001);
  in({.flags = "R", .sequence = 1001});
  EXPECT_EQ(failure_, Failure::reset);
}

TEST_F(Receiving, FinAtAClosedWindowIsTaken) {
  config_.receive_buffer = config_.max_receive_buffer = 1000;
  make_engine();
  open_passive();
  in({.length = 1000});
  sent_.clear();
  in({.flags = "FA", .sequence = 1001});
  expect("A", 1, 1002);
  EXPECT_EQ(take_events() & kPeerClosed, kPeerClosed);
}

TEST_F(Receiving, Shld14Must39WindowOpensByHalfTheBufferOrASegment) {
  config_.receive_buffer = config_.max_receive_buffer = 10'000;
  make_engine();
  open_passive();
  for (uint32_t i = 0; i < 10; ++i) put({.sequence = 1 + 1000 * i, .length = 1000});
  flush();
  EXPECT_EQ(out().window, 0u);
  for (int i = 0; i < 10; ++i) take(100);
  flush();
  expect_none();  // 1000 bytes: not worth a word
  take(2000);
  flush();
  const Out update = out();
  EXPECT_EQ(update.acknowledgment, 10'001u);
  EXPECT_EQ(update.window, 3000u);
}

// What the field cannot say is no news.
TEST_F(Receiving, WithoutWindowScaleReadingASmallPartSaysNothing) {
  open_passive();
  in({.length = 1000});
  sent_.clear();
  take();
  flush();
  expect_none();
}

TEST_F(Receiving, Rfc7323OldTimestampIsRefusedAndAnswered) {
  open_passive(timed_syn());
  in(timed({.length = 10}, 1005));
  out();
  in(timed({.sequence = 11, .length = 10}, 1004));
  EXPECT_EQ(connection_->receive_available(), 10u);
  EXPECT_EQ(drops_.get(Reason::tcp_old_timestamp), 1u);
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 11u);
  EXPECT_EQ(ack.options.echo, 1005u);
  in(timed({.sequence = 11, .length = 10}, 1005));
  EXPECT_EQ(connection_->receive_available(), 20u);
  sent_.clear();
}

TEST_F(Receiving, Rfc7323RstIsExemptFromPaws) {
  open_passive(timed_syn());
  in(timed({.flags = "R", .sequence = 1}, 1));
  EXPECT_EQ(failure_, Failure::reset);
}

TEST_F(Receiving, Rfc7323MissingTimestampIsToleratedAndCounted) {
  open_passive(timed_syn());
  in({.length = 10});
  EXPECT_EQ(connection_->receive_available(), 10u);
  EXPECT_EQ(engine_->stats().missing_timestamps, 1u);
  EXPECT_EQ(out().options.echo, 1000u);
  // Which makes the other checks no weaker.
  in({.acknowledgment = 77, .length = 10});
  in({.sequence = 0x40000000, .length = 10});
  EXPECT_EQ(connection_->receive_available(), 10u);
  sent_.clear();
}

TEST_F(Receiving, Rfc7323RememberedTimestampDiesAfter24Days) {
  open_passive(timed_syn());
  now_ += std::chrono::hours(24 * 24 + 1);
  in(timed({.length = 10}, 5));  // the peer's clock has wrapped
  EXPECT_EQ(connection_->receive_available(), 10u);
  EXPECT_EQ(out().options.echo, 5u);
  // From here on the new one is what is compared with.
  in(timed({.sequence = 11, .length = 10}, 4));
  EXPECT_EQ(connection_->receive_available(), 10u);
  sent_.clear();
}

// RFC 7323 section 4.3: SEG.SEQ as it came is compared with Last.ACK.sent, not what trimming
// leaves.
TEST_F(Receiving, Rfc7323TsRecentIsOfTheSegmentThatCoversTheLastAckSent) {
  open_passive(timed_syn());
  put(timed({.sequence = 1, .length = 100}, 1001));
  put(timed({.sequence = 1, .length = 150}, 1010));    // repeats, and brings 50 bytes more
  put(timed({.sequence = 151, .length = 100}, 1020));  // follows what is not acknowledged yet
  flush();
  const Out ack = out();
  EXPECT_EQ(ack.acknowledgment, 251u);
  EXPECT_EQ(ack.options.echo, 1010u);
  in(timed({.sequence = 251, .length = 10}, 1030));
  EXPECT_EQ(out().options.echo, 1030u);
}

TEST_F(Receiving, Rfc7323TimestampOfASegmentOutsideIsNotRemembered) {
  open_passive(timed_syn());
  in(timed({.sequence = 0x40000000, .length = 10}, 0x60000000));
  in(timed({.acknowledgment = 77, .length = 10}, 0x60000000));
  in(timed({.length = 10}, 1001));
  EXPECT_EQ(connection_->receive_available(), 10u);
  sent_.clear();
}

TEST_F(Receiving, UrgentDataIsData) {
  open_passive();
  in({.flags = "UPA", .length = 10});
  EXPECT_EQ(take(), test::pattern(10));
  sent_.clear();
}

TEST_F(Receiving, KeepaliveOfThePeerIsAnswered) {
  open_passive();
  in({.sequence = 0});
  expect("A", 1, 1);
}

TEST_F(Receiving, ReceiveBufferGrowsWithTheTransfer) {
  SegmentOptions options = sack_syn();
  options.has_scale = true;
  open_passive(options);
  uint32_t at = 1;
  for (int i = 0; i < 6; ++i) {
    // As much as a sender may send in a round trip; all of it is taken.
    for (uint32_t n = connection_->info().receive_window / 1460; n > 0; --n, at += 1460) {
      put({.sequence = at, .length = 1460});
    }
    take();
    flush();
    run(2ms);
  }
  EXPECT_GT(connection_->info().receive_window, config_.receive_buffer);
  sent_.clear();
}

}  // namespace
}  // namespace isthmus::tcp
