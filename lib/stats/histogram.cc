// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "stats/histogram.h"

#include <algorithm>
#include <cmath>

namespace isthmus::stats {

uint64_t Histogram::count() const {
  uint64_t total = 0;
  for (const uint64_t& bucket : buckets_) total += load(bucket);
  return total;
}

uint64_t Histogram::quantile(double share) const {
  const uint64_t total = count();
  if (total == 0) return 0;
  const auto rank = std::max<uint64_t>(
      1,
      static_cast<uint64_t>(std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(total))));
  uint64_t seen = 0;
  for (unsigned n = 0; n < kBuckets; ++n) {
    seen += bucket(n);
    if (seen < rank) continue;
    const uint64_t last = n == 64 ? UINT64_MAX : n == 0 ? 0 : (uint64_t{1} << n) - 1;
    return std::min(last, max());
  }
  return max();
}

void Histogram::merge(const Histogram& other) {
  for (unsigned n = 0; n < kBuckets; ++n) add(buckets_[n], other.bucket(n));
  add(sum_, other.sum());
  __atomic_store_n(&max_, std::max(max(), other.max()), __ATOMIC_RELAXED);
}

}  // namespace isthmus::stats
