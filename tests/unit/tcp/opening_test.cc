// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Opening: RFC 9293 section 3.5, RFC 6528, RFC 7323, late accept.
#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Opening : public Script {
 protected:
  Connection* accept(const In& in, AcceptMode mode = AcceptMode::now) {
    rte_mbuf* syn = segment(in);
    packet::Parsed view = parsed(syn);
    Connection* connection = engine_->accept(view, this, options_, now_, mode);
    rte_pktmbuf_free(syn);
    return connection;
  }
  static In syn(const SegmentOptions& options = syn_options()) {
    return {.flags = "S", .sequence = 0, .acknowledgment = 0, .options = options};
  }
};

TEST_F(Opening, PassiveOpenAnswersOnlyWhatWasOffered) {
  accept(syn());
  flush();
  const Out answer = out();
  EXPECT_EQ(answer.flags, "SA");
  EXPECT_EQ(answer.sequence, 0u);
  EXPECT_EQ(answer.acknowledgment, 1u);
  EXPECT_EQ(answer.options.mss, 1460);
  EXPECT_FALSE(answer.options.has_timestamp);
  EXPECT_FALSE(answer.options.has_scale);
  EXPECT_FALSE(answer.options.sack_permitted);
}

TEST_F(Opening, PassiveOpenTurnsOnEverythingOffered) {
  SegmentOptions offer = syn_options();
  offer.has_timestamp = offer.has_scale = offer.sack_permitted = true;
  offer.timestamp = 77;
  offer.scale = 3;
  accept(syn(offer));
  flush();
  const Out answer = out();
  EXPECT_TRUE(answer.options.has_timestamp);
  EXPECT_EQ(answer.options.echo, 77u);
  EXPECT_TRUE(answer.options.has_scale);
  EXPECT_EQ(answer.options.scale, 7);  // 4 MiB need a shift of 7
  EXPECT_TRUE(answer.options.sack_permitted);
  EXPECT_LE(answer.window, 65535u);
}

TEST_F(Opening, Must11RetransmittedSynIsAnsweredWithTheSameNumber) {
  accept(syn());
  flush();
  out();
  const uint32_t first = iss_;
  run(100ms);
  in(syn());
  EXPECT_EQ(out().flags, "SA");
  EXPECT_EQ(iss_, first);
}

TEST_F(Opening, Must10SimultaneousOpen) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "S");
  in(syn());
  EXPECT_EQ(connection_->state(), State::syn_received);
  expect("SA", 0, 1);
  in({.flags = "SA", .sequence = 0, .acknowledgment = 1});
  EXPECT_EQ(connection_->state(), State::established);
  EXPECT_EQ(take_events(), kConnected);
}

// RFC 9293 section 3.10.7.4 for SYN-RECEIVED, with RFC 5961's caution.
TEST_F(Opening, Rfc5961SynReceivedAnswersWhatDoesNotFit) {
  connection_ = accept(syn());
  flush();
  sent_.clear();
  in({.sequence = 0x40000000, .length = 10});
  expect("A", 1, 1);
  in({.flags = "R", .sequence = 2});
  expect("A", 1, 1);
  in({.flags = "S", .sequence = 5});
  expect("A", 1, 1);
  in({.acknowledgment = 9});
  expect("R", 9, 0);
  EXPECT_EQ(connection_->state(), State::syn_received);
  in({.flags = "R", .sequence = 1});
  EXPECT_EQ(failure_, Failure::reset);
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Opening, AnswersToBadHandshakeAcksAreLimitedInRate) {
  config_.resets_per_second = 5;
  make_engine();
  connection_ = accept(syn());
  flush();
  sent_.clear();
  for (uint32_t i = 0; i < 100; ++i) in({.acknowledgment = 9 + i});
  EXPECT_EQ(sent_.size(), 5u);
}

TEST_F(Opening, Rfc9293WrongAckInSynSentGetsARst) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  in({.flags = "SA", .sequence = 0, .acknowledgment = 7});
  expect("R", 7, 0);
  EXPECT_EQ(connection_->state(), State::syn_sent);
  in({.flags = "RA", .sequence = 0, .acknowledgment = 7});
  expect_none();
  EXPECT_EQ(connection_->state(), State::syn_sent);
}

TEST_F(Opening, RefusedByRstWithTheRightAck) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  in({.flags = "RA", .sequence = 0, .acknowledgment = 1});
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::refused);
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Opening, Rfc6298SynIsRepeatedAfterOneThenTwoThenFourSeconds) {
  options_.handshake_timeout = 30s;
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "S");
  for (const auto wait : {1s, 2s, 4s, 8s}) {
    const auto waited = time_to_packet();
    EXPECT_GE(waited, wait);
    EXPECT_LE(waited, wait + 1ms);
    EXPECT_EQ(out().flags, "S");
  }
  run(20s);
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::timed_out);
}

TEST_F(Opening, Rfc6528NumbersDifferByTupleAndGrowWithTime) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  const uint32_t first = iss_;
  connection_->abort();
  flush();
  run(1s);
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  EXPECT_EQ(iss_ - first, 250'000u);  // four microseconds a step
  packet::Endpoint other = remote_;
  ++other.port;
  engine_->connect(local_, other, this, options_, now_);
  flush();
  out();
  EXPECT_GT(static_cast<uint32_t>(iss_ - first - 250'000), 1000u);
}

TEST_F(Opening, Must15DefaultMssWithoutTheOption) {
  open_passive(syn_options(0));
  EXPECT_EQ(connection_->info().send_mss, 536);
}

TEST_F(Opening, Must16MssIsBoundedByOurOwnPathAndOptions) {
  options_.mtu = 1400;
  SegmentOptions offer = syn_options(8960);
  offer.has_timestamp = true;
  offer.timestamp = 1;
  open_passive(offer);
  EXPECT_EQ(connection_->info().send_mss, 1400 - 40 - 12);
}

TEST_F(Opening, TinyMssIsRaisedToTheFloor) {
  for (const uint16_t mss : {1, 8, 45, 88}) {
    open_passive(syn_options(mss));
    EXPECT_EQ(connection_->info().send_mss, 216);
    connection_->abort();
    flush();
    out();
  }
}

TEST_F(Opening, SynWithOtherFlagsOpensNothing) {
  for (const auto* flags : {"SF", "SR", "SA", "A", "FA"}) {
    EXPECT_EQ(accept({.flags = flags, .sequence = 0}), nullptr) << flags;
  }
  EXPECT_EQ(drops_.get(stats::Reason::tcp_unexpected_flags), 5u);
}

TEST_F(Opening, Must57Must63NoConnectionWithAGroup) {
  // The parser refuses such a packet already; the engine does not rely on it.
  rte_mbuf* packet = segment(syn());
  packet::Parsed view = parsed(packet);
  const packet::Tuple good = view.tuple;
  for (const char* bad :
       {"224.0.0.1:80", "255.255.255.255:80", "0.0.0.0:80", "[ff02::1]:80", "[::]:80"}) {
    view.tuple = good;
    view.tuple.destination = test::endpoint(bad);
    EXPECT_EQ(engine_->accept(view, this, options_, now_), nullptr) << bad;
    packet::Parsed another = parsed(segment(syn()));
    another.tuple.destination = test::endpoint(bad);
    EXPECT_FALSE(engine_->send_cookie(another, options_, 0, now_)) << bad;
    view.tuple = good;
    view.tuple.source = test::endpoint(bad);
    EXPECT_EQ(engine_->accept(view, this, options_, now_), nullptr) << bad;
  }
  EXPECT_EQ(drops_.get(stats::Reason::tcp_bad_address), 15u);
  rte_pktmbuf_free(packet);
}

TEST_F(Opening, FullTableRefusesAndExistingConnectionsGoOn) {
  open_passive();
  Connection* first = connection_;
  for (unsigned i = 1; i < config_.max_connections; ++i) {
    ++remote_.port;
    EXPECT_NE(accept(syn()), nullptr);
  }
  ++remote_.port;
  EXPECT_EQ(accept(syn()), nullptr);
  EXPECT_EQ(drops_.get(stats::Reason::tcp_table_full), 1u);
  EXPECT_EQ(first->state(), State::established);
}

TEST_F(Opening, MirroredTuplesAreTwoConnections) {
  Connection* one = engine_->connect(local_, remote_, this, options_, now_);
  Connection* two = engine_->connect(remote_, local_, this, options_, now_);
  ASSERT_NE(two, nullptr);
  EXPECT_NE(one, two);
  EXPECT_EQ(engine_->find(local_, remote_), one);
  EXPECT_EQ(engine_->find(remote_, local_), two);
  EXPECT_EQ(engine_->connect(local_, remote_, this, options_, now_), nullptr);
}

TEST_F(Opening, HeldAcceptAbsorbsSynsUntilItIsCompleted) {
  connection_ = accept(syn(), AcceptMode::held);
  flush();
  expect_none();
  for (int i = 0; i < 3; ++i) {
    run(1s);
    EXPECT_TRUE(in(syn()));
  }
  expect_none();
  EXPECT_EQ(engine_->connections(), 1u);
  connection_->complete_accept();
  flush();
  expect("SA", 0, 1);
  in({});
  EXPECT_EQ(take_events(), kConnected);
}

TEST_F(Opening, HeldAcceptRefusedIsARstThatAcknowledgesTheSyn) {
  connection_ = accept(syn(), AcceptMode::held);
  flush();
  connection_->refuse();
  flush();
  iss_ = 0;
  const Out reset = out();
  EXPECT_EQ(reset.flags, "RA");
  EXPECT_EQ(reset.acknowledgment, 1u);
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(take_events(), 0);
}

TEST_F(Opening, HeldAcceptTimesOutWithARst) {
  options_.handshake_timeout = 10s;
  connection_ = accept(syn(), AcceptMode::held);
  flush();
  EXPECT_GE(time_to_packet(), 10s);
  EXPECT_EQ(out().flags, "RA");
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Opening, HeldAcceptHearsTheClientGiveUp) {
  connection_ = accept(syn(), AcceptMode::held);
  flush();
  in({.flags = "R", .sequence = 9});  // not its number
  EXPECT_EQ(take_events(), 0);
  in({.flags = "R", .sequence = 1});
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::reset);
  expect_none();
}

TEST_F(Opening, DataMayBeQueuedBeforeTheHandshakeIsComplete) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  send(10);
  connection_->shutdown();
  flush();
  EXPECT_EQ(out().flags, "S");
  in({.flags = "SA", .sequence = 0, .acknowledgment = 1, .options = syn_options()});
  expect("FPA", 1, 1, 10);
}

TEST_F(Opening, Rfc9293ResetForASegmentWithoutConnection) {
  const auto reset_for = [&](const In& in) {
    rte_mbuf* packet = segment(in);
    packet::Parsed view = parsed(packet);
    const bool sent = engine_->send_reset(view, 0, now_);
    rte_pktmbuf_free(packet);
    return sent;
  };
  EXPECT_TRUE(reset_for({.flags = "A", .sequence = 5, .acknowledgment = 9, .length = 3}));
  expect("R", 9, 0);
  EXPECT_TRUE(reset_for({.flags = "S", .sequence = 5}));
  expect("RA", 0, 6);
  EXPECT_TRUE(reset_for({.flags = "F", .sequence = 5, .length = 3}));
  expect("RA", 0, 9);
  EXPECT_FALSE(reset_for({.flags = "R", .sequence = 5}));
  EXPECT_FALSE(reset_for({.flags = "RA", .sequence = 5}));
  expect_none();
}

TEST_F(Opening, ResetsAreLimitedInRate) {
  config_.resets_per_second = 5;
  make_engine();
  rte_mbuf* packet = segment({.flags = "A"});
  packet::Parsed view = parsed(packet);
  for (int i = 0; i < 20; ++i) engine_->send_reset(view, 0, now_);
  EXPECT_EQ(sent_.size(), 5u);
  now_ += 1s;
  EXPECT_TRUE(engine_->send_reset(view, 0, now_));
  rte_pktmbuf_free(packet);
}

TEST_F(Opening, Ipv6IsTheSame) {
  local_ = test::endpoint("[fd00::2]:80");
  remote_ = test::endpoint("[fd00::1]:40000");
  open_passive(syn_options(9000));
  EXPECT_EQ(connection_->info().send_mss, 1500 - 60);
  send(100);
  const Out data = out();
  EXPECT_EQ(data.length, 100u);
  EXPECT_NE(data.ol_flags & RTE_MBUF_F_TX_IPV6, 0u);
}

}  // namespace
}  // namespace isthmus::tcp
