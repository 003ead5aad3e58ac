// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Payload in motion: an owned list of mbuf segments, in stream order. A segment is direct or an
// indirect mbuf that shares another's data, so that slices cost no copy (the buffer contract,
// docs/architecture.md). Segments are linked by rte_mbuf::next; nb_segs and pkt_len are kept only
// by release(), because a chain is a byte stream and not a packet.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include <rte_mbuf.h>

#include "packet/buffer.h"

namespace isthmus::packet {

class Chain {
 public:
  Chain() = default;
  // Takes ownership of a whole mbuf list. Empty segments are freed.
  explicit Chain(rte_mbuf* list) { append(list); }
  Chain(Chain&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)),
        tail_(std::exchange(other.tail_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Chain& operator=(Chain&& other) noexcept {
    if (this != &other) {
      if (head_ != nullptr) clear();
      head_ = std::exchange(other.head_, nullptr);
      tail_ = std::exchange(other.tail_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain() {
    if (head_ != nullptr) clear();
  }

  // Bytes in the chain.
  uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Memory that its mbufs take.
  uint64_t occupied() const {
    uint64_t total = 0;
    for (const rte_mbuf* m = head_; m != nullptr; m = m->next) {
      total += memory_of(m);
    }
    return total;
  }
  // Likewise of the leading segments that fit into n bytes whole: what goes when these go.
  uint64_t occupied(uint32_t n) const {
    uint64_t total = 0;
    uint32_t whole = 0;
    for (const rte_mbuf* m = head_; m != nullptr && whole + m->data_len <= n; m = m->next) {
      whole += m->data_len;
      total += memory_of(m);
    }
    return total;
  }
  // First segment, for walking by rte_mbuf::next; null when empty. Still owned by the chain.
  rte_mbuf* head() const { return head_; }
  rte_mbuf* tail() const { return tail_; }

  void append(rte_mbuf* list);
  void append(Chain&& other) {
    if (other.head_ == nullptr || this == &other) return;
    (tail_ == nullptr ? head_ : tail_->next) = other.head_;
    tail_ = std::exchange(other.tail_, nullptr);
    size_ += std::exchange(other.size_, 0);
    other.head_ = nullptr;
  }
  void clear();

  // Moves the first n bytes (n <= size()) into the result. A segment that the cut divides is
  // shared by an indirect mbuf from clones; when that pool is empty the result is empty and the
  // chain is unchanged.
  Chain split_front(uint32_t n, rte_mempool* clones);
  // Bytes of the leading segments that fit into n bytes whole: what split_front() can always give.
  uint32_t whole_segments(uint32_t n) const;
  // Frees the first n bytes (n <= size()). Returns what occupied(n) was.
  uint64_t drop_front(uint32_t n);
  // Frees the last n bytes (n <= size()).
  void drop_back(uint32_t n);
  // A second reference to bytes [offset, offset + n) of this chain: indirect mbufs only. Empty
  // when clones runs out.
  Chain share(uint32_t offset, uint32_t n, rte_mempool* clones) const;
  // Copies bytes [offset, offset + to.size()) out; they must be in the chain.
  void copy_out(uint32_t offset, std::span<uint8_t> to) const;
  // Appends a copy of the bytes in buffers of the pool. False (chain unchanged) when the pool runs
  // out.
  bool append_copy(std::span<const uint8_t> bytes, rte_mempool* pool);
  // Gives up ownership: a well-formed mbuf list with nb_segs and pkt_len set on the first segment.
  rte_mbuf* release();

 private:
  rte_mbuf* head_ = nullptr;
  rte_mbuf* tail_ = nullptr;
  uint32_t size_ = 0;
};

}  // namespace isthmus::packet
