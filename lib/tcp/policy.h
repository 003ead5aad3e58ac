// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Options as a connection keeps them: times in 32 bits of milliseconds, because there are many
// connections. They are so bounded that an age which is compared with them, or with a silence of
// keepalive_idle and all the probes that there can be, fits a Moment.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "tcp/types.h"
#include "timer/time.h"

namespace isthmus::tcp {

struct Policy {
  using Time = std::chrono::duration<uint32_t, std::milli>;
  static constexpr Time kLongest = std::chrono::hours(24 * 24);
  static constexpr Time kLongestInterval = std::chrono::hours(2);

  Policy() : Policy(Options()) {}
  explicit Policy(const Options& options)
      : path(options.path),
        ttl(options.ttl),
        keepalive_probes(options.keepalive_probes),
        dscp(options.dscp & 63u),
        ecn(options.ecn),
        nagle(options.nagle),
        short_queue(options.short_queue),
        congestion(options.congestion),
        keepalive_idle(compact(options.keepalive_idle)),
        user_timeout(compact(options.user_timeout)),
        fin_wait_2_timeout(compact(options.fin_wait_2_timeout)),
        handshake_timeout(compact(options.handshake_timeout)),
        stall_timeout(compact(options.stall_timeout)),
        keepalive_interval(std::min(compact(options.keepalive_interval), kLongestInterval)) {}

  // What segments ask for is first.
  uint32_t path;
  uint8_t ttl;
  uint8_t keepalive_probes;
  uint8_t dscp : 6;
  Ecn ecn : 2;
  bool nagle : 1;
  bool short_queue : 1;
  CongestionControl congestion : 1;
  Time keepalive_idle;
  Time user_timeout;
  Time fin_wait_2_timeout;
  Time handshake_timeout;
  Time stall_timeout;
  Time keepalive_interval;

 private:
  // Never shorter than asked for: a fraction counts as a whole.
  static Time compact(timer::Duration time) {
    return std::chrono::ceil<Time>(std::clamp<timer::Duration>(time, {}, kLongest));
  }
};

}  // namespace isthmus::tcp
