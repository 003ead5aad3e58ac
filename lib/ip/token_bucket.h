// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A rate limit: so many per second on average, so many at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::ip {

class TokenBucket {
 public:
  // per_second: 1..1'000'000. It starts full.
  TokenBucket(uint32_t per_second, uint32_t burst)
      : interval_(1'000'000 / per_second), depth_(interval_ * burst) {}

  bool take(timer::Instant now) {
    // The bucket is empty until this instant: each token moves it on by its price.
    empty_until_ = std::max(empty_until_, now - depth_);
    if (empty_until_ + interval_ > now) return false;
    empty_until_ += interval_;
    return true;
  }

 private:
  timer::Duration interval_;
  timer::Duration depth_;
  timer::Instant empty_until_{timer::Duration::min() / 2};
};

}  // namespace isthmus::ip
