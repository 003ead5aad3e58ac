// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Time as the engines see it: injected, never read. Instants count microseconds of a monotonic
// clock whose origin means nothing.
#pragma once

#include <chrono>
#include <cstdint>

namespace isthmus::timer {

struct Clock {
  using rep = int64_t;
  using period = std::micro;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;
  // No now(): whoever drives an engine says what time it is.
};

using Instant = Clock::time_point;
using Duration = Clock::duration;

// Later than any deadline: "never".
inline constexpr Instant kNever = Instant::max();

}  // namespace isthmus::timer
