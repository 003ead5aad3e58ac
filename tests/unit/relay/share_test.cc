// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Bytes on their way: bounded for the flows of one owner together, and nobody else's business.
#include "relay/share.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "relay/pump.h"
#include "support/pools.h"

namespace isthmus::relay {
namespace {

constexpr uint32_t kFloor = Share::kFloor;
constexpr uint64_t kLimit = uint64_t{3} * kFloor;
constexpr unsigned kMany = 1000;

// Counts bytes; there is always room. What was written stays until the test lets it leave, which,
// as with the real ones, nobody is told.
class CountingLeg final : public Leg {
 public:
  uint32_t readable() const override { return in.size(); }
  packet::Chain read(uint32_t max) override {
    if (starved) return {};
    return in.split_front(std::min(max, in.size()), test::pools().clones);
  }
  bool ended() const override { return false; }
  uint32_t send_room() const override { return 1u << 20; }
  uint32_t queued() const override { return held; }
  void write(packet::Chain&& bytes) override { held += packet::Chain(std::move(bytes)).size(); }
  void shutdown() override {}
  void abort(Cause) override {}
  void release() override {}

  void receive(uint32_t size) {
    const std::vector<uint8_t> bytes(size);
    ASSERT_TRUE(in.append_copy(bytes, test::pools().small));
    if (observer_ != nullptr) observer_->on_readable(*this);
  }

  packet::Chain in;
  uint32_t held = 0;
  bool starved = false;  // no buffer for a cut
};

struct Flow final : PumpOwner {
  explicit Flow(Share& share) { pump.start(from, to, *this, &share); }
  void on_pump_done(Pump&, const Outcome&) override {}

  CountingLeg from;
  CountingLeg to;
  Pump pump;
};

class Shared : public testing::Test {
 protected:
  Shares shares;
  Share share{kLimit, shares};
};

TEST_F(Shared, AFlowIsReadNoFurtherThanItsShareAllows) {
  Flow flow(share);
  flow.from.receive(4 * kFloor);
  EXPECT_EQ(flow.to.held, kLimit);
  EXPECT_EQ(flow.from.readable(), kFloor) << "the sender's window stays shut by what is unread";
  EXPECT_EQ(share.used(), kLimit);
  EXPECT_EQ(share.waiting(), 1u);
  EXPECT_EQ(share.waits(), 1u);
}

TEST_F(Shared, AWaitingFlowGoesOnWhenBytesHaveLeft) {
  Flow flow(share);
  flow.from.receive(4 * kFloor);
  EXPECT_FALSE(shares.resume(kMany));
  EXPECT_EQ(flow.from.readable(), kFloor) << "nothing has left";
  flow.to.held -= kFloor;
  EXPECT_FALSE(shares.resume(kMany));
  EXPECT_EQ(flow.from.readable(), 0u);
  EXPECT_EQ(share.waiting(), 0u);
}

TEST_F(Shared, BytesOfAnotherFlowThatHaveLeftMakeRoom) {
  Flow busy(share);
  Flow late(share);
  busy.from.receive(kLimit);
  late.from.receive(2 * kFloor);
  EXPECT_EQ(late.from.readable(), kFloor);
  busy.to.held = 0;  // and its pump is told nothing
  EXPECT_FALSE(shares.resume(kMany));
  EXPECT_EQ(late.from.readable(), 0u);
  EXPECT_EQ(share.used(), 2 * kFloor);
}

TEST_F(Shared, AReadThatFoundNoBufferIsTriedAgain) {
  for (const uint64_t limit : {kLimit, uint64_t{0}}) {
    for (const uint32_t on_its_way : {kFloor, 0U}) {
      SCOPED_TRACE(testing::Message() << "limit " << limit << ", on its way " << on_its_way);
      Share one(limit, shares);
      Flow flow(one);
      if (on_its_way != 0) flow.from.receive(on_its_way);
      flow.from.starved = true;
      flow.from.receive(100);
      EXPECT_EQ(flow.from.readable(), 100u);
      EXPECT_FALSE(shares.resume(kMany));
      EXPECT_EQ(one.waiting(), 1u);
      flow.from.starved = false;  // and nobody is told
      EXPECT_FALSE(shares.resume(kMany));
      EXPECT_EQ(flow.from.readable(), 0u);
      EXPECT_EQ(one.waiting(), 0u);
    }
  }
}

TEST_F(Shared, AFlowThatEndsWithoutABufferIsNotLookedAtAgain) {
  for (const uint64_t limit : {kLimit, uint64_t{0}}) {
    Share one(limit, shares);
    {
      Flow flow(one);
      flow.from.starved = true;
      flow.from.receive(100);
      EXPECT_EQ(one.waiting(), 1u);
    }
    EXPECT_EQ(one.waiting(), 0u);
    EXPECT_FALSE(shares.resume(kMany));
  }
}

TEST_F(Shared, ReadersThatStandStillStopNoOtherFlow) {
  Flow stuck(share);
  stuck.from.receive(2 * kLimit);
  Flow other(share);
  uint32_t moved = 0;
  for (unsigned round = 0; round < 5; ++round) {
    other.from.receive(kFloor);
    moved += other.to.held;
    other.to.held = 0;
    shares.resume(kMany);
  }
  EXPECT_EQ(moved, 5 * kFloor);
  EXPECT_LE(share.used(), kLimit + kFloor);
}

TEST_F(Shared, BothDirectionsCount) {
  Flow flow(share);
  flow.from.receive(2 * kFloor);
  flow.to.receive(2 * kFloor);
  EXPECT_EQ(flow.to.held, 2 * kFloor);
  EXPECT_EQ(flow.from.held, kFloor);
  EXPECT_EQ(share.used(), kLimit);
}

TEST_F(Shared, AnothersShareIsNotTouched) {
  Share others(kLimit, shares);
  Flow greedy(share);
  Flow other(others);
  greedy.from.receive(2 * kLimit);
  other.from.receive(kLimit);
  EXPECT_EQ(other.from.readable(), 0u);
  EXPECT_EQ(others.waiting(), 0u);
}

TEST_F(Shared, AFlowThatEndsTakesItsBytesAlong) {
  {
    Flow flow(share);
    flow.from.receive(2 * kLimit);
    EXPECT_EQ(share.waiting(), 1u);
    flow.pump.cancel(Cause::cancelled);
    EXPECT_EQ(share.used(), 0u);
    EXPECT_EQ(share.waiting(), 0u);
    EXPECT_FALSE(shares.resume(kMany));
  }
  {
    Flow destroyed(share);
    destroyed.from.receive(2 * kLimit);
  }
  EXPECT_EQ(share.used(), 0u);
  EXPECT_EQ(share.waiting(), 0u);
}

TEST_F(Shared, OneCallLooksAtNoMoreThanItMayAndTheNextGoesOn) {
  std::vector<std::unique_ptr<Flow>> flows;
  for (unsigned i = 0; i < 10; ++i) {
    flows.push_back(std::make_unique<Flow>(share));
    flows.back()->from.receive(2 * kFloor);
  }
  ASSERT_GT(share.waiting(), 4u);
  for (auto& flow : flows) flow->to.held = 0;
  unsigned calls = 1;
  while (shares.resume(3) && calls < 100) ++calls;
  EXPECT_GT(calls, 1u);
  EXPECT_LE(calls, 8u);
  for (auto& flow : flows) flow->to.held = 0;
  while (shares.resume(3) && ++calls < 100) continue;
  EXPECT_EQ(share.waiting(), 0u);
}

TEST_F(Shared, NoLimitIsNone) {
  Share unlimited(0, shares);
  Flow flow(unlimited);
  flow.from.receive(2 * kLimit);
  EXPECT_EQ(flow.to.held, 2 * kLimit);
  EXPECT_EQ(unlimited.used(), 0u);
}

}  // namespace
}  // namespace isthmus::relay
