// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Received bytes that wait behind a gap: ordered, disjoint, not adjacent runs. What came first wins
// where segments overlap (RFC 9293 leaves it open; TLS above would notice a mixture). Bounded in
// runs, and in what the mbufs really occupy, for each connection and for all. The bounds never
// stand in the way of what closes the first gap: that needs no run.
#pragma once

#include <cstdint>
#include <memory>

#include "packet/chain.h"
#include "packet/pools.h"
#include "tcp/options.h"
#include "tcp/sequence.h"

namespace isthmus::tcp {

// Appends received payload to a queue; what would waste its buffer is copied, into the tail of the
// queue or into a small buffer. Mbufs stay exclusive. Returns what the queue occupies more than
// before.
uint64_t append_received(packet::Chain& queue, packet::Chain&& payload, rte_mempool* small);

struct Gap {
  Seq start = 0;
  Seq end = 0;
  packet::Chain bytes;
  uint32_t next = 0;
  uint32_t previous = 0;
  uint32_t owner = 0;  // the connection; meaningful while there are bytes
};

// Runs of all connections of an engine.
class GapPool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit GapPool(uint32_t count);
  uint32_t take(uint32_t owner);  // kNone when empty
  void give(uint32_t index);
  uint32_t in_use() const { return in_use_; }
  // What the buffers of all runs occupy.
  uint64_t occupied() const { return occupied_; }
  void occupy(uint64_t bytes) { occupied_ += bytes; }
  void vacate(uint64_t bytes) { occupied_ -= bytes; }
  // Some connection other than this one that holds runs, or kNone: looks at a few runs only, each
  // time further on.
  uint32_t another_owner(uint32_t than);
  Gap& operator[](uint32_t index) { return gaps_[index]; }
  const Gap& operator[](uint32_t index) const { return gaps_[index]; }

 private:
  std::unique_ptr<Gap[]> gaps_;
  uint32_t count_;
  uint32_t hand_ = 0;
  uint32_t free_ = kNone;
  uint32_t in_use_ = 0;
  uint64_t occupied_ = 0;
};

class Reassembly {
 public:
  static constexpr uint32_t kNone = GapPool::kNone;

  enum class Inserted : uint8_t { added, duplicate, refused };
  struct Limits {
    uint16_t runs = 256;
    uint64_t occupied = 8 << 20;
    uint64_t occupied_by_all = UINT64_MAX;
    uint32_t owner = 0;  // the connection's number
  };

  bool empty() const { return head_ == kNone; }
  uint32_t bytes() const { return bytes_; }
  uint16_t runs() const { return runs_; }
  // What the buffers of the runs occupy.
  uint64_t occupied() const { return occupied_; }

  // Payload that starts at start, beyond the next expected byte. duplicate: nothing of it was new;
  // refused: a limit, and the bytes were freed.
  Inserted insert(GapPool& pool, const packet::Pools& buffers, const Limits& limits, Seq start,
                  packet::Chain&& payload);
  // Appends payload that starts at next to the queue, and what becomes in order by it; returns the
  // new next. Where it overlaps what is held, what is held stands. Takes nothing from the pool.
  // When buffers.small is empty, what lies behind a run that the payload covers is left to be sent
  // again. added: by how much the queue occupies more.
  Seq deliver(GapPool& pool, const packet::Pools& buffers, Seq next, packet::Chain&& payload,
              packet::Chain& queue, uint64_t& added);
  // The run that holds [start, end) wholly, for a DSACK; zero when there is none.
  SackBlock run_around(const GapPool& pool, Seq start, Seq end) const;
  // Blocks to report, the one with the latest segment first (RFC 2018 section 4).
  unsigned blocks(const GapPool& pool, SackBlock* to, unsigned max) const;
  void clear(GapPool& pool);
  // The runs in order.
  template <typename Visit>
  void for_each(const GapPool& pool, Visit&& visit) const {
    for (uint32_t i = head_; i != kNone; i = pool[i].next) visit(pool[i]);
  }

 private:
  bool add_run(GapPool& pool, const packet::Pools& buffers, const Limits& limits, uint32_t before,
               Seq start, packet::Chain&& bytes);
  // The first run, moved to the queue.
  void take_first(GapPool& pool, const packet::Pools& buffers, packet::Chain& queue,
                  uint64_t& added);
  void remove(GapPool& pool, uint32_t index);
  void note_recent(uint32_t index);

  uint32_t head_ = kNone;
  uint32_t tail_ = kNone;
  uint32_t recent_[kMaxSackBlocks] = {kNone, kNone, kNone, kNone};
  uint32_t bytes_ = 0;
  uint16_t runs_ = 0;
  uint64_t occupied_ = 0;
};

}  // namespace isthmus::tcp
