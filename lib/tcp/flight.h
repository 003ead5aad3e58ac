// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a connection needs only while something of it is on its way or missing. An idle connection
// has neither of these: they come from pools of the engine, used last in first out, so that few
// of them serve many connections and are in a cache.
#pragma once

#include <cstdint>
#include <memory>

#include "tcp/congestion.h"
#include "tcp/options.h"
#include "tcp/pacing.h"
#include "tcp/reassembly.h"
#include "tcp/scoreboard.h"
#include "tcp/sequence.h"
#include "tcp/standing_queue.h"
#include "timer/time.h"

namespace isthmus::tcp {

// Of a sender with unacknowledged data: its scoreboard and its loss recovery.
struct Flight {
  Scoreboard board;
  Seq recovery_point = 0;
  Seq probe_end = 0;
  Seq undo_at = 0;                // an ACK up to here tells whose copy arrived
  uint32_t retransmitted_at = 0;  // TSval of the first retransmission
  Congestion::Before before;      // this recovery
  uint32_t reno_sacked = 0;       // without SACK: what duplicate ACKs say has left
  uint32_t prr_delivered = 0;
  uint32_t prr_out = 0;
  uint32_t prr_flight = 0;
  StandingQueue standing_queue;  // Options::short_queue
  Pacing pacing;                 // Config::paced_rtt
  uint32_t most_in_flight = 0;   // since the window was last full or empty
  timer::Instant reorder_at = timer::kNever;
  // The segment that tries a larger size; valid while Connection::raising_mss_.
  Seq raise_start = 0;
  Seq raise_end = 0;
  // RFC 3168: what was sent from here on followed the last reduction; valid while set.
  Seq reduced_at = 0;
  bool reduced = false;
};

// Of a receiver that misses bytes, or has something to say about some that came twice.
struct Disorder {
  Reassembly gaps;
  SackBlock duplicate;  // to report by DSACK; empty when equal

  bool empty() const { return gaps.empty() && duplicate.start == duplicate.end; }
};

// Memory of a pool is first touched when it is first needed.
template <typename T>
class SidePool {
 public:
  explicit SidePool(uint32_t count) : slots_(new Slot[count]), count_(count) {}

  // What a connection without one has: reads as a fresh one, and nobody may change it.
  T* none() { return &none_; }
  const T* none() const { return &none_; }
  // A fresh one; null when all are taken.
  T* take() {
    Slot* slot = free_;
    if (slot != nullptr) {
      free_ = slot->next;
    } else if (fresh_ != count_) {
      slot = &slots_[fresh_++];
    } else {
      return nullptr;
    }
    ++in_use_;
    return new (&slot->value) T(none_);
  }
  void give(T* value) {
    auto* slot = reinterpret_cast<Slot*>(value);
    slot->next = free_;
    free_ = slot;
    --in_use_;
  }
  uint32_t in_use() const { return in_use_; }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  union alignas(64) Slot {
    Slot() {}  // NOLINT: the value lives from take() on
    T value;
    Slot* next;
  };

  std::unique_ptr<Slot[]> slots_;
  Slot* free_ = nullptr;
  uint32_t count_;
  uint32_t fresh_ = 0;
  uint32_t in_use_ = 0;
  T none_;
};

}  // namespace isthmus::tcp
