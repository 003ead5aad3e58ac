// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Paths that swallow large packets, and their way back: RFC 4821, RFC 8899.
#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class PathMtu : public Sending {
 protected:
  // Nothing larger than a cautious segment passes.
  void fall_into_the_hole() {
    open_after(20ms, scaled_syn(7));
    send(14'600);
    for (int i = 0; i < 10 && connection_->info().send_mss == 1460; ++i) time_to_packet();
    ASSERT_EQ(connection_->info().send_mss, 1200);
    sent_.clear();
  }
  // All that was sent is acknowledged; the largest size of a segment among it.
  uint32_t pass(uint32_t& acked) {
    uint32_t largest = 0;
    while (anything_out()) {
      const Out packet = out();
      const bool cut = (packet.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
      largest = std::max<uint32_t>(largest, cut ? packet.segment_size : packet.length);
      if (packet.length != 0) acked = std::max(acked, packet.sequence + packet.length);
    }
    now_ += 20ms;
    in({.acknowledgment = acked});
    return largest;
  }
  void leave_the_hole(uint32_t& acked) {
    while (connection_->send_queued() != 0) {
      if (!anything_out()) time_to_packet();
      EXPECT_LE(pass(acked), 1200u);
    }
    sent_.clear();
  }
};

TEST_F(PathMtu, Rfc4821ThreeTimeoutsOfFullSegmentsLowerTheSize) {
  fall_into_the_hole();
  EXPECT_EQ(connection_->info().timeouts, 3u);
  uint32_t acked = 1;
  leave_the_hole(acked);
  EXPECT_EQ(acked, 14'601u);
}

TEST_F(PathMtu, Rfc4821SmallSegmentsThatTimeOutSayNothingAboutTheSize) {
  open_after(20ms, sack_syn());
  send(500);
  run(10s);
  EXPECT_GE(connection_->info().timeouts, 3u);
  EXPECT_EQ(connection_->info().send_mss, 1460);
  sent_.clear();
}

TEST_F(PathMtu, Rfc4821TheLowestSizeIsTriedLast) {
  open_after(20ms, sack_syn());
  send(14'600);
  run(60s);
  EXPECT_EQ(connection_->info().send_mss, 536);
  sent_.clear();
}

TEST_F(PathMtu, Rfc8899AProbeThatArrivesRaisesTheSize) {
  fall_into_the_hole();
  uint32_t acked = 1;
  leave_the_hole(acked);
  run(61s);
  send(10'000);
  EXPECT_EQ(pass(acked), 1460u);
  EXPECT_EQ(connection_->info().send_mss, 1460);
  EXPECT_EQ(acked, 24'601u);
}

TEST_F(PathMtu, Rfc8899BeforeItsTimeNothingIsProbed) {
  fall_into_the_hole();
  uint32_t acked = 1;
  leave_the_hole(acked);
  run(10s);
  send(10'000);
  EXPECT_EQ(pass(acked), 1200u);
}

TEST_F(PathMtu, Rfc4821AProbeThatIsLostCostsNoWindow) {
  fall_into_the_hole();
  uint32_t acked = 1;
  leave_the_hole(acked);
  run(61s);
  const uint32_t window = connection_->info().congestion_window;
  send(10'000);
  const Out probe = out();
  EXPECT_EQ(probe.length, 1460u);
  EXPECT_EQ(probe.ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
  sent_.clear();
  now_ += 20ms;
  in(sack(acked, {{acked + 1460, acked + 1460 + 3600}}));
  const Out again = out();
  EXPECT_EQ(again.sequence, acked);
  EXPECT_EQ(again.segment_size, 1200);
  EXPECT_STREQ(connection_->info().congestion_state, "open");
  EXPECT_GE(connection_->info().congestion_window, window);
  sent_.clear();
  now_ += 20ms;
  in({.acknowledgment = acked + 10'000});
  acked += 10'000;
  // Not again for ten minutes.
  run(9min);
  send(10'000);
  EXPECT_EQ(pass(acked), 1200u);
  run(2min);
  send(10'000);
  EXPECT_EQ(pass(acked), 1460u);
}

TEST_F(PathMtu, Rfc1191AnIcmpErrorIsForgottenAfterTenMinutes) {
  open_after(20ms, sack_syn());
  uint32_t acked = 1;
  send(14'600);
  sent_.clear();
  const IcmpError error{
      .tuple = {local_, remote_}, .type = 3, .code = 4, .mtu = 1000, .sequence = iss_ + 1};
  engine_->icmp_error(error, now_);
  flush();
  EXPECT_EQ(connection_->info().send_mss, 960);
  while (connection_->send_queued() != 0) pass(acked);
  run(11min);
  send(10'000);
  EXPECT_EQ(pass(acked), 1460u);
  EXPECT_EQ(connection_->info().send_mss, 1460);
  sent_.clear();
}

// Before the SYN-ACK the size is an assumption; what lowered that is nothing to go back to.
TEST_F(PathMtu, Rfc1191AnIcmpErrorAboutTheSynIsForgottenWithTheAssumption) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "S");
  engine_->icmp_error(
      {.tuple = {local_, remote_}, .type = 3, .code = 4, .mtu = 576, .sequence = iss_}, now_);
  now_ += 20ms;
  in({.flags = "SA", .sequence = 0, .options = sack_syn()});
  sent_.clear();
  run(11min);
  uint32_t acked = 1;
  for (int i = 0; i < 3; ++i) {
    send(10'000);
    EXPECT_EQ(pass(acked), 1460u);
  }
  EXPECT_EQ(connection_->info().send_mss, 1460);
  sent_.clear();
}

}  // namespace
}  // namespace isthmus::tcp
