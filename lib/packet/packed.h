// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// For queues whose bytes may come a few at a time and then wait: a peer that sends single bytes
// shall not make us keep a buffer for each of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "packet/chain.h"

namespace isthmus::packet {

// More than this comes in buffers that it fills well enough.
inline constexpr uint32_t kPackedPiece = 512;

// Appends to what waits: a small piece is copied behind it, into buffers of the pool that this
// takes when it needs one. When that is empty the piece keeps its own. Returns by how much more
// memory the queue occupies.
inline uint64_t append_packed(Chain& queue, Chain&& piece, rte_mempool* small) {
  if (piece.size() <= kPackedPiece) {
    std::array<uint8_t, kPackedPiece> bytes;
    const std::span<uint8_t> used = std::span(bytes).first(piece.size());
    piece.copy_out(0, used);
    const rte_mbuf* tail = queue.tail();
    if (queue.append_copy(used, small)) {
      piece.clear();
      return queue.tail() == tail ? 0 : memory_of(queue.tail());
    }
  }
  const uint64_t occupied = piece.occupied();
  queue.append(std::move(piece));
  return occupied;
}

}  // namespace isthmus::packet
