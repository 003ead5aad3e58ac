// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A histogram of 64-bit values in buckets of powers of two: bucket 0 holds 0, bucket n holds
// [2^(n-1), 2^n). Written by its owner only, read by others with relaxed loads, as ReasonCounters
// are; a reader's sum may be a few values ahead of its buckets.
#pragma once

#include <bit>
#include <cstdint>

namespace isthmus::stats {

class Histogram {
 public:
  static constexpr unsigned kBuckets = 65;

  void record(uint64_t value) {
    add(buckets_[std::bit_width(value)], 1);
    add(sum_, value);
    if (value > max()) __atomic_store_n(&max_, value, __ATOMIC_RELAXED);
  }

  uint64_t bucket(unsigned n) const { return load(buckets_[n]); }
  // The smallest value that belongs to a bucket.
  static uint64_t lower_bound(unsigned n) { return n == 0 ? 0 : uint64_t{1} << (n - 1); }
  uint64_t count() const;
  uint64_t sum() const { return load(sum_); }
  uint64_t max() const { return load(max_); }
  // An upper bound of the value below which this share (0..1) of the values lies: the end of its
  // bucket, or the maximum where that is less. 0 when there are none.
  uint64_t quantile(double share) const;
  // Adds another's values: for a reader that sums up the workers.
  void merge(const Histogram& other);

 private:
  static uint64_t load(const uint64_t& from) { return __atomic_load_n(&from, __ATOMIC_RELAXED); }
  static void add(uint64_t& to, uint64_t n) { __atomic_store_n(&to, to + n, __ATOMIC_RELAXED); }

  uint64_t buckets_[kBuckets] = {};
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace isthmus::stats
