// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a peer, or somebody who is none, may try: every state against every segment that should
// change nothing, and the known attacks by their names.
#include <tuple>
#include <vector>

#include "exchange.h"
#include "packet/parse.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
using stats::Reason;

// Parameters: the state, and whether the addresses are of IPv6.
class EveryState : public Exchange, public testing::WithParamInterface<std::tuple<State, bool>> {
 protected:
  EveryState() {
    if (!std::get<1>(GetParam())) return;
    local_ = test::endpoint("[fd00::2]:80");
    remote_ = test::endpoint("[fd00::1]:40000");
  }
  // Opens and goes there. Afterwards received_ and sent_next_ are RCV.NXT and SND.NXT.
  void reach() {
    const State to = std::get<0>(GetParam());
    if (to == State::syn_received) {
      play("< S 0:0(0) win 65535 <mss 1460>");
      sent_.clear();
      return;
    }
    open_passive();
    const bool peer_first = to == State::close_wait || to == State::last_ack;
    if (peer_first) play("< F. 1:1(0) ack 1");
    if (to != State::established && to != State::close_wait) play("close");
    if (to == State::closing) play("< F. 1:1(0) ack 1");
    if (to == State::fin_wait_2 || to == State::time_wait) play("< . 1:1(0) ack 2");
    if (to == State::time_wait) play("< F. 1:1(0) ack 2");
    if (peer_first || to == State::closing || to == State::time_wait) received_ = 2;
    if (to != State::established && to != State::close_wait) sent_next_ = 2;
    sent_.clear();
    take_events();
    expect_state();
  }
  void expect_state() {
    const State state = std::get<0>(GetParam());
    if (state == State::time_wait) {
      EXPECT_EQ(engine_->time_waits(), 1u);
    } else {
      ASSERT_NE(connection_, nullptr);
      EXPECT_EQ(to_string(connection_->state()), std::string(to_string(state)));
      EXPECT_EQ(connection_->receive_available(), 0u);
      EXPECT_TRUE(connection_->consistent());
    }
  }
  bool resting() const { return std::get<0>(GetParam()) == State::time_wait; }
  // The segment changes nothing and is answered so; no flags: not at all.
  void expect_unmoved(const In& segment, std::string_view answer) {
    SCOPED_TRACE(std::string(segment.flags) + " seq " + std::to_string(segment.sequence) + " ack " +
                 std::to_string(segment.acknowledgment));
    EXPECT_TRUE(in(segment));
    if (answer.empty()) {
      expect_none();
    } else if (answer == "R") {
      expect("R", segment.acknowledgment, 0);
    } else {
      expect(answer, sent_next_, received_);
    }
    expect_none();
    expect_state();
    now_ += 2s;  // a new second for the limits
  }

  uint32_t received_ = 1;
  uint32_t sent_next_ = 1;
};

std::string state_name(const testing::TestParamInfo<std::tuple<State, bool>>& info) {
  std::string name = to_string(std::get<0>(info.param));
  std::erase(name, '-');
  return name + (std::get<1>(info.param) ? "Ipv6" : "Ipv4");
}

INSTANTIATE_TEST_SUITE_P(Synchronized, EveryState,
                         testing::Combine(testing::Values(State::syn_received, State::established,
                                                          State::fin_wait_1, State::fin_wait_2,
                                                          State::close_wait, State::closing,
                                                          State::last_ack, State::time_wait),
                                          testing::Bool()),
                         state_name);

constexpr uint32_t kFar = 0x20000000;

TEST_P(EveryState, Rfc5961BlindResetChangesNothing) {
  reach();
  for (const char* flags : {"R", "RA", "RF", "RP"}) {
    for (const uint32_t inside : {received_ + 1, received_ + 1000, received_ + 60'000}) {
      expect_unmoved({.flags = flags, .sequence = inside}, resting() ? "" : "A");
    }
    for (const uint32_t outside : {received_ - 1, received_ - kFar, received_ + kFar}) {
      expect_unmoved({.flags = flags, .sequence = outside, .acknowledgment = sent_next_}, "");
    }
  }
}

TEST_P(EveryState, Rfc5961ExactResetEndsItButNotTimeWait) {
  reach();
  EXPECT_TRUE(in({.flags = "R", .sequence = received_}));
  expect_none();
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(engine_->time_waits(), resting() ? 1u : 0u);
}

TEST_P(EveryState, Rfc5961BlindSynGetsAChallengeAck) {
  reach();
  for (const char* flags : {"S", "SA", "SF", "SFA", "SP"}) {
    for (const uint32_t sequence :
         {received_ + 1, received_ + 1000, received_ + kFar, received_ - 2, received_ - kFar}) {
      // A number above the old connection's opens a new one (RFC 6191).
      if (resting() && flags == std::string("S") && static_cast<int32_t>(sequence) > 0) continue;
      if (resting() && flags == std::string("SP") && static_cast<int32_t>(sequence) > 0) continue;
      expect_unmoved({.flags = flags, .sequence = sequence, .acknowledgment = sent_next_}, "A");
    }
  }
}

TEST_P(EveryState, Rfc5961SynWithDataBringsNone) {
  reach();
  if (resting()) return;
  expect_unmoved({.flags = "S", .sequence = received_ + 1, .length = 100}, "A");
  expect_unmoved({.flags = "SA", .sequence = received_ + 1, .length = 100}, "A");
}

TEST_P(EveryState, Rfc5961DataWithAnAckNeverSentIsNotTaken) {
  reach();
  if (resting()) return;
  const bool opening = std::get<0>(GetParam()) == State::syn_received;
  for (const uint32_t ack : {sent_next_ + 1, sent_next_ + 100'000, sent_next_ - 70'000}) {
    expect_unmoved({.sequence = received_, .acknowledgment = ack, .length = 10},
                   opening ? "R" : "A");
  }
}

TEST_P(EveryState, NothingIsTakenWithoutAnAck) {
  reach();
  if (resting()) return;
  expect_unmoved({.flags = "", .sequence = received_, .length = 10}, "");
  expect_unmoved({.flags = "P", .sequence = received_, .length = 10}, "");
  expect_unmoved({.flags = "F", .sequence = received_}, "");
}

TEST_P(EveryState, SegmentsOutsideTheWindowAreAnsweredAndChangeNothing) {
  reach();
  for (const char* flags : {"A", "FA", "PA"}) {
    expect_unmoved(
        {.flags = flags, .sequence = received_ + kFar, .acknowledgment = sent_next_, .length = 10},
        "A");
    expect_unmoved(
        {.flags = flags, .sequence = received_ - kFar, .acknowledgment = sent_next_, .length = 10},
        "A");
  }
}

TEST_P(EveryState, LyingOptionsChangeNothing) {
  reach();
  expect_unmoved({.flags = "R", .sequence = received_, .raw_options = test::hex("02 00 00 00")},
                 "");
  expect_unmoved({.sequence = received_, .length = 10, .raw_options = test::hex("08 28 00 00")},
                 "");
}

class Attack : public Exchange {};

// CVE-2019-11479, CVE-2019-11477.
TEST_F(Attack, Must16TinyMssIsRaisedToTheFloor) {
  for (const uint16_t mss : {1, 8, 45, 48, 88, 215, 216, 217}) {
    open_passive(syn_options(mss));
    EXPECT_EQ(connection_->info().send_mss, std::max<int>(mss, 216)) << mss;
    send(20'000);
    EXPECT_LE(sent_.size(), 20u) << mss;
    connection_->abort();
    flush();
    sent_.clear();
  }
}

// An MSS of zero is an option that was given: the floor, and not the default.
TEST_F(Attack, ZeroMssIsRaisedToTheFloor) {
  SegmentOptions options;
  options.has_mss = true;
  open_passive(options);
  EXPECT_EQ(connection_->info().send_mss, 216);
}

// CVE-2018-5390, CVE-2018-6922.
TEST_F(Attack, SegmentSmackHoldsABoundedNumberOfBuffers) {
  SegmentOptions options = syn_options();
  options.sack_permitted = options.has_scale = true;
  open_passive(options);
  const unsigned before = test::mbufs_in_use();
  for (uint32_t i = 0; i < 65'536; ++i) put({.sequence = 3 + 2 * i, .length = 1});
  EXPECT_LE(test::mbufs_in_use(), before + config_.max_gaps_per_connection);
  flush();
  sent_.clear();
  in({.sequence = 1, .length = 1000});
  EXPECT_GE(connection_->receive_available(), 1000u);
  sent_.clear();
}

// Savage et al., "TCP congestion control with a misbehaving receiver".
TEST_F(Attack, Rfc3465SplitAcksGrowTheWindowByBytes) {
  uint32_t grown[2];
  for (const bool split : {false, true}) {
    open_passive();
    send(14'600);
    sent_.clear();
    const uint32_t step = split ? 20 : 1460;
    for (uint32_t at = 1 + step; at <= 14'601; at += step) in({.acknowledgment = at});
    grown[split ? 1 : 0] = connection_->info().congestion_window;
    connection_->abort();
    flush();
    sent_.clear();
    ++remote_.port;
  }
  EXPECT_LE(grown[1], grown[0]);
}

TEST_F(Attack, OptimisticAckIsRefused) {
  open_passive();
  send(100'000);
  const uint32_t window = connection_->info().congestion_window;
  sent_.clear();
  in({.acknowledgment = 14'602});
  expect("A", 14'601, 1);
  EXPECT_EQ(connection_->info().congestion_window, window);
  EXPECT_EQ(connection_->send_queued(), 100'000u);
  EXPECT_EQ(drops_.get(Reason::tcp_bad_ack), 1u);
}

// PAWS poisoning: what is out of order, or acknowledges nonsense, does not move TS.Recent.
TEST_F(Attack, Rfc7323FutureTimestampsDoNotPoisonPaws) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1000 ecr 0>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1 win 65535 <TS val 1000 ecr 0>
    < P. 101:201(100) ack 1 <TS val 900000000 ecr 0>
    > . 1:1(0) ack 1 <TS ecr 1000,sack 101:201>
    < P. 1:11(10) ack 99 <TS val 900000000 ecr 0>
    > . 1:1(0) ack 1 <TS ecr 1000,sack 101:201>
    < P. 1:11(10) ack 1 <TS val 1001 ecr 0>
    > . 1:1(0) ack 11 <TS ecr 1001,sack 101:201>
    nothing
    read 10
  )");
}

TEST_F(Attack, Rfc7323PeersTimestampsMayWrap) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460,TS val 4294967290 ecr 0>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1 win 65535 <TS val 4294967295 ecr 0>
    < P. 1:1461(1460) ack 1 <TS val 3 ecr 0>
    > . 1:1(0) ack 1461 <TS ecr 3>
    < P. 1461:1471(10) ack 1 <TS val 4294967295 ecr 0>
    > . 1:1(0) ack 1461 <TS ecr 3>
    read 1460
  )");
}

TEST_F(Attack, SynWithDataOpensAndTheDataComesAgain) {
  play(R"(
    < S 0:0(100) win 65535 <mss 1460>
    > S. 0:0(0) ack 1
    < P. 1:101(100) ack 1
    > . 1:1(0) ack 101
    read 100
  )");
}

TEST_F(Attack, LandIsRefused) {
  remote_ = local_;
  rte_mbuf* packet = segment({.flags = "S", .sequence = 0});
  packet::Parsed view;
  EXPECT_TRUE(packet::parse(packet, view).has_value());
  rte_pktmbuf_free(packet);
}

TEST_F(Attack, Must10SimultaneousOpenWithDataAfterIt) {
  play(R"(
    connect
    > S 0:0(0)
    < S 0:0(0) win 65535 <mss 1460>
    > S. 0:0(0) ack 1
    state SYN-RECEIVED
    < S. 0:0(0) ack 1 win 65535 <mss 1460>
    state ESTABLISHED
    < P. 1:101(100) ack 1
    > . 1:1(0) ack 101
    read 100
    write 10
    > P. 1:11(10) ack 101
  )");
}

TEST_F(Attack, SimultaneousCloseWithDataInFlight) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1
    write 100
    > P. 1:101(100) ack 1
    close
    > F. 101:101(0) ack 1
    < FP. 1:51(50) ack 1
    > . 102:102(0) ack 52
    state CLOSING
    read 50
    < . 52:52(0) ack 102
    nothing
  )");
  EXPECT_EQ(engine_->time_waits(), 1u);
}

TEST_F(Attack, Shld19Must40EverySecondSegmentOrSoon) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1
  )");
  uint32_t at = 1;
  for (; connection_->info().bytes_received < 20; ++at) in({.sequence = at, .length = 1});
  sent_.clear();
  play(R"(
    < P. 21:22(1) ack 1
    +0.02 > . 1:1(0) ack 22
    < P. 22:1482(1460) ack 1
    > . 1:1(0) ack 1482
  )");
}

// Zero-length segments, keep-alives and window probes of the peer.
TEST_F(Attack, ZeroLengthSegmentsAreAnsweredOnlyWhereTheyAsk) {
  open_passive();
  play(R"(
    < . 1:1(0) ack 1
    nothing
    < . 0:0(0) ack 1
    > . 1:1(0) ack 1
    < . 2:2(0) ack 1
    nothing
  )");
}

TEST_F(Attack, ProbesOfAShutWindowAreAnsweredWithWhatIsOpen) {
  config_.receive_buffer = config_.max_receive_buffer = 2000;
  make_engine();
  play(R"(
    < S 0:0(0) win 65535 <mss 1000>
    > S. 0:0(0) ack 1 win 2000
    < . 1:1(0) ack 1
    < . 1:1001(1000) ack 1
    > . 1:1(0) ack 1001 win 1000
    < P. 1001:2001(1000) ack 1
    > . 1:1(0) ack 2001 win 0
    < . 2000:2000(0) ack 1
    > . 1:1(0) ack 2001 win 0
    < . 2001:2002(1) ack 1
    > . 1:1(0) ack 2001 win 0
    read 2000
    > . 1:1(0) ack 2001 win 2000
    < . 2001:2002(1) ack 1
    > . 1:1(0) ack 2002 win 1999
  )");
}

// RFC 9293 section 3.10.7.4: an old segment does not take the window back to what it was.
TEST_F(Attack, WindowOfAnOldSegmentIsNotBelieved) {
  open_passive();
  in({.sequence = 1, .length = 10, .window = 30'000});
  in({.sequence = 1, .acknowledgment = 1, .length = 5, .window = 1});
  EXPECT_EQ(connection_->info().send_window, 30'000u);
  in({.sequence = 11, .acknowledgment = 1, .length = 5, .window = 20'000});
  EXPECT_EQ(connection_->info().send_window, 20'000u);
  sent_.clear();
}

// The acceptability test against plain arithmetic, with the largest window there is.
TEST_F(Attack, Must1AcceptabilityWithAGigabyteOfWindow) {
  config_.receive_buffer = config_.max_receive_buffer = 1 << 30;
  config_.memory_budget = uint64_t{1} << 40;
  make_engine();
  SegmentOptions options = syn_options();
  options.has_scale = options.sack_permitted = true;
  open_passive(options);
  in({.length = 1460});
  sent_.clear();
  const int64_t window = connection_->info().receive_window;
  EXPECT_GT(window, 1'000'000'000);
  const int64_t edges[] = {-(int64_t{1} << 31) + 2,
                           -window - 1,
                           -window,
                           -1000,
                           -2,
                           -1,
                           1,
                           2,
                           1000,
                           window / 2,
                           window - 2,
                           window - 1,
                           window,
                           window + 1,
                           (int64_t{1} << 31) - 1};
  for (const int64_t offset : edges) {
    const uint32_t before = connection_->info().out_of_order;
    in({.sequence = static_cast<uint32_t>(1461 + offset), .length = 1});
    EXPECT_EQ(connection_->info().out_of_order != before, offset > 0 && offset < window) << offset;
    sent_.clear();
  }
}

TEST_F(Attack, AnAckThatFindsNoBufferIsSentLater) {
  open_passive();
  rte_mbuf* packet = segment({.length = 1460});
  packet::Parsed view = parsed(packet);
  std::vector<rte_mbuf*> all;
  while (rte_mbuf* m = rte_pktmbuf_alloc(test::pools().small)) all.push_back(m);
  EXPECT_TRUE(engine_->input(view, now_));
  flush();
  expect_none();
  for (rte_mbuf* m : all) rte_pktmbuf_free(m);
  run(2ms);
  expect("A", 1, 1461);
}

TEST_F(Attack, UrgentPointersMoveNothing) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1
    < UP. 1:101(100) ack 1
    > . 1:1(0) ack 101
    < U. 101:101(0) ack 1
    nothing
    read 100
  )");
}

// RFC 5927: the embedded number must be of what is in flight; a path MTU is believed down to what
// IPv6 guarantees.
TEST_F(Attack, Rfc5927Ipv6PathMtuHasAFloor) {
  local_ = test::endpoint("[fd00::2]:80");
  remote_ = test::endpoint("[fd00::1]:40000");
  open_passive(syn_options(1440));
  send(5000);
  sent_.clear();
  const auto too_big = [&](uint32_t sequence, uint32_t mtu) {
    engine_->icmp_error(
        {.tuple = {local_, remote_}, .type = 2, .mtu = mtu, .sequence = iss_ + sequence}, now_);
    flush();
  };
  too_big(5001, 1300);
  too_big(0, 1300);
  EXPECT_EQ(connection_->info().send_mss, 1440);
  EXPECT_EQ(drops_.get(Reason::tcp_icmp_ignored), 2u);
  too_big(1, 68);
  EXPECT_EQ(connection_->info().send_mss, 1280 - 60);
  for (uint8_t code = 0; code < 7; ++code) {
    engine_->icmp_error({.tuple = {local_, remote_}, .type = 1, .code = code, .sequence = iss_ + 1},
                        now_);
  }
  flush();
  EXPECT_EQ(connection_->state(), State::established);
  sent_.clear();
}

TEST_F(Attack, Must54SoftErrorsDoNotEndAnAttemptToConnect) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  for (const uint8_t code : {0, 1, 5, 6, 7, 8, 11, 12}) {
    engine_->icmp_error({.tuple = {local_, remote_}, .type = 3, .code = code, .sequence = iss_},
                        now_);
  }
  for (const uint8_t type : {4, 11, 12}) {
    engine_->icmp_error({.tuple = {local_, remote_}, .type = type, .sequence = iss_}, now_);
  }
  flush();
  EXPECT_EQ(take_events(), 0);
  EXPECT_EQ(connection_->state(), State::syn_sent);
}

}  // namespace
}  // namespace isthmus::tcp
