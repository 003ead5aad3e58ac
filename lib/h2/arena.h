// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Memory for HPACK tables: a buddy allocator over one block that is taken at construction, so that
// a worker never calls the heap and no mixture of sizes can starve another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nghttp2/nghttp2.h>

namespace isthmus::h2 {

class Arena {
 public:
  static constexpr unsigned kMinShift = 6;   // 64 bytes
  static constexpr unsigned kMaxShift = 16;  // 64 KiB: the largest block
  static constexpr size_t kMaxBlock = size_t{1} << kMaxShift;

  // Rounded up to a whole number of largest blocks, at least one.
  explicit Arena(size_t bytes);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Null when no block is large enough. Aligned to 16 bytes.
  void* allocate(size_t size);
  void release(void* memory);
  void* reallocate(void* memory, size_t size);

  size_t in_use() const { return in_use_; }  // bytes, block sizes counted
  size_t capacity() const { return blocks_ << kMaxShift; }
  // For nghttp2; valid as long as the arena.
  nghttp2_mem* nghttp2() { return &functions_; }

 private:
  static constexpr unsigned kOrders = kMaxShift - kMinShift + 1;
  // A free block holds its links, a used one only its order.
  struct Block {
    uint32_t order;
    uint32_t free;
    Block* next;
    Block* previous;
  };
  static constexpr size_t kHeader = 16;  // of a used block

  Block* at(size_t offset) const { return reinterpret_cast<Block*>(memory_.get() + offset); }
  size_t offset_of(const Block* block) const {
    return static_cast<size_t>(reinterpret_cast<const uint8_t*>(block) - memory_.get());
  }
  void push(Block* block, unsigned order);
  void unlink(Block* block);

  struct Free {
    void operator()(uint8_t* memory) const;
  };
  size_t blocks_;
  std::unique_ptr<uint8_t[], Free> memory_;
  std::array<Block*, kOrders> free_{};
  size_t in_use_ = 0;
  nghttp2_mem functions_;
};

}  // namespace isthmus::h2
