// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Connections as bytes: what is refused, and what an imported one does first.
#include <gtest/gtest.h>
#include <vector>

#include "script.h"
#include "sending.h"
#include "tcp/state.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Export : public Script {
 protected:
  std::vector<uint8_t> bytes() {
    std::vector<uint8_t> saved(engine_->export_connection(*connection_, {}, now_));
    EXPECT_EQ(engine_->export_connection(*connection_, saved, now_), saved.size());
    return saved;
  }
  // Into an engine whose clock is another one.
  void move() {
    const std::vector<uint8_t> saved = bytes();
    now_ += std::chrono::hours(5);
    make_engine();
    connection_ = engine_->import_connection(saved, this, now_);
    ASSERT_NE(connection_, nullptr);
    EXPECT_TRUE(connection_->consistent());
    flush();
  }
};

TEST_F(Export, GoesOnWhereItWas) {
  SegmentOptions options = syn_options();
  options.has_timestamp = options.sack_permitted = options.has_scale = true;
  options.timestamp = 1000;
  options.scale = 7;
  open_passive(options);
  send(3000);
  flush();
  while (anything_out()) out();
  In in_order{.flags = "PA", .length = 100};
  in_order.options.has_timestamp = true;
  in_order.options.timestamp = 1001;
  in(in_order);
  while (anything_out()) out();
  const Info before = connection_->info();
  move();
  const Info after = connection_->info();
  EXPECT_EQ(after.state, State::established);
  EXPECT_EQ(after.send_queued, 3000u);
  EXPECT_EQ(after.not_sent, before.not_sent);
  EXPECT_EQ(after.receive_window, before.receive_window);
  EXPECT_EQ(after.congestion_window, before.congestion_window);
  EXPECT_EQ(after.bytes_sent, before.bytes_sent);
  EXPECT_EQ(after.bytes_received, before.bytes_received);
  EXPECT_EQ(connection_->receive_available(), 100u);
  EXPECT_NE(take_events() & kReadable, 0);
  EXPECT_EQ(take(), test::pattern(100));
  run(std::chrono::seconds(2));
  ASSERT_TRUE(anything_out());  // what was in flight is repeated when nobody answers
}

TEST_F(Export, MarkingOfPacketsStays) {
  options_.dscp = 46;
  open_passive();
  move();
  send(10);
  flush();
  EXPECT_EQ(out().dscp, 46);
}

// RFC 4821: a size that the path didn't carry is remembered, and when to try it again.
TEST_F(Export, ABlackHoleIsRemembered) {
  open_passive();
  send(14'600);
  for (unsigned i = 0; i < 20 && connection_->info().send_mss == 1460; ++i) {
    run(std::chrono::seconds(1));
  }
  ASSERT_EQ(connection_->info().send_mss, 1200);
  sent_.clear();
  in({.acknowledgment = 14'601});
  move();
  EXPECT_EQ(connection_->info().send_mss, 1200);
  const auto largest = [this] {
    send(14'600);
    flush();
    uint32_t found = 0;
    uint32_t end = 0;
    for (; anything_out(); now_ += std::chrono::milliseconds(1)) {
      const Out packet = out();
      const bool cut = (packet.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
      found = std::max<uint32_t>(found, cut ? packet.segment_size : packet.length);
      end = std::max(end, packet.sequence + packet.length);
      in({.acknowledgment = end});
    }
    return found;
  };
  EXPECT_EQ(largest(), 1200u);
  run(std::chrono::seconds(61));
  EXPECT_EQ(largest(), 1460u);
}

TEST_F(Export, TimestampsDoNotGoBack) {
  SegmentOptions options = syn_options();
  options.has_timestamp = true;
  open_passive(options);
  send(10);
  flush();
  const uint32_t before = out().options.timestamp;
  move();
  send(10);
  flush();
  const uint32_t after = out().options.timestamp;
  EXPECT_LT(after - before, 10u);
}

TEST_F(Export, HandshakesStay) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(engine_->export_connection(*connection_, {}, now_), 0u);
  connection_->abort();
  connection_ = nullptr;
  flush();
  while (anything_out()) out();
}

TEST_F(Export, ReleaseSaysNothing) {
  open_passive();
  send(100);
  flush();
  while (anything_out()) out();
  engine_->release(*connection_);
  connection_ = nullptr;
  flush();
  expect_none();
  EXPECT_EQ(engine_->connections(), 0u);
}

TEST_F(Export, ATakenTupleIsRefused) {
  open_passive();
  const std::vector<uint8_t> saved = bytes();
  EXPECT_EQ(engine_->import_connection(saved, this, now_), nullptr);
  EXPECT_EQ(drops_.get(stats::Reason::tcp_tuple_taken), 1u);
}

TEST_F(Export, EveryTruncationAndAnotherVersionIsRefused) {
  open_passive();
  send(50);
  const std::vector<uint8_t> saved = bytes();
  make_engine();
  connection_ = nullptr;
  for (size_t n = 0; n < saved.size(); ++n) {
    const std::vector<uint8_t> cut(saved.begin(), saved.begin() + static_cast<long>(n));
    EXPECT_EQ(engine_->import_connection(cut, this, now_), nullptr) << n;
  }
  std::vector<uint8_t> newer = saved;
  ++newer[4];
  EXPECT_EQ(engine_->import_connection(newer, this, now_), nullptr);
  std::vector<uint8_t> longer = saved;
  longer.push_back(0);
  EXPECT_EQ(engine_->import_connection(longer, this, now_), nullptr);
  EXPECT_EQ(engine_->connections(), 0u);
  EXPECT_EQ(drops_.get(stats::Reason::tcp_bad_state), saved.size() + 2);
}

// Whatever one bit says otherwise, what is taken is a connection that could exist.
TEST_F(Export, FlippedBitsAreRefusedOrConsistent) {
  SegmentOptions options = syn_options();
  options.sack_permitted = true;
  open_passive(options);
  send(4000);
  flush();
  in({.sequence = 201, .length = 100});
  while (anything_out()) out();
  const std::vector<uint8_t> saved = bytes();
  for (size_t bit = 0; bit < std::min<size_t>(saved.size(), 400) * 8; ++bit) {
    std::vector<uint8_t> changed = saved;
    changed[bit / 8] = static_cast<uint8_t>(changed[bit / 8] ^ 1 << bit % 8);
    make_engine();
    connection_ = engine_->import_connection(changed, nullptr, now_);
    if (connection_ == nullptr) continue;
    EXPECT_TRUE(connection_->consistent()) << "bit " << bit;
    flush();
    EXPECT_TRUE(connection_->consistent()) << "bit " << bit;
    while (anything_out()) out();
    engine_->release(*connection_);
    flush();
  }
  make_engine();
  connection_ = nullptr;
}

class ExportInFlight : public Sending {};

// Karn: what an import does not know it does not measure.
TEST_F(ExportInFlight, Rfc6298RoundTripIsNotMeasuredFromAnImport) {
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

}  // namespace
}  // namespace isthmus::tcp
