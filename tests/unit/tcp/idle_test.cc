// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Connections that are silent for long: what they cost, and that the clocks which they keep in 32
// bits are right afterwards.
#include <gtest/gtest.h>

#include "packet/hash_index.h"
#include "script.h"
#include "tcp/moment.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
constexpr auto kDay = 24h;
// After so long 32 bits of microseconds, or of milliseconds, begin anew.
constexpr timer::Duration kMicrosWrap{1ll << 32};
constexpr timer::Duration kMomentWrap = std::chrono::milliseconds(1ll << 32);

// From the pools an idle one has nothing.
TEST(Footprint, AnIdleConnectionCostsAtMost512BytesInAllTablesAndWheels) {
  for (uint32_t count = 1024; count <= 1u << 21; count += count / 8 + 1) {
    const size_t table = (packet::HashIndex::bytes_for(count) + count - 1) / count;
    EXPECT_LE(sizeof(Connection) + timer::Wheel::kBytesPerEntry + table, 512u) << count;
  }
}

TEST(Footprint, AMomentIsNeverEarlyAndLateByLessThanAMillisecond) {
  const timer::Instant boot{1h};
  for (const timer::Duration start : {0us, 1us, 999us, 1000us}) {
    // Also where the 32 bits wrap between the two.
    for (const timer::Duration base : {timer::Duration(0), kMomentWrap - 90min}) {
      const timer::Instant then = boot + base + start;
      const Moment moment(then);
      for (const timer::Duration age : {timer::Duration(0), timer::Duration(1),
                                        timer::Duration(kMicrosWrap), timer::Duration(49 * kDay)}) {
        const timer::Duration late = moment.instant(then + age) - then;
        EXPECT_GE(late, 0us);
        EXPECT_LT(late, 1ms);
      }
    }
  }
}

class Idle : public Script {
 protected:
  // Slow start lets the window grow as far as the peer takes it; nothing is in flight afterwards.
  void fill_window() {
    uint32_t sent = 0;
    for (int round = 0; round < 2; ++round) {
      const uint32_t window = connection_->info().congestion_window;
      send(window);
      flush();
      now_ += 20ms;
      sent += window;
      in({.acknowledgment = 1 + sent});
    }
    sent_.clear();
  }
};

TEST_F(Idle, Rfc5681AnOldWindowIsNotUsedAfterAnyNumberOfMinutesOrDays) {
  for (const timer::Duration pause :
       {timer::Duration(10s), kMicrosWrap, kMicrosWrap + 1ms, timer::Duration(40 * kDay)}) {
    make_engine();
    open_passive();
    const uint32_t initial = connection_->info().congestion_window;
    fill_window();
    ASSERT_GT(connection_->info().congestion_window, 2 * initial);
    now_ += pause;
    send(1000);
    flush();
    EXPECT_EQ(connection_->info().congestion_window, initial) << pause.count();
    sent_.clear();
  }
}

TEST_F(Idle, KeepaliveOfDaysProbesWhenItIsDueAndGivesUpAfterTheProbes) {
  options_.keepalive_idle = 24 * kDay;
  options_.keepalive_interval = 2h;
  options_.keepalive_probes = 255;
  now_ = timer::Instant(kMomentWrap - 30 * kDay);  // the clock wraps in the meantime
  make_engine();
  open_passive();
  const timer::Duration first = time_to_packet(30 * kDay);
  EXPECT_GE(first, 24 * kDay);
  EXPECT_LE(first, timer::Duration(24 * kDay) + 2ms);
  expect("A", 0, 1);
  run(254 * 2h + 1h);
  EXPECT_EQ(failure_, Failure::none);
  EXPECT_EQ(sent_.size(), 254u);
  run(2h);
  EXPECT_EQ(failure_, Failure::timed_out);
  sent_.clear();
}

TEST_F(Idle, DataAfterDaysOfSilenceHasAllOfItsTimeToBeAcknowledged) {
  options_.user_timeout = 30s;
  open_passive();
  now_ += 45 * kDay;
  send(100);
  flush();
  run(29s);
  EXPECT_EQ(failure_, Failure::none);
  run(2s);
  EXPECT_EQ(failure_, Failure::timed_out);
  sent_.clear();
}

TEST_F(Idle, AWindowThatIsShutAfterDaysHasAllOfItsTime) {
  options_.stall_timeout = 60s;
  open_passive();
  now_ += 45 * kDay;
  in({.window = 0});
  send(100);
  flush();
  const timer::Instant start = now_;
  while (failure_ == Failure::none && now_ - start < 200s) {
    if (time_to_packet() >= 200s) break;
    in({.window = 0});  // the peer is there, and takes nothing
  }
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_GE(now_ - start, 60s);
  sent_.clear();
}

TEST_F(Idle, AgesAreToldOfDays) {
  open_passive();
  now_ += 40 * kDay;
  const Info info = connection_->info(now_);
  const auto age = static_cast<uint64_t>(timer::Duration(40 * kDay).count());
  EXPECT_EQ(info.age, age);
  EXPECT_NEAR(static_cast<double>(info.since_received), static_cast<double>(age), 1000);
  EXPECT_NEAR(static_cast<double>(info.since_sent), static_cast<double>(age), 1000);
}

// RFC 8985: what was learnt of the path is no reason to keep what an idle one does not need.
TEST_F(Idle, ReorderingIsRememberedWithoutAFlight) {
  SegmentOptions options = syn_options();
  options.sack_permitted = true;
  open_passive(options);
  for (int i = 0; i < 3; ++i) {
    send(1000);
    flush();
    now_ += 1ms;
  }
  In third{.acknowledgment = 1001};
  third.options.sack_count = 1;
  third.options.sack[0] = {2001, 3001};
  put(third);
  put({.acknowledgment = 3001});  // the second
  EXPECT_EQ(connection_->send_queued(), 0u);
  EXPECT_TRUE(connection_->info().reordering_seen);
  send(1000);
  flush();
  EXPECT_TRUE(connection_->info().reordering_seen);
  sent_.clear();
}

TEST_F(Idle, KeepaliveCountsFromTheAnswerWhateverItsInterval) {
  options_.keepalive_idle = 10s;
  options_.keepalive_interval = 60s;
  open_passive();
  EXPECT_EQ(time_to_packet() / 100ms, 100);
  expect("A", 0, 1);
  now_ += 1ms;
  in({.acknowledgment = 1});
  EXPECT_EQ(time_to_packet() / 100ms, 100);
}

TEST_F(Idle, KeepaliveCountsFromTheAckThatEndsABackedOffTimeout) {
  options_.keepalive_idle = 5s;
  open_passive();
  send(1000);
  flush();
  run(40s);
  in({.acknowledgment = 1001});
  sent_.clear();
  EXPECT_EQ(time_to_packet() / 100ms, 50);
}

}  // namespace
}  // namespace isthmus::tcp
