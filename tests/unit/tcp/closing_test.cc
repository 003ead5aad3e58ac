// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Closing: RFC 9293 section 3.6, half-close, TIME-WAIT, RFC 6191.
#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Closing : public Script {
 protected:
  void close_ours() {
    connection_->shutdown();
    flush();
  }
  static SegmentOptions timed_syn() {
    SegmentOptions options = syn_options();
    options.has_timestamp = true;
    options.timestamp = 1000;
    return options;
  }
};

TEST_F(Closing, NormalCloseFromOurSide) {
  open_passive();
  close_ours();
  expect("FA", 1, 1);
  EXPECT_EQ(connection_->state(), State::fin_wait_1);
  in({.acknowledgment = 2});
  EXPECT_EQ(connection_->state(), State::fin_wait_2);
  EXPECT_EQ(take_events(), 0);
  in({.flags = "FA", .acknowledgment = 2});
  expect("A", 2, 2);
  EXPECT_EQ(take_events(), kPeerClosed | kClosed);
  EXPECT_EQ(failure_, Failure::none);
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(engine_->time_waits(), 1u);
  run(config_.time_wait + 1s);
  EXPECT_EQ(engine_->time_waits(), 0u);
}

// RFC 5482: the user timeout counts from when there was something to acknowledge, and before the
// FIN there was nothing.
TEST_F(Closing, FinAfterLongSilenceIsNotTakenForAnUnansweredOne) {
  open_passive();
  run(130s);
  close_ours();
  expect("FA", 1, 1);
  run(1ms);
  EXPECT_EQ(take_events(), 0);
  in({.acknowledgment = 2});
  EXPECT_EQ(connection_->state(), State::fin_wait_2);
}

TEST_F(Closing, NormalCloseFromTheirSide) {
  open_passive();
  in({.flags = "FA"});
  expect("A", 1, 2);
  EXPECT_EQ(take_events(), kPeerClosed);
  EXPECT_EQ(connection_->state(), State::close_wait);
  EXPECT_TRUE(connection_->peer_closed());
  close_ours();
  expect("FA", 1, 2);
  EXPECT_EQ(connection_->state(), State::last_ack);
  in({.sequence = 2, .acknowledgment = 2});
  EXPECT_EQ(take_events(), kClosed);
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(engine_->time_waits(), 0u);
}

TEST_F(Closing, HalfCloseLetsThePeerGoOn) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  sent_.clear();
  run(2h);
  in({.acknowledgment = 2, .length = 1460});
  expect("A", 2, 1461);
  EXPECT_EQ(take().size(), 1460u);
}

TEST_F(Closing, HalfClosedByThePeerWeGoOn) {
  open_passive();
  in({.flags = "FA"});
  out();
  send(100);
  expect("PA", 1, 2, 100);
  in({.sequence = 2, .acknowledgment = 101});
  EXPECT_EQ(connection_->send_queued(), 0u);
}

TEST_F(Closing, SimultaneousClose) {
  open_passive();
  close_ours();
  out();
  in({.flags = "FA", .acknowledgment = 1});
  expect("A", 2, 2);
  EXPECT_EQ(connection_->state(), State::closing);
  EXPECT_EQ(take_events(), kPeerClosed);
  in({.sequence = 2, .acknowledgment = 2});
  EXPECT_EQ(take_events(), kClosed);
  EXPECT_EQ(engine_->time_waits(), 1u);
  sent_.clear();
}

TEST_F(Closing, FinFollowsTheDataAndIsRepeated) {
  open_passive();
  send(100);
  out();
  close_ours();
  expect("FA", 101, 1);
  time_to_packet();
  // The timer repeats from the first byte that is not acknowledged.
  EXPECT_EQ(out().sequence, 1u);
  in({.acknowledgment = 101});
  run(2s);
  bool fin = false;
  while (anything_out()) fin |= out().flags.find('F') != std::string::npos;
  EXPECT_TRUE(fin);
  in({.acknowledgment = 102});
  EXPECT_EQ(connection_->state(), State::fin_wait_2);
}

TEST_F(Closing, FinOutOfOrderIsNotForgotten) {
  open_passive();
  in({.flags = "FA", .sequence = 101, .length = 100, .first_byte = 100});
  EXPECT_EQ(take_events(), 0);
  in({.sequence = 1, .length = 100});
  EXPECT_EQ(take_events(), kReadable | kPeerClosed);
  EXPECT_EQ(take(), test::pattern(200));
  EXPECT_EQ(connection_->state(), State::close_wait);
  sent_.clear();
}

TEST_F(Closing, DataBehindAFinIsNoData) {
  open_passive();
  in({.flags = "FA", .sequence = 101});
  in({.sequence = 101, .length = 50});
  in({.sequence = 1, .length = 100});
  EXPECT_EQ(take().size(), 100u);
  EXPECT_TRUE(connection_->peer_closed());
  sent_.clear();
}

TEST_F(Closing, RepeatedFinIsAcknowledged) {
  open_passive();
  in({.flags = "FA"});
  out();
  in({.flags = "FA"});
  expect("A", 1, 2);
  EXPECT_EQ(take_events(), kPeerClosed);
}

TEST_F(Closing, LastEventWaitsUntilEverythingIsTaken) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  in({.flags = "FA", .acknowledgment = 2, .length = 100});
  EXPECT_EQ(take_events(), kReadable | kPeerClosed);
  EXPECT_EQ(engine_->time_waits(), 1u);
  run(60s);
  EXPECT_EQ(take().size(), 100u);
  flush();
  EXPECT_EQ(take_events(), kClosed);
  EXPECT_EQ(engine_->connections(), 0u);
  sent_.clear();
}

TEST_F(Closing, AbortSendsARstAndFreesEverything) {
  open_passive();
  send(5000);
  in({.length = 100});
  sent_.clear();
  connection_->abort();
  flush();
  expect("RA", 5001, 101);
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(take_events() & (kClosed | kFailed), 0);
  EXPECT_FALSE(in({.sequence = 101}));
}

TEST_F(Closing, AbortOfAnUnansweredConnectIsSilent) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  connection_->abort();
  flush();
  expect_none();
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Closing, Must13TimeWaitAcknowledgesTheFinAgainAndBeginsAnew) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  in({.flags = "FA", .acknowledgment = 2});
  sent_.clear();
  run(config_.time_wait - 1s);
  EXPECT_TRUE(in({.flags = "FA", .acknowledgment = 2}));
  expect("A", 2, 2);
  run(config_.time_wait - 1s);
  EXPECT_EQ(engine_->time_waits(), 1u);
  run(2s);
  EXPECT_EQ(engine_->time_waits(), 0u);
}

TEST_F(Closing, May2Rfc6191NewerSynReopensATupleInTimeWait) {
  open_passive(timed_syn());
  close_ours();
  In fin{.flags = "FA", .acknowledgment = 2};
  fin.options.has_timestamp = true;
  fin.options.timestamp = 1001;
  in(fin);
  sent_.clear();
  In syn{.flags = "S", .sequence = 0, .options = timed_syn()};
  EXPECT_TRUE(in(syn));  // an old one: answered, not taken for a new connection
  EXPECT_EQ(out().flags, "A");
  const uint32_t old_iss = iss_;
  syn.options.timestamp = 2000;
  EXPECT_FALSE(in(syn));
  EXPECT_EQ(engine_->time_waits(), 0u);
  take_events();
  open_passive(syn.options);
  EXPECT_GT(static_cast<int32_t>(iss_ - old_iss), 1);
}

TEST_F(Closing, TimeWaitIsBoundedAndTheOldestMakesRoom) {
  for (unsigned i = 0; i < config_.max_time_wait + 3; ++i) {
    open_passive();
    close_ours();
    in({.acknowledgment = 2});
    in({.flags = "FA", .acknowledgment = 2});
    sent_.clear();
    take_events();
    ++remote_.port;
  }
  EXPECT_EQ(engine_->time_waits(), config_.max_time_wait);
  EXPECT_EQ(engine_->stats().time_wait_recycled, 3u);
}

TEST_F(Closing, NoiseInTimeWaitIsAnsweredABoundedNumberOfTimes) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  in({.flags = "FA", .acknowledgment = 2});
  sent_.clear();
  for (int i = 0; i < 1000; ++i) in({.sequence = 100, .acknowledgment = 2, .length = 1});
  EXPECT_LE(sent_.size(), 32u);
  sent_.clear();
}

TEST_F(Closing, ResetInLastAckEndsItWithoutAnError) {
  open_passive();
  in({.flags = "FA"});
  close_ours();
  sent_.clear();
  take_events();
  in({.flags = "R", .sequence = 2});
  EXPECT_NE(take_events(), 0);
  EXPECT_EQ(engine_->connections(), 0u);
}

// The peer owes its FIN only, and may owe nothing for ever: it is left without a word. If it comes
// back it finds no connection.
TEST_F(Closing, FinWait2TimeoutWhereAskedForIsSilent) {
  options_.fin_wait_2_timeout = 60s;
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  sent_.clear();
  run(59s);
  in({.acknowledgment = 2, .length = 10});  // alive
  run(59s);
  EXPECT_EQ(engine_->connections(), 1u);
  sent_.clear();
  run(2s);
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_EQ(engine_->connections(), 0u);
  expect_none();
  EXPECT_FALSE(in({.flags = "FA", .sequence = 11, .acknowledgment = 2}));
}

TEST_F(Closing, LastAckAndClosingEndWithTheUserTimeout) {
  for (const bool closing : {false, true}) {
    open_passive();
    if (!closing) in({.flags = "FA"});
    close_ours();
    if (closing) in({.flags = "FA", .acknowledgment = 1});
    EXPECT_EQ(connection_->state(), closing ? State::closing : State::last_ack);
    run(options_.user_timeout + 1s);
    EXPECT_EQ(failure_, Failure::timed_out);
    EXPECT_EQ(engine_->connections(), 0u);
    sent_.clear();
    take_events();
    ++remote_.port;
  }
}

// Shutting the window over a FIN that was sent, and answering, does not make LAST-ACK live longer
// than a stalled connection may.
TEST_F(Closing, LastAckBehindAClosedWindowEndsWithTheStallTimeout) {
  open_passive();
  in({.flags = "FA"});
  close_ours();
  const timer::Instant start = now_;
  while (connection_ != nullptr && now_ - start < 3h) {
    time_to_packet();
    sent_.clear();
    in({.sequence = 2, .acknowledgment = 1, .window = 0});
  }
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_LE(now_ - start, options_.stall_timeout + 3min);
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Closing, Rfc1337ResetDoesNotEndTimeWait) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  in({.flags = "FA", .acknowledgment = 2});
  sent_.clear();
  for (const uint32_t sequence : {2u, 1u, 3u}) {
    EXPECT_TRUE(in({.flags = "R", .sequence = sequence}));
  }
  EXPECT_TRUE(in({.flags = "RA", .sequence = 2, .acknowledgment = 2}));
  EXPECT_EQ(engine_->time_waits(), 1u);
  expect_none();
}

// RFC 6191 section 2, row by row: did the old connection have timestamps, has the SYN one (and how
// does it compare), is its number above the old connection's, and is it let in.
TEST_F(Closing, May2Rfc6191WhichSynReopens) {
  struct Row {
    bool old_timed;
    int timestamp;  // of the SYN, relative to the last one seen; -100: none
    bool higher;
    bool opens;
  };
  constexpr int kNone = -100;
  const Row rows[] = {
      {true, 1, false, true},  {true, 0, true, true},      {true, 0, false, false},
      {true, -1, true, false}, {true, kNone, true, true},  {true, kNone, false, false},
      {false, 7, false, true}, {false, kNone, true, true}, {false, kNone, false, false},
  };
  for (const Row& row : rows) {
    ++remote_.port;
    open_passive(row.old_timed ? timed_syn() : syn_options());
    close_ours();
    In fin{.flags = "FA", .acknowledgment = 2};
    fin.options.has_timestamp = row.old_timed;
    fin.options.timestamp = 1001;
    in(fin);
    sent_.clear();
    const unsigned resting = engine_->time_waits();
    In syn{.flags = "S", .sequence = row.higher ? 2u : 0u, .options = syn_options()};
    syn.options.has_timestamp = row.timestamp != kNone;
    syn.options.timestamp = static_cast<uint32_t>(1001 + row.timestamp);
    EXPECT_EQ(in(syn), !row.opens) << row.old_timed << row.timestamp << row.higher;
    EXPECT_EQ(engine_->time_waits(), resting - (row.opens ? 1 : 0));
    if (!row.opens) expect("A", 2, 2);
    take_events();
  }
}

TEST_F(Closing, OnlyACleanSynReopensATupleInTimeWait) {
  open_passive();
  close_ours();
  in({.acknowledgment = 2});
  in({.flags = "FA", .acknowledgment = 2});
  sent_.clear();
  for (const auto* flags : {"SF", "SA", "SR"}) {
    EXPECT_TRUE(in({.flags = flags, .sequence = 100, .acknowledgment = 2})) << flags;
  }
  EXPECT_EQ(engine_->time_waits(), 1u);
  sent_.clear();
}

}  // namespace
}  // namespace isthmus::tcp
