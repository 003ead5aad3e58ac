// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A window spread over its round trip (RFC 9002 section 7.7 says why, and how). What leaves in one
// burst stands in one queue; where that is shorter than a window, its end is lost though the path
// had room for all of it.
//
// The pace is above what the window asks for, by so much that ACKs which come one by one are never
// held up; only what is sent without them is: after a pause, and behind an ACK for very much.
#pragma once

#include <algorithm>
#include <cstdint>

namespace isthmus::tcp {

class Pacing {
 public:
  struct Path {
    uint32_t window;  // congestion window, bytes
    uint32_t rtt;     // smoothed, microseconds, not 0
    uint32_t mss;
    bool slow_start;  // the window doubles meanwhile
  };

  // Bytes that may leave together, when nothing has left for a while: RFC 6928's initial window, or
  // what the path takes while a worker and its timers look elsewhere.
  static uint32_t burst(const Path& path) {
    return static_cast<uint32_t>(std::max<uint64_t>(uint64_t{10} * path.mss, bytes(path, kGrain)));
  }
  // Bytes that may leave now. Instants are micros() (tcp/moment.h).
  uint32_t allowance(uint32_t now, const Path& path) const {
    const uint32_t most = burst(path);
    if (is_stale(now, path)) return most;
    const uint64_t ahead = bytes(path, next_ - now);
    return ahead < most ? most - static_cast<uint32_t>(ahead) : 0;
  }
  // When half of a burst may leave, at the latest.
  uint32_t resume_at(const Path& path) const { return next_ - time(path, burst(path) / 2); }
  // first: nothing else is unacknowledged.
  void on_sent(uint32_t now, uint32_t length, const Path& path, bool first) {
    next_ = (first || is_stale(now, path) ? now : next_) + time(path, length);
  }

 private:
  static constexpr uint32_t kGrain = 500;
  static constexpr uint32_t kLongest = 1u << 30;

  // A window takes less than a round trip. What lies further ahead than two has passed, or is of a
  // path that was longer.
  bool is_stale(uint32_t now, const Path& path) const {
    return next_ - now > 2 * uint64_t{path.rtt} + kGrain;
  }

  // 2 and 5/4 windows each round trip.
  static uint64_t pace(const Path& path) {
    return uint64_t{path.window} * (path.slow_start ? 8 : 5) / 4;
  }
  static uint64_t bytes(const Path& path, uint32_t time) { return pace(path) * time / path.rtt; }
  static uint32_t time(const Path& path, uint32_t bytes) {
    const uint64_t needed = uint64_t{bytes} * path.rtt / std::max<uint64_t>(pace(path), 1);
    return static_cast<uint32_t>(std::min<uint64_t>(needed, kLongest));
  }

  uint32_t next_ = 0;  // when the path will have taken what has left; valid while something is out
};

}  // namespace isthmus::tcp
