// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What is sent, when, and again: RFC 6298, RFC 5681, RFC 6675, RFC 8985, windows, buffers.
#include "sending.h"

#include <algorithm>

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
using stats::Reason;

TEST_F(Sending, OneLargePacketWithSegmentationFlags) {
  open_passive();
  send(10'000);
  const Out packet = out();
  EXPECT_EQ(packet.length, 10'000u);
  EXPECT_NE(packet.ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
  EXPECT_EQ(packet.segment_size, 1460);
  EXPECT_GE(packet.headroom, 64);
  EXPECT_EQ(packet.flags, "PA");
  EXPECT_EQ(packet.payload, test::pattern(10'000));
}

// RFC 9293 section 3.7.1: options take their room from the payload, so that no segment exceeds the
// path's MTU, also when data goes out while something is missing.
TEST_F(Sending, SackBlocksTakeTheirRoomFromThePayload) {
  open_passive(sack_syn());
  in({.sequence = 1001, .length = 100});  // behind a gap
  sent_.clear();
  send(1460);
  const Out full = out();
  EXPECT_EQ(full.options.sack_count, 1);
  EXPECT_NE(full.ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
  EXPECT_EQ(full.segment_size, 1460 - 12);
}

TEST_F(Sending, SmallPacketIsCopiedBehindItsHeader) {
  open_passive();
  send(100);
  const Out packet = out();
  EXPECT_EQ(packet.segments, 1);
  EXPECT_EQ(packet.ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
}

TEST_F(Sending, PacketsStayWithinWhatIpCanCarry) {
  config_.send_buffer = config_.max_send_buffer = 1 << 20;
  make_engine();
  SegmentOptions options = sack_syn();
  options.has_scale = true;
  options.scale = 10;
  open_passive(options, 65535);
  send(400'000, 16'384);
  uint32_t acked = 1;
  for (int round = 0; round < 12; ++round) {
    while (anything_out()) {
      const Out packet = out();
      EXPECT_LE(packet.length, 65'535u - 120);
      acked += packet.length;
    }
    in({.acknowledgment = acked});
    run(1ms);
  }
  EXPECT_EQ(acked, 400'001u);
}

TEST_F(Sending, Rfc6928InitialWindowIsTenSegments) {
  open_passive();
  send(100'000);
  EXPECT_EQ(drain(), 14'600u);
}

TEST_F(Sending, SlowStartGrowsByWhatIsAcknowledged) {
  open_passive();
  send(200'000);
  drain();
  in({.acknowledgment = 1 + 2920});
  EXPECT_EQ(drain(), 2 * 2920u);
}

TEST_F(Sending, WindowDoesNotGrowWhileTheApplicationIsTheLimit) {
  open_passive();
  uint32_t acked = 1;
  for (int i = 0; i < 50; ++i) {
    send(100);
    acked += drain();
    run(10ms);
    in({.acknowledgment = acked});
  }
  EXPECT_EQ(connection_->info().congestion_window, 14'600u);
}

TEST_F(Sending, Rfc6298RetransmissionBacksOffAndKarnKeepsTheEstimate) {
  open_passive();
  const uint32_t rtt = connection_->info().rtt;
  send(100);
  drain();
  timer::Duration expected = 200ms + timer::Duration(rtt);
  for (int i = 0; i < 4; ++i, expected *= 2) {
    const auto waited = time_to_packet();
    EXPECT_GE(waited, expected);
    EXPECT_LE(waited, expected + 1ms);
    expect("PA", 1, 1, 100);
  }
  in({.acknowledgment = 101});
  EXPECT_EQ(connection_->info().rtt, rtt);
  EXPECT_EQ(connection_->info().backoff, 0);
}

TEST_F(Sending, Must20DataUnacknowledgedForSoLongEndsTheConnection) {
  options_.user_timeout = 30s;
  open_passive();
  send(100);
  run(29s);
  EXPECT_EQ(take_events() & kFailed, 0);
  run(2s);
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_EQ(sent_.back().flags, "RA");
  sent_.clear();
}

TEST_F(Sending, Rfc5681ThreeDuplicateAcksRetransmitWithoutSack) {
  open_passive();
  send(14'600);
  drain();
  in({});
  in({});
  expect_none();
  in({});
  expect("A", 1, 1, 1460);
  EXPECT_STREQ(connection_->info().congestion_state, "recovery");
}

TEST_F(Sending, Rfc6582PartialAckRetransmitsTheNextHole) {
  open_passive();
  send(14'600);
  drain();
  for (int i = 0; i < 5; ++i) in({});
  drain();
  in({.acknowledgment = 1 + 1460});
  const Out next = out();
  EXPECT_EQ(next.sequence, 1 + 1460u);
  EXPECT_EQ(next.length, 1460u);
  sent_.clear();
  in({.acknowledgment = 14'601});
  EXPECT_STREQ(connection_->info().congestion_state, "open");
}

TEST_F(Sending, Rfc6675SackedHolesAreFilledAndNothingElse) {
  open_passive(sack_syn());
  send(14'600);
  drain();
  now_ += 20ms;
  in(sack(1, {{1461, 2921}}));
  in(sack(1, {{1461, 4381}}));
  in(sack(1, {{1461, 4381}, {5841, 7301}}));
  const Out first = out();
  EXPECT_EQ(first.sequence, 1u);
  EXPECT_EQ(first.length, 1460u);
  in(sack(1, {{5841, 14'601}, {1461, 4381}}));
  std::vector<std::pair<uint32_t, uint32_t>> sent;
  while (anything_out()) {
    const Out packet = out();
    sent.emplace_back(packet.sequence, packet.length);
  }
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0], std::pair(4381u, 1460u));
  in(sack(14'601, {}));
  EXPECT_EQ(connection_->send_queued(), 0u);
  EXPECT_STREQ(connection_->info().congestion_state, "open");
}

TEST_F(Sending, Rfc9438RecoveryReducesTheWindowToSevenTenths) {
  open_passive(sack_syn());
  send(14'600);
  drain();
  now_ += 20ms;
  in(sack(1, {{1461, 5841}}));
  drain();
  in(sack(14'601, {}));
  EXPECT_EQ(connection_->info().congestion_window, 10'220u);
  EXPECT_EQ(connection_->info().slow_start_threshold, 10'220u);
}

TEST_F(Sending, BogusSackBlocksAreIgnored) {
  open_passive(sack_syn());
  send(14'600);
  drain();
  in(sack(1, {{20'000, 30'000}}));        // beyond what was sent
  in(sack(1, {{5841, 4381}}));            // inverted
  in(sack(1, {{1u - 5000, 1u - 4000}}));  // below: at most a duplicate
  in(sack(1, {{1, 1461}}));               // the first byte is not acknowledged, though
  EXPECT_EQ(connection_->info().sacked, 0u);
  EXPECT_EQ(connection_->info().lost, 0u);
  EXPECT_EQ(drops_.get(Reason::tcp_bad_sack), 2u);
  sent_.clear();
}

TEST_F(Sending, Rfc2018RenegedDataIsSentAgain) {
  open_passive(sack_syn());
  send(2920);
  drain();
  in(sack(1, {{1461, 2921}}));
  sent_.clear();
  // The peer forgets: after the timer everything is sent again.
  in({.acknowledgment = 1461});
  EXPECT_EQ(connection_->info().sacked, 1460u);
  run(2s);
  EXPECT_GE(drain(), 1460u);
  in({.acknowledgment = 2921});
  EXPECT_EQ(connection_->send_queued(), 0u);
}

TEST_F(Sending, Rfc8985TailLossProbeAfterTwoRoundTrips) {
  options_.mtu = 1500;
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  now_ += 20ms;
  In answer{.flags = "SA", .sequence = 0, .acknowledgment = 1, .options = sack_syn()};
  in(answer);
  out();
  send(4380);
  drain();
  const auto waited = time_to_packet();
  EXPECT_GE(waited, 40ms);
  EXPECT_LE(waited, 50ms);
  expect("PA", 1 + 2920, 1, 1460);
  EXPECT_EQ(connection_->info().tail_probes, 1u);
  EXPECT_EQ(connection_->info().timeouts, 0u);
  // The probe's answer shows the hole, which is filled at once.
  now_ += 20ms;
  in(sack(1461, {{2921, 4381}}));
  expect("A", 1461, 1, 1460);
}

TEST_F(Sending, Rfc8985ReorderedSegmentsCauseNoRetransmission) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  now_ += 20ms;
  in({.flags = "SA", .sequence = 0, .acknowledgment = 1, .options = sack_syn()});
  out();
  // The first reordering of a path is not known yet: three segments overtake, and a quarter of the
  // round trip is waited.
  send(4380);
  drain();
  now_ += 20ms;
  in(sack(1, {{1461, 2921}}));
  in(sack(1, {{1461, 4381}}));
  expect_none();
  now_ += 2ms;
  in({.acknowledgment = 4381});
  expect_none();
  EXPECT_EQ(connection_->info().retransmissions, 0u);
}

TEST_F(Sending, Rfc3522SpuriousTimeoutIsUndone) {
  SegmentOptions options = sack_syn();
  options.has_timestamp = true;
  options.timestamp = 1;
  open_passive(options);
  send(14'000);
  const Out original = out();
  sent_.clear();
  const uint32_t window = connection_->info().congestion_window;
  run(400ms);
  EXPECT_GE(connection_->info().timeouts, 1u);
  sent_.clear();
  // The ACK of the original comes late: its echo is older than the retransmission.
  In late{.acknowledgment = 14'001};
  late.options.has_timestamp = true;
  late.options.timestamp = 2;
  late.options.echo = original.options.timestamp;
  in(late);
  EXPECT_EQ(connection_->info().spurious_recoveries, 1u);
  EXPECT_GE(connection_->info().congestion_window, window);
}

TEST_F(Sending, Must35Must36ZeroWindowIsProbedWithBackoff) {
  open_passive();
  send(1000);
  drain();
  in({.acknowledgment = 1001, .window = 0});
  send(1000);
  expect_none();
  timer::Duration last{};
  for (int i = 0; i < 5; ++i) {
    const auto waited = time_to_packet();
    EXPECT_GE(waited, last * 3 / 2);
    last = waited;
    expect("A", 1000, 1);
    in({.acknowledgment = 1001, .window = 0});
  }
  in({.acknowledgment = 1001, .window = 5000});
  expect("PA", 1001, 1, 1000);
}

TEST_F(Sending, Must37AClosedWindowThatIsAcknowledgedStaysOpen) {
  options_.stall_timeout = {};
  open_passive();
  in({.window = 0});
  send(1000);
  for (timer::Instant end = now_ + 2h; now_ < end;) {
    time_to_packet();
    sent_.clear();
    ASSERT_TRUE(in({.window = 0}));
  }
  EXPECT_EQ(connection_->state(), State::established);
}

TEST_F(Sending, StallIsBoundedByPolicy) {
  options_.stall_timeout = 60s;
  open_passive();
  in({.window = 0});
  send(1000);
  for (int i = 0; i < 100 && connection_ != nullptr; ++i) {
    time_to_packet();
    sent_.clear();
    in({.window = 0});
  }
  EXPECT_EQ(failure_, Failure::timed_out);
}

TEST_F(Sending, Must38SillyWindowIsNotFilled) {
  open_passive();
  send(1460);
  drain();
  in({.acknowledgment = 1461, .window = 100});
  send(5000);
  expect_none();
  // The persist timer overrides.
  EXPECT_LE(time_to_packet(), 1s);
  EXPECT_EQ(out().length, 100u);
}

TEST_F(Sending, Must34AWindowThatShrinksIsBorne) {
  open_passive();
  send(14'600);
  drain();
  in({.window = 1000});
  in({.acknowledgment = 1461, .window = 0});
  run(5s);
  sent_.clear();
  in({.acknowledgment = 14'601, .window = 65535});
  send(10);
  expect("PA", 14'601, 1, 10);
}

TEST_F(Sending, WindowUpdateByAnOldSegmentIsIgnored) {
  open_passive();
  in({.length = 10, .window = 20'000});
  in({.sequence = 11, .length = 10, .window = 30'000});
  sent_.clear();
  in({.sequence = 1, .length = 10, .window = 10});
  EXPECT_EQ(connection_->info().send_window, 30'000u);
  sent_.clear();
}

TEST_F(Sending, Must17NagleCanBeOn) {
  options_.nagle = true;
  open_passive();
  send(10);
  expect("PA", 1, 1, 10);
  send(10);
  expect_none();
  in({.acknowledgment = 11});
  expect("PA", 11, 1, 10);
}

TEST_F(Sending, RoomAndItsReturnAreTold) {
  open_passive();
  const uint32_t room = connection_->send_room();
  EXPECT_EQ(room, config_.send_buffer);
  send(room);
  EXPECT_EQ(connection_->send_room(), 0u);
  uint32_t acked = 1;
  uint16_t events = 0;
  for (int i = 0; i < 20 && (events & kWritable) == 0; ++i) {
    acked += drain();
    in({.acknowledgment = acked});
    events |= take_events();
  }
  EXPECT_NE(events & kWritable, 0);
  EXPECT_GE(connection_->send_room(), config_.send_buffer / 4);
  sent_.clear();
}

// The room follows the congestion window, so a loss can take it away between two calls of the user.
TEST_F(Sending, RoomThatALossTookIsToldWhenItReturns) {
  config_.send_buffer = 16'000;
  config_.max_send_buffer = 1 << 20;
  make_engine();
  SegmentOptions options = sack_syn();
  options.has_scale = true;
  options.scale = 10;
  open_passive(options, 65535);
  uint32_t acked = 1;
  for (int round = 0; round < 3; ++round) {
    send(connection_->info().congestion_window);
    acked += drain();
    in({.acknowledgment = acked});
  }
  take_events();
  const uint32_t window = connection_->info().congestion_window;
  send(window / 100 * 145);
  const uint32_t flight = drain();
  EXPECT_GT(connection_->send_room(), 0u);
  EXPECT_EQ(take_events(), 0);
  for (uint32_t segments = 1; segments <= 4; ++segments) {
    in(sack(acked, {{acked + 1460, acked + 1460 * (segments + 1)}}));
  }
  run(std::chrono::seconds(1));  // at the latest now it is taken for a loss
  EXPECT_EQ(connection_->send_room(), 0u);
  EXPECT_EQ(take_events() & kWritable, 0);
  in({.acknowledgment = acked + flight});
  EXPECT_NE(take_events() & kWritable, 0);
  drain();
}

TEST_F(Sending, AShortQueueTakesLittleMoreThanTheWindowsLetGo) {
  constexpr uint32_t kReserve = 16 << 10;
  config_.short_queue = 64 << 10;
  make_engine();
  open_passive(scaled_syn(8));
  connection_->set_short_queue(true);
  const uint32_t window = connection_->info().congestion_window;
  ASSERT_LT(window + kReserve, config_.short_queue);
  EXPECT_EQ(connection_->send_room(), window + kReserve);
  send(window + kReserve);
  uint32_t next = 1 + drain();
  EXPECT_EQ(connection_->info().not_sent, kReserve);
  EXPECT_EQ(connection_->send_room(), 0u) << "the window is full";
  EXPECT_EQ(take_events() & kWritable, 0);
  // Room again, when the reserve has gone out by itself.
  in({.acknowledgment = next});
  EXPECT_NE(take_events() & kWritable, 0);
  next += drain();
  EXPECT_EQ(connection_->info().not_sent, 0u);
  EXPECT_GE(connection_->send_room(), kReserve / 2);
  // An open window is not filled at once either.
  next = grow_window(4 * config_.short_queue, std::chrono::milliseconds(10), next);
  EXPECT_EQ(connection_->send_room(), config_.short_queue);
  take_events();
  send(config_.short_queue);
  drain();
  EXPECT_NE(take_events() & kWritable, 0) << "told by what left, not by an ACK";
}

TEST_F(Sending, EmptyPoolPutsOffAndIsCounted) {
  open_passive(sack_syn());
  packet::Chain chain;
  ASSERT_TRUE(chain.append_copy(test::pattern(5000), test::pools().small));
  std::vector<rte_mbuf*> hoard;
  while (rte_mbuf* m = rte_pktmbuf_alloc(test::pools().clones)) hoard.push_back(m);
  connection_->send(std::move(chain));
  flush();
  expect_none();
  EXPECT_GE(engine_->stats().no_buffer, 1u);
  EXPECT_EQ(connection_->info().limit, SendLimit::buffers);
  for (rte_mbuf* m : hoard) rte_pktmbuf_free(m);
  EXPECT_LE(time_to_packet(), 2ms);
  EXPECT_EQ(out().length, 5000u);
}

TEST_F(Sending, KeepaliveProbesThenGivesUp) {
  options_.keepalive_idle = 60s;
  options_.keepalive_interval = 10s;
  options_.keepalive_probes = 3;
  open_passive();
  EXPECT_GE(time_to_packet(), 60s);
  expect("A", 0, 1);
  in({});  // alive
  EXPECT_GE(time_to_packet(), 60s);
  run(60s);
  EXPECT_EQ(failure_, Failure::timed_out);
  EXPECT_EQ(sent_.size(), 4u);  // and a RST
  sent_.clear();
}

TEST_F(Sending, Must25KeepaliveIsOffByDefault) {
  open_passive();
  run(5h);
  expect_none();
  EXPECT_EQ(connection_->state(), State::established);
}

class Icmp : public Sending {
 protected:
  bool error(uint8_t type, uint8_t code, uint32_t sequence, uint32_t mtu = 0) {
    const IcmpError error{.tuple = {local_, remote_},
                          .type = type,
                          .code = code,
                          .mtu = mtu,
                          .sequence = iss_ + sequence};
    const bool known = engine_->icmp_error(error, now_);
    flush();
    return known;
  }
};

TEST_F(Icmp, Must56SoftAndHardErrorsDoNotEndAnEstablishedConnection) {
  open_passive();
  send(1000);
  sent_.clear();
  for (uint8_t code = 0; code < 16; ++code) {
    if (code == 4) continue;
    EXPECT_TRUE(error(3, code, 1));
  }
  EXPECT_TRUE(error(4, 0, 1));  // MUST-55: source quench
  EXPECT_EQ(connection_->state(), State::established);
  EXPECT_EQ(connection_->info().congestion_window, 14'600u);
}

TEST_F(Icmp, HardErrorEndsAnAttemptToConnect) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  out();
  error(3, 3, 5);  // not our SYN
  EXPECT_EQ(take_events(), 0);
  error(3, 3, 0);
  EXPECT_EQ(take_events(), kFailed);
  EXPECT_EQ(failure_, Failure::unreachable);
}

TEST_F(Icmp, Rfc5927PathMtuFallsOnlyForWhatIsInFlight) {
  open_passive();
  send(14'600);
  drain();
  error(3, 4, 20'000, 1000);
  EXPECT_EQ(connection_->info().send_mss, 1460);
  error(3, 4, 1, 1000);
  EXPECT_EQ(connection_->info().send_mss, 960);
  // Sent again in the new size, with the old window.
  EXPECT_EQ(out().segment_size, 960);
  EXPECT_GE(connection_->info().congestion_window, 14'600u);
  drain();
  error(3, 4, 1, 68);
  EXPECT_EQ(connection_->info().send_mss, 536);
  error(3, 4, 1, 1400);
  EXPECT_EQ(connection_->info().send_mss, 536);
  sent_.clear();
}

// RFC 5681 section 2: what a copy of an ACK seemed to say is taken back by the ACKs behind it.
TEST_F(Sending, Rfc5681WithoutSackACopiedAckIsForgotten) {
  open_after(20ms, syn_options());
  uint32_t next = grow_window(60'000, 20ms);
  uint32_t acked = next;
  send(400'000);
  next += drain();
  const uint32_t mss = connection_->info().send_mss;
  now_ += 5ms;
  in({.acknowledgment = acked});
  in({.acknowledgment = acked});
  next += drain();
  acked += mss;
  in({.acknowledgment = acked});
  next += drain();
  for (int i = 0; i < 8; ++i) {
    now_ += 2ms;
    acked += 4 * mss;
    in({.acknowledgment = acked});
    next += drain();
  }
  EXPECT_EQ(connection_->info().in_flight, next - acked);
  EXPECT_LE(next - acked, connection_->info().congestion_window);
}

}  // namespace
}  // namespace isthmus::tcp
