// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The flow records of one worker: those of live flows, and the last ones that ended, so that a walk
// can be asked for after a short flow is over. All memory is taken by the constructor; afterwards
// nothing allocates. Used by its worker only: the console reads by copies that the worker makes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "flow/log_ring.h"
#include "flow/record.h"

namespace isthmus::flow {

class Table {
 public:
  static constexpr uint32_t kDefaultClosed = 1024;

  // Ids of worker `index` of `workers` are count * workers + index, so they are small numbers to
  // type, unique in the process, and name their owner.
  Table(unsigned index, unsigned workers, uint32_t live_capacity,
        uint32_t closed_capacity = kDefaultClosed);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // A record with its id, captured now. Null when the table is full; the flow must then be refused.
  // Good until close(); its address does not change.
  Record* open(timer::Instant now);
  // The flow is over: its report goes to the closed ones, where the oldest gives way, and to the
  // log. refused_authority: of a CONNECT that was refused.
  void close(Record* record, timer::Instant now, std::string_view refused_authority = {});
  // Before the worker starts; null: none. The ring outlives the table's use.
  void log_to(LogRing* log) { log_ = log; }

  // Live or closed; nothing when it is unknown or has been given up. Linear in the capacity (ids
  // only).
  std::optional<Report> find(uint64_t id) const;

  // Where an iteration stands; a new one starts at the beginning.
  struct Cursor {
    uint32_t next = 0;
  };
  // Copies the next records into `to`: the closed ones, then the live ones. Looks at most at
  // `limit` places. Returns how many it copied; done() says whether any are left. Flows that open
  // or close between two calls may be missed, or be seen live and closed.
  uint32_t copy(Cursor& cursor, std::span<Report> to, uint32_t limit) const;
  bool done(const Cursor& cursor) const { return cursor.next >= closed_capacity_ + capacity_; }

  uint32_t live() const { return live_; }
  uint32_t capacity() const { return capacity_; }
  uint64_t opened() const { return count_; }

 private:
  static constexpr uint64_t kFree = uint64_t{1} << 63;

  const unsigned index_;
  const unsigned workers_;
  const uint32_t capacity_;
  const uint32_t closed_capacity_;
  LogRing* log_ = nullptr;
  uint64_t count_ = 0;
  uint32_t live_ = 0;
  uint32_t closed_next_ = 0;
  uint32_t free_ = 0;  // the place that is taken next
  // Ids lie apart from the records, so that find() reads 8 bytes of each place and not the whole. A
  // free place has kFree and the free place behind it.
  std::unique_ptr<uint64_t[]> live_ids_;
  std::unique_ptr<uint64_t[]> closed_ids_;  // 0: never used
  std::unique_ptr<Record[]> records_;
  std::unique_ptr<Report[]> closed_;
};

}  // namespace isthmus::flow
