// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Options as a connection keeps them: times in 32 bits of milliseconds (49 days at most), because
// there are many connections.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "tcp/types.h"
#include "timer/time.h"

namespace isthmus::tcp {

struct Policy {
  using Time = std::chrono::duration<uint32_t, std::milli>;

  Policy() : Policy(Options()) {}
  explicit Policy(const Options& options)
      : path(options.path),
        keepalive_idle(compact(options.keepalive_idle)),
        user_timeout(compact(options.user_timeout)),
        handshake_timeout(compact(options.handshake_timeout)),
        stall_timeout(compact(options.stall_timeout)),
        keepalive_interval(compact(options.keepalive_interval)),
        fin_wait_2_timeout(compact(options.fin_wait_2_timeout)),
        ttl(options.ttl),
        dscp(options.dscp),
        keepalive_probes(options.keepalive_probes),
        nagle(options.nagle),
        congestion(options.congestion),
        ecn(options.ecn) {}

  uint32_t path;
  Time keepalive_idle;
  Time user_timeout;
  Time handshake_timeout;
  Time stall_timeout;
  Time keepalive_interval;
  Time fin_wait_2_timeout;
  uint8_t ttl;
  uint8_t dscp;
  uint8_t keepalive_probes;
  bool nagle;
  CongestionControl congestion;
  Ecn ecn;

 private:
  // Never shorter than asked for: a fraction counts as a whole.
  static Time compact(timer::Duration time) {
    const auto most = std::chrono::duration_cast<timer::Duration>(Time::max());
    return std::chrono::ceil<Time>(std::clamp(time, timer::Duration(), most));
  }
};

}  // namespace isthmus::tcp
