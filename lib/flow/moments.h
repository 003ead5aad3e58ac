// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// When the steps of a flow's opening happened: one instant, and what passed until each of the
// others, in 32 bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::flow {

// In the order in which they usually come.
enum Moment : uint8_t {
  kCaptured,   // the SYN, or the CONNECT, arrived
  kDecided,    // the verdict and the endpoint were chosen
  kDialled,    // the upstream leg was begun (SYN sent, or a stream asked of the pool)
  kUpstream,   // the upstream leg is connected (SYN-ACK seen, or 200 received)
  kAccepted,   // the client was answered (SYN-ACK sent, or 200 sent)
  kFirstByte,  // the first payload byte towards the client
  kMomentCount
};

class Moments {
 public:
  Moments() = default;
  explicit Moments(timer::Instant captured) : captured_(captured) {}

  // None but kCaptured, at or after it. Exact for half an hour, to the millisecond for 24 days.
  void mark(Moment moment, timer::Instant at) {
    const auto micros = static_cast<uint64_t>((at - captured_).count());
    after_[moment - 1] =
        micros < kMillis - 1
            ? static_cast<uint32_t>(micros + 1)
            : kMillis | static_cast<uint32_t>(std::min<uint64_t>(micros / 1000, kMillis - 1));
  }
  bool happened(Moment moment) const { return moment == kCaptured || after_[moment - 1] != 0; }
  timer::Instant captured() const { return captured_; }
  // Since it was captured; of what happened.
  timer::Duration after(Moment moment) const {
    if (moment == kCaptured) return {};
    const uint32_t value = after_[moment - 1];
    return timer::Duration((value & kMillis) == 0 ? int64_t{value} - 1
                                                  : int64_t{value & ~kMillis} * 1000);
  }

 private:
  static constexpr uint32_t kMillis = 1u << 31;  // the rest counts milliseconds

  timer::Instant captured_{};
  std::array<uint32_t, kMomentCount - 1> after_{};  // 0: it did not happen; else microseconds and 1
};

}  // namespace isthmus::flow
