// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// TLS handshakes that each workload may begin in a second, so that the threads that do them have
// time for the others.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "timer/time.h"

namespace isthmus::hbone {

class HandshakeRate {
 public:
  // 0: no limit. As many may begin at once as in a second.
  explicit HandshakeRate(uint32_t per_second) {
    if (per_second == 0) return;
    interval_ = std::max(timer::Duration(std::chrono::seconds(1)) / per_second, timer::Duration(1));
    depth_ = interval_ * per_second;
    sets_.resize(kSets);
  }

  // False when the workload has begun as many as it may.
  bool take(uint64_t workload, timer::Instant now) {
    if (sets_.empty()) return true;
    Bucket& bucket = bucket_of(workload);
    // It has been empty until this instant: each handshake moves that on by its price.
    bucket.empty_until = std::max(bucket.empty_until, now - depth_);
    if (bucket.empty_until + interval_ > now) return false;
    bucket.empty_until += interval_;
    return true;
  }

 private:
  static constexpr size_t kSets = 256;
  static constexpr size_t kWays = 8;
  struct Bucket {
    uint64_t workload = 0;
    timer::Instant empty_until{timer::Duration::min() / 2};
  };

  // A workload that has no bucket takes the fullest one of its set: of the others it has
  // the least to forget.
  Bucket& bucket_of(uint64_t workload) {
    constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
    auto& set = sets_[workload * kGolden >> 56];
    const auto same = [&](const Bucket& bucket) { return bucket.workload == workload; };
    if (auto* found = std::find_if(set.begin(), set.end(), same); found != set.end()) return *found;
    auto* fullest = std::min_element(set.begin(), set.end(), [](const auto& a, const auto& b) {
      return a.empty_until < b.empty_until;
    });
    *fullest = {workload};
    return *fullest;
  }

  timer::Duration interval_{};
  timer::Duration depth_{};
  std::vector<std::array<Bucket, kWays>> sets_;
};

}  // namespace isthmus::hbone
