// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Exact exchanges, written as packetdrill scripts are: a segment goes in, a segment is expected
// out, at a stated time. One engine, one connection, the test is its peer. Sequence numbers are
// relative: ours to our SYN, the peer's to its SYN, so the SYN is 0 and the first byte 1.
#pragma once

#include <cstdint>
#include <deque>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "packet/headers.h"
#include "support/packets.h"
#include "support/pools.h"
#include "tcp/engine.h"
#include "tcp/options.h"
#include "tcp/segment.h"

namespace isthmus::tcp {

// Flags by letter: "S", "SA", "A", "PA", "FA", "R", "RA", "UA".
uint8_t flags_of(std::string_view letters);
std::string letters_of(uint8_t flags);

struct In {
  std::string_view flags = "A";
  uint32_t sequence = 1;
  uint32_t acknowledgment = 1;
  uint32_t length = 0;
  uint16_t window = 65535;
  uint8_t ecn = 0;          // of the IP header
  SegmentOptions options;   // absolute timestamps; SACK blocks relative to our SYN
  test::Bytes raw_options;  // instead of options
  uint8_t first_byte = 0;   // of the payload's pattern
};

struct Out {
  std::string flags;
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  uint32_t length = 0;
  uint32_t window = 0;  // as in the header
  uint8_t ecn = 0;      // of the IP header
  uint8_t dscp = 0;
  uint8_t ttl = 0;
  SegmentOptions options;
  uint64_t ol_flags = 0;
  uint16_t segment_size = 0;
  uint16_t headroom = 0;
  uint16_t segments = 0;
  test::Bytes payload;
};

class Script : public testing::Test, public Output, public Handler {
 protected:
  Script();
  ~Script() override;

  void make_engine();  // again, after config was changed
  void transmit(rte_mbuf* packet, uint32_t path) override;
  void on_tcp(Connection& connection, uint16_t events) override;

  // The peer's SYN (timestamps, SACK and scale only where asked for).
  static SegmentOptions syn_options(uint16_t mss = 1460);
  // Opens; afterwards nothing is unread and no event is pending.
  void open_passive(const SegmentOptions& options = syn_options(), uint16_t window = 65535);
  void open_active(const SegmentOptions& options = syn_options(), uint16_t window = 65535);

  // Gives a segment to the engine; without flush(), as within a burst. False: no connection.
  bool put(const In& in);
  // The same with flush().
  bool in(const In& in);
  void flush() { engine_->flush(now_); }
  // Lets time pass, timers run.
  void run(timer::Duration duration);
  // Time until the next packet leaves, at most limit.
  timer::Duration time_to_packet(timer::Duration limit = std::chrono::seconds(200));

  // The next packet that left.
  Out out();
  // It is this one; sequence and acknowledgment relative.
  void expect(std::string_view flags, uint32_t sequence, uint32_t acknowledgment,
              uint32_t length = 0);
  void expect_none();
  bool anything_out() const { return !sent_.empty(); }

  void send(uint32_t bytes, uint32_t buffer = 2048);
  uint16_t take_events();
  test::Bytes take(uint32_t max = UINT32_MAX);

  packet::Parsed parsed(rte_mbuf* packet);
  rte_mbuf* segment(const In& in);

  Config config_;
  Options options_;
  Secrets secrets_;
  stats::ReasonCounters drops_;
  timer::Instant now_{std::chrono::hours(1)};
  packet::Endpoint local_ = test::endpoint("10.0.0.2:80");
  packet::Endpoint remote_ = test::endpoint("10.0.0.1:40000");
  std::unique_ptr<Engine> engine_;
  Connection* connection_ = nullptr;
  uint32_t iss_ = 0;
  uint32_t irs_ = 0xfffffff0;  // the peer's numbers wrap at once
  uint16_t events_ = 0;
  Failure failure_ = Failure::none;
  bool take_at_end_ = true;
  std::deque<Out> sent_;
  unsigned mbufs_before_;
};

}  // namespace isthmus::tcp
