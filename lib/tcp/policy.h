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

// 32 bits of milliseconds.
using PolicyTime = std::chrono::duration<uint32_t, std::milli>;
inline constexpr PolicyTime kLongestPolicyTime = std::chrono::hours(24 * 24);

// Never shorter than asked for: a fraction counts as a whole.
inline PolicyTime policy_time(timer::Duration time) {
  return std::chrono::ceil<PolicyTime>(std::clamp<timer::Duration>(time, {}, kLongestPolicyTime));
}

// What segments ask for.
struct Policy {
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
        keepalive_idle(policy_time(options.keepalive_idle)) {}

  uint32_t path;
  uint8_t ttl;
  uint8_t keepalive_probes;
  uint8_t dscp : 6;
  Ecn ecn : 2;
  bool nagle : 1;
  bool short_queue : 1;
  CongestionControl congestion : 1;
  PolicyTime keepalive_idle;
};

// What only silence and the ends of a connection ask for.
struct Patience {
  static constexpr PolicyTime kLongestInterval = std::chrono::hours(2);

  Patience() : Patience(Options()) {}
  explicit Patience(const Options& options)
      : user_timeout(policy_time(options.user_timeout)),
        fin_wait_2_timeout(policy_time(options.fin_wait_2_timeout)),
        handshake_timeout(policy_time(options.handshake_timeout)),
        stall_timeout(policy_time(options.stall_timeout)),
        keepalive_interval(std::min(policy_time(options.keepalive_interval), kLongestInterval)) {}

  PolicyTime user_timeout;
  PolicyTime fin_wait_2_timeout;
  PolicyTime handshake_timeout;
  PolicyTime stall_timeout;
  PolicyTime keepalive_interval;
};

}  // namespace isthmus::tcp
