// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Congestion control: how much may be in flight (RFC 5681, RFC 9438). Loss detection is none of its
// business; it hears of acknowledged bytes and of congestion events. Bytes.
#pragma once

#include <cstdint>

#include "tcp/types.h"
#include "timer/time.h"

namespace isthmus::tcp {

class Congestion {
 public:
  // Initial window of ten segments (RFC 6928); window bounds the growth.
  void start(CongestionControl algorithm, uint32_t mss, uint32_t max_window);
  void set_mss(uint32_t mss) { mss_ = mss; }

  uint32_t window() const { return window_; }
  uint32_t slow_start_threshold() const { return threshold_; }
  bool in_slow_start() const { return window_ < threshold_; }
  uint32_t initial_window() const;

  // New data was acknowledged outside of fast recovery. limited: the window, not the application or
  // the peer, was what held the sender back; otherwise it does not grow (RFC 7661's concern).
  void on_ack(uint32_t acked, timer::Instant now, timer::Duration rtt, bool limited);
  // A loss was detected by other means than the timer: the threshold falls, the window follows by
  // the recovery algorithm's set_window().
  void on_loss(timer::Instant now);
  void on_timeout(uint32_t in_flight, timer::Instant now);
  // The last event was none: as it was before.
  void undo();
  // Recovery steers the window itself (RFC 6937).
  void set_window(uint32_t bytes);
  // Nothing was sent for so many timeouts: the old window means less and less.
  void on_idle(unsigned timeouts);

 private:
  void remember();
  void reduce();
  void grow_cubic(uint32_t acked, timer::Instant now, timer::Duration rtt);
  void grow_reno(uint32_t acked);

  CongestionControl algorithm_ = CongestionControl::cubic;
  uint32_t mss_ = 536;
  uint32_t window_ = 0;
  uint32_t threshold_ = UINT32_MAX;
  uint32_t max_window_ = UINT32_MAX;
  uint32_t credit_ = 0;  // acknowledged bytes that have not made up a segment of growth yet

  // CUBIC, in segments and seconds as RFC 9438 writes it.
  float w_max_ = 0;
  float k_ = 0;
  float w_est_ = 0;
  float prior_ = 0;         // cwnd_prior
  timer::Instant epoch_{};  // zero: the next ACK starts one
  timer::Instant last_ack_{};

  struct Before {
    uint32_t window = 0;
    uint32_t threshold = 0;
    float w_max = 0;
  } before_;
};

}  // namespace isthmus::tcp
