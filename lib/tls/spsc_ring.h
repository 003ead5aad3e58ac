// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A bounded queue of pointers between two threads, one that pushes and one that pops.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <vector>

namespace isthmus::tls {

template <typename T>
class SpscRing {
 public:
  // Holds at least capacity pointers.
  explicit SpscRing(size_t capacity) : slots_(std::bit_ceil(capacity)) {}

  // False when full.
  bool push(T* item) {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == slots_.size()) return false;
    slots_[tail & (slots_.size() - 1)] = item;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  // Null when empty.
  T* pop() {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return nullptr;
    T* item = slots_[head & (slots_.size() - 1)];
    head_.store(head + 1, std::memory_order_release);
    return item;
  }
  // For a consumer that is about to sleep.
  bool empty() const {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
  }

 private:
  std::vector<T*> slots_;
  alignas(64) std::atomic<size_t> head_ = 0;
  alignas(64) std::atomic<size_t> tail_ = 0;
};

}  // namespace isthmus::tls
