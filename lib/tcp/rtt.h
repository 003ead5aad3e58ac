// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Round-trip times and the retransmission timeout (RFC 6298). Microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::tcp {

class RttEstimator {
 public:
  // A measurement of a segment that was not sent twice (Karn, MUST-18), and its second.
  void sample(timer::Duration measured, uint32_t now) {
    const auto rtt = static_cast<uint32_t>(std::clamp<int64_t>(measured.count(), 1, kLongest));
    if (smoothed_ == 0) {
      smoothed_ = rtt;
      variance_ = rtt / 2;
    } else {
      const uint32_t error = smoothed_ > rtt ? smoothed_ - rtt : rtt - smoothed_;
      variance_ = (3 * variance_ + error) / 4;
      smoothed_ = (7 * smoothed_ + rtt) / 8;
      smoothed_ = std::max(smoothed_, 1u);
    }
    note_minimum(rtt, now);
  }
  // The path's floor, over the last minutes: a route may become longer.
  void note_minimum(uint32_t rtt, uint32_t now) {
    if (minimum_ == 0 || rtt <= minimum_ || now - minimum_at_ > kMinimumAge) {
      minimum_ = rtt;
      minimum_at_ = now;
    }
  }

  // As another instance left it.
  void resume(uint32_t smoothed, uint32_t variance, uint32_t minimum, uint32_t now) {
    const auto longest = static_cast<uint32_t>(kLongest);
    smoothed_ = std::min(smoothed, longest);
    variance_ = std::min(variance, longest);
    minimum_ = std::min(minimum, smoothed_);
    minimum_at_ = now;
  }

  // Without backoff. The floor is added to the smoothed time rather than compared with the sum: a
  // path whose variance has decayed to nothing must still bear a delayed ACK.
  timer::Duration timeout(timer::Duration initial, timer::Duration floor) const {
    if (smoothed_ == 0) return initial;
    return timer::Duration(smoothed_) +
           std::max<timer::Duration>(timer::Duration(4 * variance_), floor);
  }

  uint32_t smoothed() const { return smoothed_; }  // zero before the first sample
  uint32_t variance() const { return variance_; }
  uint32_t minimum() const { return minimum_; }

 private:
  static constexpr int64_t kLongest = 60'000'000;
  static constexpr uint32_t kMinimumAge = 300;  // seconds

  uint32_t smoothed_ = 0;
  uint32_t variance_ = 0;
  uint32_t minimum_ = 0;
  uint32_t minimum_at_ = 0;  // seconds
};

}  // namespace isthmus::tcp
