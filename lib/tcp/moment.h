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

// An instant as Moments and timestamps count, taken apart once for all that happens at it.
struct Present {
  explicit Present(timer::Instant at)
      : milliseconds((at.time_since_epoch().count() + 999) / 1000),
        whole_milliseconds(static_cast<uint32_t>(at.time_since_epoch().count() / 1000)),
        seconds(tcp::seconds(at)) {}

  int64_t milliseconds;         // rounded up
  uint32_t whole_milliseconds;  // low bits
  uint32_t seconds;
};

// Whole milliseconds, rounded up: what has to last for some time from here never ends early, and at
// most one millisecond late. Right for ages up to 49 days; an older one shows as its remainder, so
// nothing that ends a connection may depend on an age which the engine does not look at in between.
class Moment {
 public:
  Moment() = default;
  explicit Moment(const Present& present)
      : milliseconds_(static_cast<uint32_t>(present.milliseconds)) {}
  explicit Moment(timer::Instant at) : Moment(Present(at)) {}

  // Itself, as the latest instant that it can stand for; up to a millisecond after the present.
  timer::Instant instant(const Present& present) const {
    const uint32_t age = static_cast<uint32_t>(present.milliseconds) - milliseconds_;
    return timer::Instant(std::chrono::milliseconds(present.milliseconds - age));
  }
  timer::Instant instant(timer::Instant now) const { return instant(Present(now)); }

 private:
  uint32_t milliseconds_ = 0;
};

}  // namespace isthmus::tcp
