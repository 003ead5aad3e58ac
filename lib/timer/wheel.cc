// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "timer/wheel.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace isthmus::timer {
namespace {

[[noreturn]] void too_many(size_t max_entries) {
  fprintf(stderr, "timer::Wheel: more entries than the %zu that it was made for\n", max_entries);
  std::abort();
}

}  // namespace

Wheel::Wheel(Instant now, size_t max_entries)
    : origin_(now),
      max_entries_(max_entries),
      chunk_count_(chunks_for(max_entries)),
      chunks_(std::make_unique_for_overwrite<Chunk[]>(chunk_count_)) {
  chunks_[0] = {};
}

// Number 0, and at most one for each entry and one that is being read; the first of each slot, of
// what is due and of the list that turn() empties may name few, and every other one names enough.
uint32_t Wheel::chunks_for(size_t max_entries) {
  constexpr size_t kFirsts = size_t{kLevels} * kSlots + 2;
  const size_t chunks = 2 + std::min(max_entries, max_entries / kEnough + kFirsts);
  if (chunks > 1u << 25) too_many(size_t{kEnough} << 25);  // what Chunk::previous can say
  return static_cast<uint32_t>(chunks);
}

uint64_t Wheel::ceil_tick(Instant when) const {
  if (when <= origin_) return 0;
  constexpr uint64_t kFarthest = (uint64_t{1} << (kBits * kLevels - 1)) - 1;
  const auto micros = static_cast<uint64_t>(when.time_since_epoch().count()) -
                      static_cast<uint64_t>(origin_.time_since_epoch().count());
  const auto tick = static_cast<uint64_t>(kTick.count());
  return std::min(kFarthest, micros / tick + (micros % tick != 0 ? 1 : 0));
}

// -- lists of chunks -----------------------------------------------------------------------------

uint32_t Wheel::take_chunk() {
  uint32_t number = free_;
  if (number != 0) {
    free_ = chunks_[number].next;
    __builtin_prefetch(&chunks_[free_], 1);
  } else {
    if (touched_ == chunk_count_) too_many(max_entries_);
    number = touched_++;
  }
  chunks_[number].used = 0;
  return number;
}

void Wheel::push_first(uint32_t& list, uint32_t number) {
  chunks_[number].next = list;
  chunks_[list].previous = number;
  list = number;
}

void Wheel::drop_first(uint32_t& list) {
  const uint32_t number = list;
  list = chunks_[number].next;
  chunks_[number].next = free_;
  free_ = number;
}

void Wheel::append(uint32_t& list, Entry& entry) {
  if (list == 0 || chunks_[list].used == kFull) push_first(list, take_chunk());
  put(list, entry);
}

void Wheel::put(uint32_t number, Entry& entry) {
  Chunk& chunk = chunks_[number];
  const uint32_t used = chunk.used;
  const auto cell = static_cast<uint32_t>(std::countr_one(used));
  chunk.used = used | 1u << cell;
  chunk.cells[cell] = &entry;
  entry.cell_ = number * 8 | cell;
}

void Wheel::begin(uint32_t list) {
  ahead_ = list;
  for (unsigned i = 0; i < kAhead; ++i) look_ahead();
}

// What a callback has changed meanwhile makes it ask for the wrong lines, which does no harm.
void Wheel::look_ahead() {
  const Chunk& chunk = chunks_[ahead_];
  for (uint32_t left = chunk.used; left != 0; left &= left - 1) {
    __builtin_prefetch(chunk.cells[std::countr_zero(left)], 1);
  }
  ahead_ = chunk.next;
  __builtin_prefetch(&chunks_[ahead_], 1);
}

void Wheel::take_out(uint32_t& list, const Entry& entry) {
  const uint32_t number = entry.cell_ / 8;
  Chunk& chunk = chunks_[number];
  const uint32_t left = chunk.used & ~(1u << entry.cell_ % 8);
  chunk.used = left;
  if (number == list) {
    if (left == 0) drop_first(list);
  } else if (!enough(left)) {
    fill_up(list, number);
  }
}

// One that names too few gets what the first one names, or becomes the first.
void Wheel::fill_up(uint32_t& list, uint32_t number) {
  Chunk& chunk = chunks_[number];
  const Chunk& first = chunks_[list];
  if (!enough(first.used)) {
    for (uint32_t left = first.used; left != 0; left &= left - 1) {
      put(number, *first.cells[std::countr_zero(left)]);
    }
    return drop_first(list);
  }
  chunks_[chunk.previous].next = chunk.next;
  chunks_[chunk.next].previous = chunk.previous;
  push_first(list, number);
}

// -- places --------------------------------------------------------------------------------------

uint64_t Wheel::placed(const Entry& entry) const {
  return current_ + (entry.placed_ - static_cast<uint32_t>(current_));
}

unsigned Wheel::slot_of(uint64_t tick) const {
  const unsigned level = (63u - std::countl_zero((tick ^ current_) | 1)) / kBits;
  return level * kSlots + static_cast<unsigned>(tick >> (level * kBits)) % kSlots;
}

void Wheel::place(Entry& entry) {
  const uint64_t tick = std::clamp(entry.wanted_, current_ + 1, current_ + kHorizon);
  const unsigned slot = slot_of(tick);
  entry.placed_ = static_cast<uint32_t>(tick);
  occupied_[slot / kSlots] |= uint64_t{1} << (slot % kSlots);
  append(slots_[slot], entry);
}

void Wheel::unlink(Entry& entry) {
  const uint64_t tick = placed(entry);
  if (tick == current_) return take_out(due_, entry);
  const unsigned slot = slot_of(tick);
  take_out(slots_[slot], entry);
  if (slots_[slot] == 0) occupied_[slot / kSlots] &= ~(uint64_t{1} << (slot % kSlots));
}

void Wheel::place_or_forget(Entry& entry) {
  if (entry.wanted_ != kUnwanted) return place(entry);
  entry.cell_ = 0;
  --size_;
}

void Wheel::arm(Entry& entry, Instant deadline) {
  if (deadline == kNever) {
    // Most come back soon, and when the wheel comes by it has asked memory for the entry.
    entry.wanted_ = kUnwanted;
    return;
  }
  entry.wanted_ = ceil_tick(deadline);
  if (entry.armed()) {
    if (entry.wanted_ >= placed(entry)) return;
    unlink(entry);
  } else if (++size_ > max_entries_) {
    too_many(max_entries_);
  }
  place(entry);
}

void Wheel::cancel(Entry& entry) {
  if (!entry.armed()) return;
  unlink(entry);
  entry.cell_ = 0;
  --size_;
}

// -- time ----------------------------------------------------------------------------------------

Wheel::Entry* Wheel::take_due() {
  while (due_ != 0) {
    Chunk& chunk = chunks_[due_];
    uint32_t left = chunk.used;
    Entry* due = nullptr;
    for (; left != 0 && due == nullptr; left &= left - 1) {
      Entry& entry = *chunk.cells[std::countr_zero(left)];
      if (entry.wanted_ <= current_) {
        due = &entry;
      } else {
        place_or_forget(entry);
      }
    }
    chunk.used = left;
    if (left == 0) {
      drop_first(due_);
      look_ahead();
    }
    if (due != nullptr) {
      due->cell_ = 0;
      --size_;
      return due;
    }
  }
  return nullptr;
}

bool Wheel::turn(uint64_t target) {
  unsigned level = 0;
  while (level < kLevels && occupied_[level] == 0) ++level;
  if (level == kLevels) {
    current_ = std::max(current_, target);
    return false;
  }
  const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
  const unsigned shift = level * kBits;
  const uint64_t start = (current_ >> shift >> kBits << kBits | slot) << shift;
  if (start > target) {
    current_ = std::max(current_, target);
    return false;
  }
  current_ = start;
  occupied_[level] &= ~(uint64_t{1} << slot);
  uint32_t list = std::exchange(slots_[level * kSlots + slot], 0);
  begin(list);
  if (level == 0) {
    due_ = list;  // all of this very tick
    return true;
  }
  while (list != 0) {
    const Chunk& chunk = chunks_[list];
    for (uint32_t left = chunk.used; left != 0; left &= left - 1) {
      Entry& entry = *chunk.cells[std::countr_zero(left)];
      if (entry.wanted_ > current_) {
        place_or_forget(entry);
      } else {
        append(due_, entry);
      }
    }
    drop_first(list);
    look_ahead();
  }
  return true;
}

Instant Wheel::next_deadline() const {
  if (due_ != 0) return instant_of(current_);
  for (unsigned level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
    const unsigned shift = level * kBits;
    return instant_of((current_ >> shift >> kBits << kBits | slot) << shift);
  }
  return kNever;
}

}  // namespace isthmus::timer
