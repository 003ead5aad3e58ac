// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Requirements of RFC 9293's Appendix B that no other test is about.
#include "exchange.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Requirements : public Exchange {};

TEST_F(Requirements, Must46NoConnectToAGroup) {
  for (const char* bad : {"224.0.0.1:80", "255.255.255.255:80", "0.0.0.0:80", "[ff02::1]:80"}) {
    EXPECT_EQ(engine_->connect(local_, test::endpoint(bad), this, options_, now_), nullptr) << bad;
    EXPECT_EQ(engine_->connect(test::endpoint(bad), remote_, this, options_, now_), nullptr) << bad;
  }
}

TEST_F(Requirements, Must48Must49Shld22DiffservAndTtlAreTheUsers) {
  for (const bool v6 : {false, true}) {
    if (v6) {
      local_ = test::endpoint("[fd00::2]:80");
      remote_ = test::endpoint("[fd00::1]:40000");
    }
    options_.ttl = 17;
    options_.dscp = 46;
    open_passive();
    send(5000);
    in({.flags = "P", .sequence = 1u + 0x20000000});
    in({.acknowledgment = 1, .length = 10});
    connection_->abort();
    flush();
    ASSERT_GE(sent_.size(), 2u);
    for (const Out& packet : sent_) {
      EXPECT_EQ(packet.ttl, 17);
      EXPECT_EQ(packet.dscp, 46);
    }
    sent_.clear();
    take_events();
  }
}

TEST_F(Requirements, Must14Must67Shld5May3MssOptionIsWhatThePathBrings) {
  options_.mtu = 9000;
  play(R"(
    connect
    > S 0:0(0) win 65535 <mss 8960,sackOK,TS ecr 0,wscale 7>
  )");
  play("abort");
  options_.mtu = 1400;
  play("< S 0:0(0) <mss 1460>");
  play("> S. 0:0(0) ack 1 <mss 1360>");
}

TEST_F(Requirements, Must5OptionsAreReadInAnySegment) {
  play(R"(
    < S 0:0(0) win 65535 <mss 1460,sackOK,TS val 10 ecr 0>
    > S. 0:0(0) ack 1
    < . 1:1(0) ack 1 <TS val 11 ecr 0>
    write 2000
    > P. 1:2001(2000) ack 1 <TS ecr 11>
    < F. 1:1(0) ack 1 win 65535 <TS val 12 ecr 0,sack 1449:2001>
  )");
  EXPECT_EQ(connection_->info().sacked, 552u);
  sent_.clear();
}

TEST_F(Requirements, Must12Shld2ResetWithDataIsTold) {
  open_passive();
  in({.flags = "RA", .sequence = 1, .length = 20});
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::reset);
  expect_none();
}

// MUST-60, MUST-61: data does not wait, and its last segment says so.
TEST_F(Requirements, Must60Must61LastSegmentIsPushed) {
  open_passive();
  send(10);
  expect("PA", 1, 1, 10);
  send(3000);
  expect("PA", 11, 1, 3000);
}

// The proxy's client can't wait three minutes, but who sets them has them.
TEST_F(Requirements, Must22Must23SynsMayBeRepeatedForThreeMinutes) {
  options_.handshake_timeout = 200s;
  play("connect");
  const timer::Instant start = now_;
  run(190s);
  EXPECT_EQ(take_events(), 0);
  EXPECT_GE(sent_.size(), 7u);  // after 1, 3, 7, 15, 31, 63 and 123 seconds
  run(20s);
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_GE(now_ - start, 180s);
  sent_.clear();
}

TEST_F(Requirements, Must21UserTimeoutIsTheUsers) {
  for (const auto patience : {5s, 300s}) {
    options_.user_timeout = patience;
    open_passive();
    send(100);
    const timer::Instant start = now_;
    while (connection_ != nullptr) {
      time_to_packet();
      ASSERT_LE(now_ - start, patience + 61s);
    }
    EXPECT_EQ(failure_, Failure::timed_out);
    EXPECT_GE(now_ - start, patience);
    sent_.clear();
    take_events();
    ++remote_.port;
  }
}

// MUST-41, MUST-42, MUST-43: opens of one port from many peers, and of many local addresses, do not
// meet.
TEST_F(Requirements, Must41Must42Must43ManyOpensOfOnePort) {
  open_passive();
  Connection* first = connection_;
  const uint32_t first_iss = iss_;
  ++remote_.port;
  open_passive();
  local_ = test::endpoint("10.0.0.3:80");
  open_passive();
  EXPECT_EQ(engine_->connections(), 3u);
  local_ = test::endpoint("10.0.0.2:80");
  --remote_.port;
  iss_ = first_iss;
  in({.length = 10});
  EXPECT_EQ(first->receive_available(), 10u);
  EXPECT_EQ(connection_->receive_available(), 0u);
  sent_.clear();
}

TEST_F(Requirements, Must26Must27Must29KeepaliveIsOnlyForTheIdleAndBearsLostAnswers) {
  options_.keepalive_idle = 60s;
  options_.keepalive_interval = 10s;
  options_.keepalive_probes = 3;
  open_passive();
  // Not while something happens.
  for (int i = 0; i < 5; ++i) {
    run(40s);
    in({.sequence = connection_->info().bytes_received == 0
                        ? 1u
                        : static_cast<uint32_t>(1 + connection_->info().bytes_received),
        .length = 10});
    run(100ms);
    sent_.clear();
  }
  // Two answers are lost, the third arrives.
  play(R"(
    +59.9 > . 0:0(0) ack 51
    +10 > . 0:0(0) ack 51
    +10 > . 0:0(0) ack 51
    +1 < . 51:51(0) ack 1
    +60 > . 0:0(0) ack 51
    state ESTABLISHED
  )");
}

}  // namespace
}  // namespace isthmus::tcp
