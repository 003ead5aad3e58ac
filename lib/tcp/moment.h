// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Instants in 32 bits, for what every connection keeps.
#pragma once

#include <chrono>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::tcp {

// For differences below 71 minutes.
inline uint32_t micros(timer::Instant at) {
  return static_cast<uint32_t>(at.time_since_epoch().count());
}
// Below 136 years.
inline uint32_t seconds(timer::Instant at) {
  return static_cast<uint32_t>(at.time_since_epoch().count() / 1'000'000);
}

// Whole milliseconds, rounded up: what has to last for some time from here never ends early, and at
// most one millisecond late. Right for ages up to 49 days; an older one shows as its remainder, so
// nothing that ends a connection may depend on an age which the engine does not look at in between.
class Moment {
 public:
  Moment() = default;
  explicit Moment(timer::Instant at) : milliseconds_(static_cast<uint32_t>(round_up(at))) {}

  // Itself, as the latest instant that it can stand for; up to a millisecond after now.
  timer::Instant instant(timer::Instant now) const {
    const int64_t latest = round_up(now);
    const uint32_t age = static_cast<uint32_t>(latest) - milliseconds_;
    return timer::Instant(std::chrono::milliseconds(latest - age));
  }

 private:
  static int64_t round_up(timer::Instant at) {
    return (at.time_since_epoch().count() + 999) / 1000;
  }

  uint32_t milliseconds_ = 0;
};

}  // namespace isthmus::tcp
