// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "flow/table.h"

#include <algorithm>
#include <utility>

namespace isthmus::flow {

Table::Table(unsigned index, unsigned workers, uint32_t live_capacity, uint32_t closed_capacity)
    : index_(index),
      workers_(workers),
      capacity_(live_capacity),
      closed_capacity_(std::max(closed_capacity, 1u)),
      live_ids_(std::make_unique<uint64_t[]>(capacity_)),
      closed_ids_(std::make_unique<uint64_t[]>(closed_capacity_)),
      records_(std::make_unique<Record[]>(capacity_)),
      closed_(std::make_unique<Report[]>(closed_capacity_)) {
  // The lowest place is taken first: a table that is mostly empty stays small in the caches.
  for (uint32_t i = 0; i < capacity_; ++i) live_ids_[i] = kFree | (i + 1);
}

Record* Table::open(timer::Instant now) {
  if (live_ == capacity_) return nullptr;
  const uint32_t place = free_;
  free_ = static_cast<uint32_t>(live_ids_[place]);
  ++live_;
  Record& record = records_[place];
  record = Record{};
  record.id = ++count_ * workers_ + index_;
  record.at = Moments(now);
  live_ids_[place] = record.id;
  return &record;
}

void Table::close(Record* record, timer::Instant now, std::string_view refused_authority) {
  const auto place = static_cast<uint32_t>(record - records_.get());
  record->state = State::closed;
  Report& report = closed_[closed_next_];
  static_cast<Record&>(report) = *record;
  report.closed = now;
  report.refused_authority.assign(refused_authority);
  if (log_ != nullptr) log_->push(report);
  closed_ids_[closed_next_] = record->id;
  closed_next_ = closed_next_ + 1 == closed_capacity_ ? 0 : closed_next_ + 1;
  live_ids_[place] = kFree | std::exchange(free_, place);
  --live_;
}

std::optional<Report> Table::find(uint64_t id) const {
  if (id == 0 || (id & kFree) != 0) return std::nullopt;
  const std::span<const uint64_t> live(live_ids_.get(), capacity_);
  const auto place = std::find(live.begin(), live.end(), id);
  if (place != live.end()) return Report{records_[place - live.begin()]};
  const std::span<const uint64_t> closed(closed_ids_.get(), closed_capacity_);
  const auto old = std::find(closed.begin(), closed.end(), id);
  if (old != closed.end()) return closed_[old - closed.begin()];
  return std::nullopt;
}

uint32_t Table::copy(Cursor& cursor, std::span<Report> to, uint32_t limit) const {
  uint32_t copied = 0;
  for (uint32_t looked = 0; looked < limit && copied < to.size() && !done(cursor);
       ++looked, ++cursor.next) {
    if (cursor.next < closed_capacity_) {
      const uint32_t place = (closed_next_ + cursor.next) % closed_capacity_;  // oldest first
      if (closed_ids_[place] != 0) to[copied++] = closed_[place];
    } else {
      const uint32_t place = cursor.next - closed_capacity_;
      if ((live_ids_[place] & kFree) == 0) to[copied++] = Report{records_[place]};
    }
  }
  return copied;
}

}  // namespace isthmus::flow
