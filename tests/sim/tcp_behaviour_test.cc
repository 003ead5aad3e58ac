// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How well, not only how correctly: goodput, recovery without timeouts, and the situations that
// random seeds meet too seldom.
#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "packet/headers.h"
#include "sim/tcp_run.h"

namespace isthmus::sim {
namespace {

using namespace std::chrono_literals;

// 100 Mbit/s, 20 ms, a queue of one bandwidth-delay product.
Scenario path(uint64_t bytes) {
  Scenario s;
  s.link.delay = 10ms;
  s.link.bits_per_second = 100'000'000;
  s.link.queue_bytes = 250'000;
  for (int side = 0; side < 2; ++side) {
    s.config[side].max_connections = 4;
    s.config[side].max_time_wait = 4;
    s.config[side].max_receive_buffer = 2 << 20;
    s.config[side].max_send_buffer = 1 << 20;
  }
  s.user[0].bytes = bytes;
  return s;
}

double goodput(TcpRun& run, uint64_t bytes) {
  return static_cast<double>(bytes) * 8 / static_cast<double>(run.elapsed().count());  // Mbit/s
}

TEST(Behaviour, BulkFillsAPathWithoutLoss) {
  TcpRun run(path(24 << 20));
  ASSERT_EQ(run.finish(), "");
  const double rate = goodput(run, 24 << 20);
  fmt::print("no loss: {:.1f} of 100 Mbit/s\n", rate);
  EXPECT_GT(rate, 85);
  EXPECT_EQ(run.host(0).engine().stats().timeouts, 0u);
}

TEST(Behaviour, RandomLossIsRepairedWithoutTimeouts) {
  for (const double loss : {0.001, 0.01}) {
    Scenario s = path(16 << 20);
    s.link.loss = loss;
    TcpRun run(s);
    ASSERT_EQ(run.finish(), "");
    const auto& stats = run.host(0).engine().stats();
    fmt::print("loss {}: {:.1f} Mbit/s, {} retransmissions of {} packets, {} timeouts\n", loss,
               goodput(run, 16 << 20), stats.retransmissions, stats.segments_sent, stats.timeouts);
    // Reno's law gives 1.22 * mss / (rtt * sqrt(p)); CUBIC is at least as good.
    const double law = 1.22 * 1448 * 8 / (20'000 * std::sqrt(loss));
    EXPECT_GT(goodput(run, 16 << 20), std::min(law * 0.85, 60.0)) << "loss " << loss;
    // A lost retransmission of the last segment may cost one.
    EXPECT_LE(stats.timeouts, 2u) << "loss " << loss;
  }
}

TEST(Behaviour, FivePercentLossWithReorderingMakesProgress) {
  Scenario s = path(4 << 20);
  s.link.loss = 0.05;
  s.link.reorder = 0.1;
  s.link.reorder_delay = 5ms;
  TcpRun run(s);
  ASSERT_EQ(run.finish(), "");
  const auto& stats = run.host(0).engine().stats();
  fmt::print("5% loss, reordering: {:.1f} Mbit/s, {} timeouts, {} spurious\n",
             goodput(run, 4 << 20), stats.timeouts, stats.spurious_recoveries);
  EXPECT_GT(goodput(run, 4 << 20), 1.5);
}

TEST(Behaviour, ReorderingAloneCausesNoTimeoutAndFewRetransmissions) {
  Scenario s = path(8 << 20);
  s.link.reorder = 0.02;
  s.link.reorder_delay = 1ms;  // some ten packets at this rate
  TcpRun run(s);
  ASSERT_EQ(run.finish(), "");
  const auto& stats = run.host(0).engine().stats();
  fmt::print("reordering: {:.1f} Mbit/s, {} retransmissions\n", goodput(run, 8 << 20),
             stats.retransmissions);
  EXPECT_EQ(stats.timeouts, 0u);
  EXPECT_GT(goodput(run, 8 << 20), 70);
}

TEST(Behaviour, LostTailIsRepairedInTwoRoundTripsAndTenMilliseconds) {
  // Without loss, then with the last data segment lost.
  Scenario s = path(14'000);
  s.link.bits_per_second = 0;
  TcpRun whole(s);
  ASSERT_EQ(whole.finish(), "");
  bool lost = false;
  s.lose_if = [&](int from, uint64_t, const std::vector<uint8_t>& packet) {
    const auto& tcp = *reinterpret_cast<const packet::Tcp*>(packet.data() + 20);
    if (from != 0 || lost || (tcp.flags & packet::Tcp::kFin) == 0) return false;
    lost = true;
    return true;
  };
  TcpRun tail(s);
  ASSERT_EQ(tail.finish(), "");
  EXPECT_TRUE(lost);
  EXPECT_LT((tail.elapsed() - whole.elapsed()).count(), 2 * 20'000 + 10'000);
  EXPECT_EQ(tail.host(0).engine().stats().timeouts, 0u);
}

TEST(Behaviour, WholeFlightLostComesBackByTheTimer) {
  Scenario s = path(200'000);
  uint32_t highest = 0;
  s.lose_if = [&](int from, uint64_t number, const std::vector<uint8_t>& packet) {
    const auto& tcp = *reinterpret_cast<const packet::Tcp*>(packet.data() + 20);
    if (from != 0) return false;
    // Only what is sent for the first time.
    const uint32_t sequence = tcp.sequence.get();
    const bool first = number == 0 || static_cast<int32_t>(sequence - highest) > 0;
    if (first) highest = sequence;
    return first && number >= 12 && number < 60;
  };
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  EXPECT_LT(run.elapsed().count(), 2'000'000);
}

TEST(Behaviour, AckLossIsBorne) {
  Scenario s = path(16 << 20);
  s.lose_if = [](int from, uint64_t number, const std::vector<uint8_t>&) {
    return from == 1 && number > 2 && number % 3 != 0;
  };
  TcpRun run(s);
  ASSERT_EQ(run.finish(), "");
  EXPECT_GT(goodput(run, 16 << 20), 50);
}

TEST(Behaviour, ReceiverThatStallsForMinutesLosesNothing) {
  Scenario s = path(1 << 20);
  s.user[1].stall_at = 100'000;
  s.user[1].stall_for = 5min;
  s.options[0].stall_timeout = 10min;
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  EXPECT_GT(run.host(0).engine().stats().window_probes, 5u);
}

TEST(Behaviour, OneByteReaderWithATinyWindowFinishes) {
  Scenario s = path(20'000);
  s.link.delay = 100us;
  s.config[1].receive_buffer = s.config[1].max_receive_buffer = 600;
  s.user[1].read = 1;
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  // Silly windows would take a packet for each byte.
  EXPECT_LT(run.link().packets(0), 400u);
}

TEST(Behaviour, BothDirectionsAtOnce) {
  Scenario s = path(8 << 20);
  s.user[1].bytes = 8 << 20;
  s.link.loss = 0.001;
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
}

TEST(Behaviour, SequenceNumbersWrapInMidTransfer) {
  for (const int side : {0, 1}) {
    Scenario s = path(8 << 20);
    s.user[1].bytes = 8 << 20;
    s.before_wrap = 0x100;
    s.wraps = side;
    s.link.loss = 0.01;
    TcpRun run(s);
    EXPECT_EQ(run.finish(), "") << side;
  }
}

TEST(Behaviour, HalfCloseWithTheAnswerMuchLater) {
  Scenario s = path(1000);
  s.user[1].bytes = 100'000;
  s.user[1].stall_at = 1;
  s.user[1].stall_for = 5min;
  s.user[1].close_after_peer = true;
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  EXPECT_EQ(run.user(0).taken(), 100'000u);
}

TEST(Behaviour, AbortInMidTransferIsAnErrorAtThePeer) {
  Scenario s = path(4 << 20);
  s.user[1].abort_at = 1 << 20;
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  EXPECT_TRUE(run.user(1).aborted());
  EXPECT_EQ(run.user(0).failure(), tcp::Failure::reset);
}

TEST(Behaviour, DeadPathIsReported) {
  Scenario s = path(4 << 20);
  s.options[0].user_timeout = s.options[1].user_timeout = 30s;
  s.options[1].keepalive_idle = 30s;
  s.may_time_out = true;
  s.lose_if = [](int, uint64_t number, const std::vector<uint8_t>&) { return number > 500; };
  TcpRun run(s);
  EXPECT_EQ(run.finish(), "");
  EXPECT_EQ(run.user(0).failure(), tcp::Failure::timed_out);
  EXPECT_EQ(run.user(1).failure(), tcp::Failure::timed_out);
}

}  // namespace
}  // namespace isthmus::sim
