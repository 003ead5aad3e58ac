// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The index of a table whose entries live in a fixed array: from a keyed hash to an entry's number.
// Open addressing with linear probing, at most half full; deletion closes the gap, so the table
// never ages. All memory is taken at construction.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace isthmus::packet {

class HashIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // For up to `capacity` numbers, each at most kNone - 1.
  explicit HashIndex(uint32_t capacity) : mask_(slots_for(capacity) - 1), slots_(mask_ + 1) {}

  // What an index for so many numbers occupies.
  static constexpr size_t bytes_for(uint32_t capacity) {
    return size_t{slots_for(capacity)} * sizeof(Slot);
  }

  // The number that was inserted with this hash and for which equal(number) holds, or kNone.
  template <typename Equal>
  uint32_t find(uint64_t hash, Equal&& equal) const {
    for (uint32_t at = home(hash); slots_[at].number != kNone; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.tag == tag(hash) && equal(slot.number)) return slot.number;
    }
    return kNone;
  }

  // The first number that find() would ask about, or kNone: most likely the one, to be fetched.
  uint32_t candidate(uint64_t hash) const {
    return find(hash, [](uint32_t) { return true; });
  }
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[home(hash)]); }

  // The caller keeps the count within the capacity and inserts no number twice with one hash.
  void insert(uint64_t hash, uint32_t number) {
    uint32_t at = home(hash);
    while (slots_[at].number != kNone) at = (at + 1) & mask_;
    slots_[at] = {number, tag(hash)};
  }

  // Removes a number that was inserted with this hash.
  void erase(uint64_t hash, uint32_t number) {
    uint32_t gap = home(hash);
    while (slots_[gap].number != number || slots_[gap].tag != tag(hash)) gap = (gap + 1) & mask_;
    for (uint32_t at = (gap + 1) & mask_; slots_[at].number != kNone; at = (at + 1) & mask_) {
      // An entry may move into the gap unless its home lies behind the gap.
      const uint32_t from_home = (at - slots_[at].tag) & mask_;
      if (from_home < ((at - gap) & mask_)) continue;
      slots_[gap] = slots_[at];
      gap = at;
    }
    slots_[gap] = Slot();
  }

 private:
  struct Slot {
    uint32_t number = kNone;
    uint32_t tag = 0;  // the hash's lower half: where it is at home, and a first comparison
  };
  static constexpr uint32_t slots_for(uint32_t capacity) {
    return std::bit_ceil(capacity < 8 ? 16 : capacity * 2);
  }
  static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash); }
  uint32_t home(uint64_t hash) const { return tag(hash) & mask_; }

  uint32_t mask_;
  std::vector<Slot> slots_;
};

}  // namespace isthmus::packet
