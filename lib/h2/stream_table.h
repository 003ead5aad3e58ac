// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The streams of one connection by identifier, the order in which they are served, and what is
// remembered of streams that are gone.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "h2/stream.h"

namespace isthmus::h2 {

inline constexpr unsigned kMaxStreams = 128;  // of one connection

// Identifiers only grow, so appending keeps the table sorted.
class StreamTable {
 public:
  Stream* find(uint32_t id) const {
    const auto* end = ids_.begin() + size_;
    const auto* at = std::lower_bound(ids_.begin(), end, id);
    return at != end && *at == id ? streams_[static_cast<size_t>(at - ids_.begin())] : nullptr;
  }
  void append(Stream& stream) {
    ids_[size_] = stream.id();
    streams_[size_++] = &stream;
  }
  void erase(const Stream& stream) {
    const auto at = static_cast<size_t>(
        std::lower_bound(ids_.begin(), ids_.begin() + size_, stream.id()) - ids_.begin());
    std::copy(ids_.begin() + at + 1, ids_.begin() + size_, ids_.begin() + at);
    std::copy(streams_.begin() + at + 1, streams_.begin() + size_, streams_.begin() + at);
    --size_;
  }
  unsigned size() const { return size_; }
  std::span<Stream* const> streams() const { return std::span(streams_).first(size_); }

 private:
  std::array<uint32_t, kMaxStreams> ids_;
  std::array<Stream*, kMaxStreams> streams_;
  uint32_t size_ = 0;
};

// First in, first out, linked through one member of the streams.
template <Stream* Stream::*Next>
class StreamList {
 public:
  bool empty() const { return first_ == nullptr; }
  Stream* front() const { return first_; }
  void push(Stream& stream) {
    stream.*Next = nullptr;
    (last_ == nullptr ? first_ : last_->*Next) = &stream;
    last_ = &stream;
  }
  void push_front(Stream& stream) {
    stream.*Next = first_;
    first_ = &stream;
    if (last_ == nullptr) last_ = &stream;
  }
  Stream* pop() {
    Stream* stream = first_;
    first_ = stream->*Next;
    if (first_ == nullptr) last_ = nullptr;
    return stream;
  }

 private:
  Stream* first_ = nullptr;
  Stream* last_ = nullptr;
};

// The last streams that were closed: a frame for one that we reset may still be on its way and is
// ignored, for any other it is an error (RFC 9113 section 5.1, "closed").
class ClosedStreams {
 public:
  enum class How : uint8_t { unknown, reset_by_us, otherwise };

  void add(uint32_t id, bool reset_by_us) {
    ring_[at_++ % ring_.size()] = id | (reset_by_us ? kByUs : 0);
  }
  How find(uint32_t id) const {
    for (uint32_t entry : ring_) {
      if ((entry & ~kByUs) == id) return (entry & kByUs) != 0 ? How::reset_by_us : How::otherwise;
    }
    return How::unknown;
  }

 private:
  static constexpr uint32_t kByUs = 1u << 31;
  std::array<uint32_t, kMaxStreams> ring_{};
  uint32_t at_ = 0;
};

}  // namespace isthmus::h2
