// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "timer/wheel.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace isthmus::timer {

uint64_t Wheel::ceil_tick(Instant when) const {
  if (when <= origin_) return 0;
  constexpr uint64_t kFarthest = (uint64_t{1} << (kBits * kLevels - 1)) - 1;
  const auto micros = static_cast<uint64_t>(when.time_since_epoch().count()) -
                      static_cast<uint64_t>(origin_.time_since_epoch().count());
  const auto tick = static_cast<uint64_t>(kTick.count());
  return std::min(kFarthest, micros / tick + (micros % tick != 0 ? 1 : 0));
}

void Wheel::push(Entry*& list, Entry& entry) {
  entry.next_ = list;
  entry.link_ = &list;
  if (list != nullptr) list->link_ = &entry.next_;
  list = &entry;
}

void Wheel::unlink(Entry& entry) {
  *entry.link_ = entry.next_;
  if (entry.next_ != nullptr) {
    entry.next_->link_ = entry.link_;
  } else if (entry.link_ >= slots_.data() && entry.link_ < slots_.data() + slots_.size()) {
    const auto slot = static_cast<unsigned>(entry.link_ - slots_.data());
    occupied_[slot / kSlots] &= ~(uint64_t{1} << (slot % kSlots));
  }
  entry.next_ = nullptr;
  entry.link_ = nullptr;
}

void Wheel::place(Entry& entry) {
  entry.placed_ = std::max(entry.wanted_, current_ + 1);
  const unsigned highest_difference = 63u - std::countl_zero((entry.placed_ ^ current_) | 1);
  const unsigned level = highest_difference / kBits;
  const unsigned slot = (entry.placed_ >> (level * kBits)) % kSlots;
  occupied_[level] |= uint64_t{1} << slot;
  push(slots_[level * kSlots + slot], entry);
}

void Wheel::arm(Entry& entry, Instant deadline) {
  if (deadline == kNever) {
    // Taking it off its list would fetch its neighbours from memory, and most come back soon.
    entry.wanted_ = kUnwanted;
    return;
  }
  entry.wanted_ = ceil_tick(deadline);
  if (entry.armed()) {
    if (entry.wanted_ >= entry.placed_) return;
    unlink(entry);
  } else {
    ++size_;
  }
  place(entry);
}

void Wheel::cancel(Entry& entry) {
  if (!entry.armed()) return;
  unlink(entry);
  --size_;
}

bool Wheel::settle(Entry& entry) {
  unlink(entry);
  if (entry.wanted_ <= current_) {
    --size_;
    return false;
  }
  place_or_forget(entry);
  return true;
}

void Wheel::place_or_forget(Entry& entry) {
  if (entry.wanted_ != kUnwanted) return place(entry);
  entry.link_ = nullptr;
  --size_;
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
  Entry* list = std::exchange(slots_[level * kSlots + slot], nullptr);
  while (list != nullptr) {
    Entry& entry = *list;
    list = entry.next_;
    if (entry.wanted_ > current_) {
      place_or_forget(entry);
    } else {
      push(due_, entry);
    }
  }
  return true;
}

Instant Wheel::next_deadline() const {
  if (due_ != nullptr) return instant_of(current_);
  for (unsigned level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
    const unsigned shift = level * kBits;
    return instant_of((current_ >> shift >> kBits << kBits | slot) << shift);
  }
  return kNever;
}

}  // namespace isthmus::timer
