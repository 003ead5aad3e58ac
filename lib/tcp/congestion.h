// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Congestion control: how much may be in flight (RFC 5681, RFC 9438, RFC 9406). Loss detection is
// none of its business; it hears of acknowledged bytes and of congestion events. Bytes.
//
// Another algorithm is another value of CongestionControl, a grow_ function and its share of
// reduce(): one switch at each, and no virtual call for each ACK.
#pragma once

#include <cstdint>

#include "tcp/sequence.h"
#include "tcp/types.h"
#include "timer/time.h"

namespace isthmus::tcp {

// What an ACK of new data, outside of fast recovery, says.
struct AckSample {
  uint32_t acked = 0;
  Seq una = 0;  // after it
  Seq nxt = 0;
  timer::Instant now{};
  timer::Duration smoothed_rtt{};
  timer::Duration rtt{-1};  // measured by this ACK; negative: not
  // The window, not the application or the peer, was what held the sender back; otherwise it does
  // not grow (RFC 7661's concern).
  bool limited = false;
};

class Congestion {
 public:
  // Initial window of ten segments (RFC 6928); window bounds the growth.
  void start(CongestionControl algorithm, uint32_t mss, uint32_t max_window);
  void set_mss(uint32_t mss) { mss_ = static_cast<uint16_t>(mss); }

  uint32_t window() const { return window_; }
  uint32_t slow_start_threshold() const { return threshold_; }
  bool in_slow_start() const { return window_ < threshold_; }
  uint32_t initial_window() const;

  void on_ack(const AckSample& ack);
  // What an event changes, for undo(): kept only as long as that may come.
  struct Before {
    uint32_t window = 0;
    uint32_t threshold = 0;
    float w_max = 0;
  };
  // A loss was detected by other means than the timer: the threshold falls, the window follows by
  // the recovery algorithm's set_window().
  Before on_loss(timer::Instant now);
  Before on_timeout(uint32_t in_flight, timer::Instant now);
  // As another instance left it; what it had learnt of time begins anew.
  void resume(uint32_t window, uint32_t threshold) {
    threshold_ = threshold;
    set_window(window);
  }
  // The last event was none: as it was before.
  void undo(const Before& before);
  // Recovery steers the window itself (RFC 6937).
  void set_window(uint32_t bytes);
  // Takes this window outside of slow start, and grows from it as from one that a loss found.
  void settle(uint32_t window);
  // Nothing was sent for so many timeouts: the old window means less and less.
  void on_idle(unsigned timeouts);

 private:
  // HyStart++ (RFC 9406): slow start ends when the round-trip time of a round of data rises, after
  // some rounds of slower growth that show whether it meant something.
  struct HyStart {
    Seq round_end;
    uint32_t last_min;     // microseconds; UINT32_MAX: none
    uint32_t current_min;  // of this round
    uint32_t baseline;     // where growth was slowed down; zero while it isn't
    uint8_t samples;
    uint8_t slow_rounds;
    bool started;
  };
  // In segments and seconds as RFC 9438 writes it.
  struct Cubic {
    float w_max;
    float k;
    float w_est;
    float prior;     // cwnd_prior
    uint32_t epoch;  // low bits of microseconds; valid while in_epoch_
  };

  Before remember();
  void reduce();
  void grow_slow_start(uint32_t acked);
  void look_at_round(const AckSample& ack);
  void grow_cubic(uint32_t acked, const AckSample& ack);
  void grow_reno(uint32_t acked);

  uint32_t window_ = 0;
  uint32_t threshold_ = UINT32_MAX;
  uint32_t max_window_ = UINT32_MAX;
  uint32_t credit_ = 0;  // acknowledged bytes that have not made up a segment of growth yet
  uint16_t mss_ = 536;
  CongestionControl algorithm_ = CongestionControl::cubic;
  bool in_epoch_ = false;  // of CUBIC; otherwise the next ACK starts one
  // Low bits of microseconds, as the epoch: both are looked at within a retransmission timeout, as
  // after a longer pause either the timer has expired or an idle connection has started again, and
  // with it the epoch.
  uint32_t last_ack_ = 0;
  // The first while the threshold is unset, the second from then on.
  union {
    HyStart hystart_;
    Cubic cubic_ = {};
  };
};

}  // namespace isthmus::tcp
