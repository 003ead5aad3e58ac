// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/chain.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include <rte_mbuf.h>

namespace isthmus::packet {
namespace {

// Bytes can be added behind the tail without anybody else seeing them: the buffer is this segment's
// own, and came from the pool that the caller would take a new one from.
uint32_t writable_tailroom(const rte_mbuf* tail, const rte_mempool* pool) {
  if (tail == nullptr || tail->pool != pool || !is_exclusive(tail)) return 0;
  return rte_pktmbuf_tailroom(tail);
}

void add_bytes(rte_mbuf* segment, std::span<const uint8_t> bytes) {
  std::memcpy(rte_pktmbuf_mtod_offset(segment, uint8_t*, segment->data_len), bytes.data(),
              bytes.size());
  segment->data_len = static_cast<uint16_t>(segment->data_len + bytes.size());
}

struct Position {
  rte_mbuf* segment;
  uint32_t offset;  // in the segment
};

// Where the byte at an offset lies; the list has that byte.
Position find(rte_mbuf* segment, uint32_t offset) {
  while (offset >= segment->data_len) {
    offset -= segment->data_len;
    segment = segment->next;
  }
  return {segment, offset};
}

}  // namespace

void Chain::append(rte_mbuf* list) {
  while (list != nullptr) {
    rte_mbuf* segment = list;
    list = segment->next;
    segment->next = nullptr;
    segment->nb_segs = 1;
    if (segment->data_len == 0) {
      rte_pktmbuf_free_seg(segment);
      continue;
    }
    (tail_ == nullptr ? head_ : tail_->next) = segment;
    tail_ = segment;
    size_ += segment->data_len;
  }
}

void Chain::clear() {
  while (head_ != nullptr) {
    rte_mbuf* next = head_->next;
    rte_pktmbuf_free_seg(head_);
    head_ = next;
  }
  tail_ = nullptr;
  size_ = 0;
}

Chain Chain::split_front(uint32_t n, rte_mempool* clones) {
  assert(n <= size_);
  Chain front;
  if (n == 0) return front;
  if (n == size_) return std::move(*this);
  rte_mbuf* before = nullptr;  // the last segment that moves whole
  rte_mbuf* cut = head_;
  uint32_t left = n;
  while (left >= cut->data_len) {
    left -= cut->data_len;
    before = cut;
    cut = cut->next;
  }
  rte_mbuf* piece = nullptr;
  if (left != 0) {
    piece = share_slice(cut, 0, static_cast<uint16_t>(left), clones);
    if (piece == nullptr) return front;
    cut->data_off = static_cast<uint16_t>(cut->data_off + left);
    cut->data_len = static_cast<uint16_t>(cut->data_len - left);
  }
  if (before != nullptr) {
    before->next = nullptr;
    front.head_ = head_;
    front.tail_ = before;
    front.size_ = n - left;
  }
  if (piece != nullptr) front.append(piece);
  head_ = cut;
  size_ -= n;
  return front;
}

uint64_t Chain::drop_front(uint32_t n) {
  assert(n <= size_);
  size_ -= n;
  uint64_t freed = 0;
  while (n != 0) {
    if (n < head_->data_len) {
      head_->data_off = static_cast<uint16_t>(head_->data_off + n);
      head_->data_len = static_cast<uint16_t>(head_->data_len - n);
      return freed;
    }
    n -= head_->data_len;
    freed += memory_of(head_);
    rte_mbuf* next = head_->next;
    rte_pktmbuf_free_seg(head_);
    head_ = next;
  }
  if (head_ == nullptr) tail_ = nullptr;
  return freed;
}

void Chain::drop_back(uint32_t n) {
  assert(n <= size_);
  if (n == 0) return;
  if (n == size_) return clear();
  uint32_t keep = size_ - n;
  size_ = keep;
  rte_mbuf* last = head_;
  while (keep > last->data_len) {
    keep -= last->data_len;
    last = last->next;
  }
  last->data_len = static_cast<uint16_t>(keep);
  rte_mbuf* rest = std::exchange(last->next, nullptr);
  tail_ = last;
  while (rest != nullptr) {
    rte_mbuf* next = rest->next;
    rte_pktmbuf_free_seg(rest);
    rest = next;
  }
}

Chain Chain::share(uint32_t offset, uint32_t n, rte_mempool* clones) const {
  assert(offset <= size_ && n <= size_ - offset);
  Chain result;
  if (n == 0) return result;
  for (auto [segment, at] = find(head_, offset); n != 0; segment = segment->next, at = 0) {
    const uint32_t length = std::min<uint32_t>(n, segment->data_len - at);
    rte_mbuf* piece =
        share_slice(segment, static_cast<uint16_t>(at), static_cast<uint16_t>(length), clones);
    if (piece == nullptr) return Chain();
    result.append(piece);
    n -= length;
  }
  return result;
}

void Chain::copy_out(uint32_t offset, std::span<uint8_t> to) const {
  assert(offset <= size_ && to.size() <= size_ - offset);
  if (to.empty()) return;
  for (auto [segment, at] = find(head_, offset); !to.empty(); segment = segment->next, at = 0) {
    const size_t length = std::min<size_t>(to.size(), segment->data_len - at);
    std::memcpy(to.data(), rte_pktmbuf_mtod_offset(segment, const uint8_t*, at), length);
    to = to.subspan(length);
  }
}

uint32_t Chain::whole_segments(uint32_t n) const {
  uint32_t whole = 0;
  for (const rte_mbuf* segment = head_; segment != nullptr && whole + segment->data_len <= n;
       segment = segment->next) {
    whole += segment->data_len;
  }
  return whole;
}

bool Chain::append_copy(std::span<const uint8_t> bytes, rte_mempool* pool) {
  const size_t here = std::min<size_t>(bytes.size(), writable_tailroom(tail_, pool));
  Chain added;
  for (auto rest = bytes.subspan(here); !rest.empty();) {
    rte_mbuf* segment = rte_pktmbuf_alloc(pool);
    if (segment == nullptr) return false;
    const size_t length = std::min<size_t>(rest.size(), rte_pktmbuf_tailroom(segment));
    add_bytes(segment, rest.first(length));
    added.append(segment);
    rest = rest.subspan(length);
  }
  if (here != 0) {
    add_bytes(tail_, bytes.first(here));
    size_ += static_cast<uint32_t>(here);
  }
  append(std::move(added));
  return true;
}

rte_mbuf* Chain::release() {
  rte_mbuf* list = std::exchange(head_, nullptr);
  if (list == nullptr) return nullptr;
  uint16_t segments = 0;
  for (const rte_mbuf* segment = list; segment != nullptr; segment = segment->next) ++segments;
  list->nb_segs = segments;
  list->pkt_len = std::exchange(size_, 0);
  tail_ = nullptr;
  return list;
}

}  // namespace isthmus::packet
