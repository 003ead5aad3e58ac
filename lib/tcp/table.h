// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Where a connection is found: open addressing over 8-byte slots, half of the keyed hash and the
// number of the entry. Linear probing; deletion shifts back, so there are no tombstones and a probe
// ends at the first empty slot. At most half full.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

namespace isthmus::tcp {

class Table {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit Table(uint32_t max_entries)
      : mask_(slots_for(max_entries) - 1), slots_(new Slot[mask_ + 1]) {}

  // What a table for so many entries occupies.
  static constexpr size_t bytes_for(uint32_t max_entries) {
    return size_t{slots_for(max_entries)} * sizeof(Slot);
  }

  // The entry with this hash for which equal(entry) holds, or kNone.
  template <typename Equal>
  uint32_t find(uint64_t hash, Equal&& equal) const {
    const auto tag = static_cast<uint32_t>(hash);
    for (uint32_t i = home(hash);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.entry == kNone) return kNone;
      if (slot.tag == tag && equal(slot.entry)) return slot.entry;
    }
  }

  // The first entry that find() would ask about, or kNone: most likely the one, to be fetched.
  uint32_t candidate(uint64_t hash) const {
    const auto tag = static_cast<uint32_t>(hash);
    for (uint32_t i = home(hash); slots_[i].entry != kNone; i = (i + 1) & mask_) {
      if (slots_[i].tag == tag) return slots_[i].entry;
    }
    return kNone;
  }

  // The caller has made sure that the key is new and the table not over its bound.
  void insert(uint64_t hash, uint32_t entry) {
    uint32_t i = home(hash);
    while (slots_[i].entry != kNone) i = (i + 1) & mask_;
    slots_[i] = {static_cast<uint32_t>(hash), entry};
  }

  void erase(uint64_t hash, uint32_t entry) {
    uint32_t i = home(hash);
    while (slots_[i].entry != entry) {
      if (slots_[i].entry == kNone) return;
      i = (i + 1) & mask_;
    }
    for (uint32_t j = (i + 1) & mask_; slots_[j].entry != kNone; j = (j + 1) & mask_) {
      // A slot may move to the hole unless its home lies behind the hole on its probe path.
      if (((j - slots_[j].tag) & mask_) >= ((j - i) & mask_)) {
        slots_[i] = slots_[j];
        i = j;
      }
    }
    slots_[i].entry = kNone;
  }

  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[home(hash)]); }

 private:
  struct Slot {
    uint32_t tag = 0;  // the hash's low half: the home slot under any mask
    uint32_t entry = kNone;
  };
  static constexpr uint32_t slots_for(uint32_t max_entries) {
    return std::bit_ceil(max_entries * 2 + 2);
  }
  uint32_t home(uint64_t hash) const { return static_cast<uint32_t>(hash) & mask_; }

  uint32_t mask_;
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace isthmus::tcp
