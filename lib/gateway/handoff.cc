// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/handoff.h"

#include <algorithm>
#include <cstdlib>

#include <rte_mbuf.h>
#include <rte_ring.h>

namespace isthmus::gateway {

void Handoff::Lane::Free::operator()(rte_ring* ring) const {
  std::free(ring);
}

Handoff::Handoff(unsigned workers, unsigned packets_per_ring, uint64_t bytes_per_ring)
    : workers_(workers),
      bytes_per_ring_(bytes_per_ring),
      lanes_(size_t{workers} * workers),
      turns_(workers) {
  // The ring lives in ordinary memory: no other process looks at it, and no EAL is needed.
  const auto size = static_cast<size_t>(rte_ring_get_memsize(packets_per_ring));
  for (auto& lane : lanes_) {
    auto* memory = static_cast<rte_ring*>(std::aligned_alloc(64, (size + 63) & ~size_t{63}));
    if (memory == nullptr ||
        rte_ring_init(memory, "handoff", packets_per_ring, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
      std::abort();  // start-up, with a size that is a programming mistake or no memory at all
    }
    lane.ring.reset(memory);
  }
}

Handoff::~Handoff() {
  for (auto& lane : lanes_) {
    void* packet = nullptr;
    while (rte_ring_sc_dequeue(lane.ring.get(), &packet) == 0) {
      rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
    }
  }
}

bool Handoff::push(unsigned from, unsigned to, rte_mbuf* packet) {
  Lane& out = lane(from, to);
  const uint64_t pushed = out.pushed_bytes.load(std::memory_order_relaxed);
  const uint64_t waiting = pushed - out.popped_bytes.load(std::memory_order_relaxed);
  if (waiting + packet->pkt_len > bytes_per_ring_) return false;
  const uint32_t length = packet->pkt_len;
  if (rte_ring_sp_enqueue(out.ring.get(), packet) != 0) return false;
  out.pushed_bytes.store(pushed + length, std::memory_order_relaxed);
  return true;
}

uint16_t Handoff::pop(Lane& in, rte_mbuf** packets, uint16_t n) {
  const unsigned count =
      rte_ring_sc_dequeue_burst(in.ring.get(), reinterpret_cast<void**>(packets), n, nullptr);
  if (count == 0) return 0;
  uint64_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) bytes += packets[i]->pkt_len;
  in.popped_bytes.store(in.popped_bytes.load(std::memory_order_relaxed) + bytes,
                        std::memory_order_relaxed);
  return static_cast<uint16_t>(count);
}

uint16_t Handoff::pop(unsigned to, rte_mbuf** packets, uint16_t n) {
  if (workers_ < 2) return 0;
  unsigned& first = turns_[to].first;
  first = first + 1 == workers_ ? 0 : first + 1;
  const auto share = static_cast<uint16_t>(std::max(1u, n / (workers_ - 1)));
  uint16_t got = 0;
  for (const bool rest : {false, true}) {
    for (unsigned i = 0; i < workers_ && got < n; ++i) {
      const unsigned from = (first + i) % workers_;
      if (from == to) continue;
      const auto room = static_cast<uint16_t>(n - got);
      const uint16_t most = rest ? room : std::min(room, share);
      got = static_cast<uint16_t>(got + pop(lane(from, to), packets + got, most));
    }
  }
  return got;
}

bool Handoff::pending(unsigned to) const {
  for (unsigned from = 0; from < workers_; ++from) {
    if (from != to && rte_ring_empty(lane(from, to).ring.get()) == 0) return true;
  }
  return false;
}

}  // namespace isthmus::gateway
