// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "relay/pump.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <optional>
#include <string>

#include "support/pools.h"

namespace isthmus::relay {
namespace {

// A leg whose far end is the test.
class FakeLeg final : public Leg {
 public:
  uint32_t readable() const override { return in.size(); }
  packet::Chain read(uint32_t max) override {
    return in.split_front(std::min(max, in.size()), test::pools().clones);
  }
  bool ended() const override { return far_ended && in.empty(); }
  uint32_t send_room() const override { return room; }
  uint32_t queued() const override { return out.size() - left; }
  void write(packet::Chain&& bytes) override {
    EXPECT_LE(bytes.size(), room);
    EXPECT_FALSE(shut) << "nothing may follow the end";
    room -= bytes.size();
    out.append(std::move(bytes));
  }
  void shutdown() override {
    EXPECT_FALSE(shut) << "once";
    shut = true;
  }
  void abort(Cause cause) override { aborted = cause; }
  void release() override {}

  void receive(const std::string& text) {
    ASSERT_TRUE(in.append_copy({reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                               test::pools().small));
    if (observer_ != nullptr) observer_->on_readable(*this);
  }
  void receive_end() {
    far_ended = true;
    if (observer_ != nullptr) observer_->on_ended(*this);
  }
  void give_room(uint32_t n) {
    room += n;
    if (observer_ != nullptr) observer_->on_writable(*this);
  }
  void close() {
    if (observer_ != nullptr) observer_->on_closed(*this);
  }
  void die(Cause cause) {
    if (observer_ != nullptr) observer_->on_aborted(*this, cause);
  }
  std::string written() const {
    std::string text(out.size(), 0);
    out.copy_out(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
    return text;
  }

  packet::Chain in;
  packet::Chain out;
  uint32_t left = 0;  // of out
  uint32_t room = 1000;
  bool far_ended = false;
  bool shut = false;
  std::optional<Cause> aborted;
};

class Relay : public testing::Test, protected PumpOwner {
 protected:
  void on_pump_done(Pump&, const Outcome& outcome) override {
    EXPECT_FALSE(done.has_value()) << "told once";
    done = outcome;
  }
  void start() { pump.start(a, b, *this); }

  FakeLeg a, b;
  Pump pump;
  std::optional<Outcome> done;
};

TEST_F(Relay, MovesWhatIsThereAtTheStartAndWhatComes) {
  a.receive("early");
  start();
  EXPECT_EQ(b.written(), "early");
  b.receive("answer");
  EXPECT_EQ(a.written(), "answer");
  EXPECT_EQ(pump.first_to_second(), 5u);
  EXPECT_EQ(pump.second_to_first(), 6u);
}

TEST_F(Relay, ReadsNoMoreThanTheOtherSideHasRoomFor) {
  b.room = 3;
  start();
  a.receive("abcdef");
  EXPECT_EQ(b.written(), "abc");
  EXPECT_EQ(a.readable(), 3u) << "what is unread holds the sender back";
  b.give_room(2);
  EXPECT_EQ(b.written(), "abcde");
  b.give_room(2);
  EXPECT_EQ(b.written(), "abcdef");
}

TEST_F(Relay, AnEndClosesOneDirectionAfterItsLastByte) {
  b.room = 2;
  start();
  a.receive("abc");
  a.receive_end();
  EXPECT_FALSE(b.shut) << "a byte is still to come";
  b.give_room(1);
  EXPECT_TRUE(b.shut);
  EXPECT_FALSE(a.shut);
  b.receive("still open");
  EXPECT_EQ(a.written(), "still open");
  EXPECT_FALSE(done);
}

TEST_F(Relay, IsDoneWhenBothLegsAreClosed) {
  start();
  a.receive("x");
  a.receive_end();
  b.receive_end();
  EXPECT_TRUE(a.shut);
  a.close();
  EXPECT_FALSE(done);
  b.close();
  ASSERT_TRUE(done);
  EXPECT_EQ(done->cause, Cause::none);
  EXPECT_EQ(done->first_to_second, 1u);
  EXPECT_FALSE(a.aborted);
  EXPECT_FALSE(pump.running());
}

TEST_F(Relay, BytesOfAClosedLegStillReachASlowOne) {
  b.room = 1;
  start();
  b.receive_end();
  a.receive("abc");
  a.receive_end();
  a.close();
  b.give_room(5);
  EXPECT_EQ(b.written(), "abc");
  EXPECT_TRUE(b.shut);
  b.close();
  EXPECT_TRUE(done);
}

TEST_F(Relay, AnAbortAbortsTheOtherLegAndSaysWhose) {
  start();
  b.die(Cause::timed_out);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->cause, Cause::timed_out);
  EXPECT_FALSE(done->by_first);
  EXPECT_EQ(a.aborted, Cause::cancelled);
  EXPECT_FALSE(b.aborted);
}

TEST_F(Relay, CancelAbortsBothAndTellsNobody) {
  start();
  pump.cancel(Cause::cancelled);
  EXPECT_TRUE(a.aborted);
  EXPECT_TRUE(b.aborted);
  EXPECT_FALSE(done);
}

}  // namespace
}  // namespace isthmus::relay
