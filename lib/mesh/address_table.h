// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A read-only hash table keyed by address: open addressing, at most half full, built once. The hash
// is keyed by a seed, so that whoever chooses addresses cannot choose collisions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "packet/address.h"

namespace isthmus::mesh {

template <typename Value>
class AddressTable {
 public:
  AddressTable() = default;
  AddressTable(size_t entries, uint64_t seed)
      : slots_(std::bit_ceil(entries * 2 + 1)), seed_(seed) {}

  // The first value of an address stays. The caller inserts at most as many entries as announced.
  bool insert(const packet::IpAddress& key, const Value& value) {
    Slot& slot = slots_[position(key)];
    if (slot.used) return false;
    slot = {key, value, true};
    return true;
  }

  const Value* find(const packet::IpAddress& key) const noexcept {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[position(key)];
    return slot.used ? &slot.value : nullptr;
  }
  Value* find(const packet::IpAddress& key) {
    return const_cast<Value*>(std::as_const(*this).find(key));
  }

 private:
  struct Slot {
    packet::IpAddress key;
    Value value{};
    bool used = false;
  };

  // The slot of the key, or the free one where it would go.
  size_t position(const packet::IpAddress& key) const noexcept {
    const size_t mask = slots_.size() - 1;
    size_t at = hash(key) & mask;
    while (slots_[at].used && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  uint64_t hash(const packet::IpAddress& key) const noexcept {
    uint64_t words[2];
    std::memcpy(words, key.bytes().data(), sizeof words);
    return mix(mix(words[0] ^ seed_) ^ words[1]);
  }
  static uint64_t mix(uint64_t x) noexcept {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9U;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebU;
    return x ^ (x >> 31);
  }

  std::vector<Slot> slots_;
  uint64_t seed_ = 0;
};

}  // namespace isthmus::mesh
