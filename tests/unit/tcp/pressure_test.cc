// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Many connections on one memory budget: users that read nothing, peers that fill every window and
// every gap.
#include <vector>

#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
using stats::Reason;

class Pressure : public Script {
 protected:
  struct One {
    uint16_t port = 0;
    uint32_t iss = 0;
    Connection* connection = nullptr;
    uint32_t acked = 1;  // by the engine, and the window's edge; relative
    uint32_t edge = 1;
  };

  Pressure() {
    config_.max_connections = kMany;
    config_.memory_budget = 4 << 20;
    config_.memory_floor = 4096;
    config_.max_gaps = 4096;
    make_engine();
  }
  void open_all() {
    SegmentOptions options = syn_options();
    options.has_scale = options.sack_permitted = true;
    all_.resize(kMany);
    for (One& one : all_) {
      one.port = remote_.port = static_cast<uint16_t>(10'000 + (&one - all_.data()));
      open_passive(options);
      one.iss = iss_;
      one.connection = connection_;
      one.edge = 1 + connection_->info().receive_window;
    }
  }
  void use(const One& one) {
    remote_.port = one.port;
    iss_ = one.iss;
    connection_ = one.connection;
  }
  // The segment goes in; what comes back never takes the edge back.
  void give(One& one, const In& segment) {
    use(one);
    in(segment);
    const uint8_t scale = one.connection->info().receive_scale;
    for (; anything_out();) {
      const Out ack = out();
      const uint32_t edge = ack.acknowledgment + (ack.window << scale);
      EXPECT_GE(edge, one.edge);
      EXPECT_GE(ack.acknowledgment, one.acked);
      one.edge = edge;
      one.acked = ack.acknowledgment;
    }
  }
  // All that has left.
  void acknowledge() {
    in({.acknowledgment = 1 + static_cast<uint32_t>(connection_->info().bytes_sent)});
    flush();
    sent_.clear();
  }

  static constexpr unsigned kMany = 1000;
  static constexpr uint32_t kPiece = 600;
  std::vector<One> all_;
};

TEST_F(Pressure, AThousandUsersThatReadNothingDoNotTakeEveryBuffer) {
  open_all();
  const unsigned before = test::mbufs_in_use();
  // Everybody sends what the window allows, in turns.
  for (unsigned round = 0; round < 40; ++round) {
    for (One& one : all_) {
      if (one.acked + 1460 <= one.edge) give(one, {.sequence = one.acked, .length = 1460});
    }
  }
  const unsigned most = (4 << 20) / 2304 + kMany * 2 + 16;
  EXPECT_LE(test::mbufs_in_use(), before + most);
  EXPECT_GT(test::mbufs_in_use(), before + (4 << 20) / 2304 / 2);
  EXPECT_GT(drops_.get(Reason::tcp_no_memory), 0u);
  // Each has got something, and who reads goes on.
  for (const One& one : all_) ASSERT_GT(one.connection->receive_available(), 0u);
  One& reader = all_[500];
  const uint32_t start = reader.acked;
  for (unsigned round = 0; round < 100; ++round) {
    use(reader);
    take();
    give(reader, {.sequence = reader.acked, .length = 1460});
  }
  EXPECT_GE(reader.acked, start + 99 * 1460u);
}

TEST_F(Pressure, WhatIsNewlyOfferedFallsToTheFloorAndRisesAgain) {
  open_all();
  for (unsigned round = 0; round < 40; ++round) {
    for (One& one : all_) {
      if (&one == &all_[7] || one.acked + 1460 > one.edge) continue;
      give(one, {.sequence = one.acked, .length = 1460});
    }
  }
  // This one was promised more when there was more, and keeps the promise.
  One& late = all_[7];
  const uint32_t promised = late.edge;
  while (late.acked + 1460 <= promised) {
    give(late, {.sequence = late.acked, .length = 1460});
    use(late);
    take();
  }
  EXPECT_LE(late.connection->info().receive_window, config_.memory_floor + 1460);
  EXPECT_LE(late.connection->send_room(), config_.memory_floor);
  for (One& one : all_) {
    use(one);
    take();
  }
  flush();
  sent_.clear();
  give(late, {.sequence = late.acked, .length = 100});
  run(100ms);
  sent_.clear();
  EXPECT_GE(late.connection->info().receive_window, 60'000u);
  EXPECT_GE(late.connection->send_room(), config_.send_buffer);
}

// Pieces that are too long to be copied together, so that each keeps a buffer.
TEST_F(Pressure, AThousandPeersThatStandStillDoNotTakeEveryBuffer) {
  open_all();
  const unsigned before = test::mbufs_in_use();
  for (unsigned round = 0; round < 40; ++round) {
    for (One& one : all_) {
      use(one);
      if (connection_->send_room() >= kPiece) send(kPiece);
      sent_.clear();
    }
  }
  EXPECT_LE(test::mbufs_in_use(), before + (4 << 20) / 2304 + kMany * 2 + 16);
  EXPECT_GT(test::mbufs_in_use(), before + (4 << 20) / 2304 / 2);
  EXPECT_TRUE(engine_->consistent());
  // Each could send something, and whose peer acknowledges goes on.
  for (const One& one : all_) ASSERT_GE(one.connection->send_queued(), kPiece);
  use(all_[500]);
  for (unsigned round = 0; round < 100; ++round) {
    acknowledge();
    if (connection_->send_room() >= kPiece) send(kPiece);
  }
  EXPECT_GE(connection_->info().bytes_acked, 50 * kPiece);
}

TEST_F(Pressure, WhatOneMaySendIsCountedAsTheBuffersThatItLiesIn) {
  open_all();
  use(all_[0]);
  while (connection_->send_room() >= kPiece) send(kPiece);
  sent_.clear();
  const Info info = connection_->info();
  EXPECT_GE(info.send_occupied, info.send_queued / kPiece * 2048);
  EXPECT_LE(info.send_occupied, config_.memory_budget / 8);
  EXPECT_GE(info.send_occupied, config_.memory_budget / 10);
  // All of it is given back.
  while (connection_->send_queued() != 0) acknowledge();
  EXPECT_EQ(connection_->info().send_occupied, 0u);
  EXPECT_TRUE(engine_->consistent());
}

TEST_F(Pressure, OutOfOrderDataIsBoundedInAllAndGoesFirst) {
  open_all();
  const unsigned before = test::mbufs_in_use();
  for (unsigned round = 0; round < 8; ++round) {
    for (One& one : all_) give(one, {.sequence = 5001 + 3000 * round, .length = 1460});
  }
  // A quarter of the budget.
  EXPECT_LE(test::mbufs_in_use(), before + (1 << 20) / 2304);
  EXPECT_GT(drops_.get(Reason::tcp_too_many_gaps), 7000u);
  for (unsigned round = 0; round < 20; ++round) {
    for (One& one : all_) {
      if (one.acked > 5000 || one.acked + 1000 > one.edge) continue;
      give(one, {.sequence = one.acked, .length = 1000});
    }
  }
  EXPECT_GT(engine_->stats().reneged, 0u);
  EXPECT_LE(test::mbufs_in_use(), before + (4 << 20) / 2304 + kMany * 2 + 16);
}

}  // namespace
}  // namespace isthmus::tcp
