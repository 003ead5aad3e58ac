// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "h2/arena.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace isthmus::h2 {
namespace {

Arena& arena_of(void* user) {
  return *static_cast<Arena*>(user);
}

}  // namespace

void Arena::Free::operator()(uint8_t* memory) const {
  std::free(memory);
}

Arena::Arena(size_t bytes)
    : blocks_(std::max<size_t>(1, (bytes + kMaxBlock - 1) / kMaxBlock)),
      memory_(static_cast<uint8_t*>(std::aligned_alloc(64, blocks_ << kMaxShift))) {
  if (memory_ == nullptr) std::abort();  // start-up only
  for (size_t i = blocks_; i-- > 0;) push(at(i << kMaxShift), kOrders - 1);
  functions_ = {
      this,
      [](size_t size, void* user) { return arena_of(user).allocate(size); },
      [](void* memory, void* user) { arena_of(user).release(memory); },
      [](size_t count, size_t size, void* user) -> void* {
        if (size != 0 && count > kMaxBlock / size) return nullptr;
        void* memory = arena_of(user).allocate(count * size);
        if (memory != nullptr) std::memset(memory, 0, count * size);
        return memory;
      },
      [](void* memory, size_t size, void* user) { return arena_of(user).reallocate(memory, size); },
  };
}

void Arena::push(Block* block, unsigned order) {
  *block = {order, 1, free_[order], nullptr};
  if (block->next != nullptr) block->next->previous = block;
  free_[order] = block;
}

void Arena::unlink(Block* block) {
  (block->previous != nullptr ? block->previous->next : free_[block->order]) = block->next;
  if (block->next != nullptr) block->next->previous = block->previous;
}

void* Arena::allocate(size_t size) {
  if (size > kMaxBlock - kHeader) return nullptr;
  const size_t needed = std::max(std::bit_ceil(size + kHeader), size_t{1} << kMinShift);
  const auto order = static_cast<unsigned>(std::countr_zero(needed)) - kMinShift;
  unsigned found = order;
  while (found < kOrders && free_[found] == nullptr) ++found;
  if (found == kOrders) return nullptr;
  Block* block = free_[found];
  unlink(block);
  // Halves that are not needed go back, down to the wanted size.
  while (found > order) {
    --found;
    push(at(offset_of(block) + (size_t{1} << (found + kMinShift))), found);
  }
  block->order = order;
  block->free = 0;
  in_use_ += needed;
  return reinterpret_cast<uint8_t*>(block) + kHeader;
}

void Arena::release(void* memory) {
  if (memory == nullptr) return;
  auto* block = reinterpret_cast<Block*>(static_cast<uint8_t*>(memory) - kHeader);
  unsigned order = block->order;
  in_use_ -= size_t{1} << (order + kMinShift);
  while (order < kOrders - 1) {
    Block* buddy = at(offset_of(block) ^ (size_t{1} << (order + kMinShift)));
    if (buddy->free == 0 || buddy->order != order) break;
    unlink(buddy);
    block = std::min(block, buddy);
    ++order;
  }
  push(block, order);
}

void* Arena::reallocate(void* memory, size_t size) {
  if (memory == nullptr) return allocate(size);
  const auto* block = reinterpret_cast<const Block*>(static_cast<const uint8_t*>(memory) - kHeader);
  const size_t room = (size_t{1} << (block->order + kMinShift)) - kHeader;
  if (size <= room) return memory;
  void* larger = allocate(size);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, memory, room);
  release(memory);
  return larger;
}

}  // namespace isthmus::h2
