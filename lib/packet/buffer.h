// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Operations on a packet's mbuf list that DPDK 22.11 has not, or has for one segment only.
#pragma once

#include <cstdint>
#include <optional>

#include <rte_mbuf.h>

#include "stats/reason.h"

namespace isthmus::packet {

// The segment's bytes may be written: its buffer is its own and nobody else refers to it.
inline bool is_exclusive(const rte_mbuf* segment) {
  return RTE_MBUF_DIRECT(segment) && rte_mbuf_refcnt_read(segment) == 1;
}

// Memory that a segment takes, whatever it holds: what a budget has to count, as a few bytes may
// hold a large buffer.
inline uint32_t memory_of(const rte_mbuf* segment) {
  return segment->buf_len + static_cast<uint32_t>(sizeof(rte_mbuf));
}

// Asks memory for what the next allocation from the pool will touch: the mbuf and the line where
// its data begins. With more buffers in rotation than a cache holds, as a device's rings want it,
// whoever makes packets one after another would wait for each.
inline void prefetch_next(rte_mempool* pool) {
  const rte_mempool_cache* cache = rte_mempool_default_cache(pool, rte_lcore_id());
  if (cache == nullptr || cache->len == 0) return;
  auto* next = static_cast<char*>(cache->objs[cache->len - 1]);
  __builtin_prefetch(next, 1);
  __builtin_prefetch(next + RTE_CACHE_LINE_MIN_SIZE, 1);
  __builtin_prefetch(next + sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM, 1);
}

// A new indirect mbuf for bytes [offset, offset + length) of one segment, without offload flags.
// Null when clones is empty. The range must be in the segment.
rte_mbuf* share_slice(rte_mbuf* segment, uint16_t offset, uint16_t length, rte_mempool* clones);

// Makes the packet's first n bytes contiguous in its first segment (n <= pkt_len), pulling them out
// of later ones. False, with the packet's bytes unchanged, when the first segment is shared or has
// no room for them.
bool make_contiguous(rte_mbuf* packet, uint32_t n);

// The same for a parser that needs n bytes of a packet which may be shorter: why it can't have
// them.
inline stats::Refusal require_contiguous(rte_mbuf* packet, uint32_t n) {
  if (n > packet->pkt_len) return stats::Reason::packet_truncated;
  if (!make_contiguous(packet, n)) return stats::Reason::packet_scattered;
  return std::nullopt;
}

// Frees what is behind the packet's first n bytes (n <= pkt_len); the list stays well formed.
void trim_to(rte_mbuf* packet, uint32_t n);

// Removes the packet's first n bytes (n <= pkt_len), freeing no segment: the first one keeps the
// metadata and may become empty.
void trim_front(rte_mbuf* packet, uint32_t n);

}  // namespace isthmus::packet
