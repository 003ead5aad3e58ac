// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The process's clock: the time stamp counter as microseconds. The same for all threads (invariant
// TSC, which EAL checks for). Civil time, which certificates are judged by, is read by the control
// thread now and then: a worker makes no system call for it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <rte_cycles.h>

#include "timer/time.h"
#include "tls/certificate.h"

namespace isthmus::app {

class Clock {
 public:
  // After EAL has calibrated the counter.
  Clock() : base_(rte_rdtsc()), hz_(rte_get_tsc_hz()), scale_((1'000'000ULL << 32) / hz_) {
    read_wall();
  }

  timer::Instant at(uint64_t tsc) const {
    const auto us =
        static_cast<int64_t>((static_cast<unsigned __int128>(tsc - base_) * scale_) >> 32);
    return kStart + timer::Duration(us);
  }
  timer::Instant now() const { return at(rte_rdtsc()); }
  uint64_t hz() const { return hz_; }

  // Control thread.
  void read_wall() {
    wall_.store(std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())
                    .time_since_epoch()
                    .count(),
                std::memory_order_relaxed);
  }
  tls::WallTime wall() const {
    return tls::WallTime(std::chrono::seconds(wall_.load(std::memory_order_relaxed)));
  }

 private:
  // Not the origin: an Instant there means "did not happen" in a flow's record.
  static constexpr timer::Instant kStart{timer::Duration(1'000'000)};

  uint64_t base_;
  uint64_t hz_;
  uint64_t scale_;  // microseconds per cycle, 32 bits of fraction
  std::atomic<int64_t> wall_{0};
};

}  // namespace isthmus::app
