// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Reports of flows that are over, from one worker to the thread that writes the access log. Never
// blocks: when the writer is behind, reports are lost and counted.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "flow/record.h"

namespace isthmus::flow {

class LogRing {
 public:
  // Control side: allocates. Holds at least capacity records.
  explicit LogRing(uint32_t capacity)
      : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<Report[]>(mask_ + size_t{1})) {}
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;

  // The worker.
  void push(const Report& report) {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) > mask_) {
      lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return;
    }
    slots_[tail & mask_] = report;
    tail_.store(tail + 1, std::memory_order_release);
  }

  // The writer: calls use(const Report&) for what is there, oldest first.
  template <typename Use>
  void drain(Use&& use) {
    uint64_t head = head_.load(std::memory_order_relaxed);
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    for (; head != tail; ++head) {
      use(static_cast<const Report&>(slots_[head & mask_]));
      head_.store(head + 1, std::memory_order_release);
    }
  }
  // Since the start.
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  const uint64_t mask_;
  std::unique_ptr<Report[]> slots_;
  alignas(64) std::atomic<uint64_t> head_ = 0;
  alignas(64) std::atomic<uint64_t> tail_ = 0;
  std::atomic<uint64_t> lost_ = 0;  // the worker's line
};

}  // namespace isthmus::flow
