// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Traffic keys live apart from packets and heap, in memory that the control side makes before a
// worker starts: locked, left out of core dumps, and never part of an EAL segment (a vhost-user
// backend maps all of those). This room only carves it up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tls/secrets.h"

namespace isthmus::tls {

// Memory for keys: 64-byte aligned, zeroed, owned by whoever made it and alive as long as every
// KeyStore over it.
using KeyMemory = std::span<uint8_t>;

// Keys of one direction of one connection, expanded for the GCM kernels. Lines 0 to 15 hold what
// every record reads; the secret is read by key updates only.
struct alignas(64) DirectionKeys {
  uint8_t expanded[1008];  // gcm_key_data of IPsec-MB
  uint8_t iv[kIvSize];
  Cipher cipher;
  uint16_t in_use;
  TrafficSecret secret;
  DirectionKeys* next_free;  // only while in_use == 0
};
static_assert(sizeof(DirectionKeys) == 1088 && offsetof(DirectionKeys, secret) == 1024);

// Pool of key slots of one worker.
class KeyStore {
 public:
  explicit KeyStore(KeyMemory memory);
  KeyStore(const KeyStore&) = delete;
  KeyStore& operator=(const KeyStore&) = delete;

  // Null when every slot is taken. The slot's contents are zero.
  DirectionKeys* take();
  // Wipes the slot.
  void give_back(DirectionKeys* keys);

  unsigned capacity() const { return capacity_; }
  unsigned in_use() const { return in_use_; }
  // Bytes of memory for so many connections: two slots each.
  static constexpr size_t bytes_for(unsigned connections) {
    return size_t{2} * connections * sizeof(DirectionKeys);
  }

 private:
  DirectionKeys* free_ = nullptr;
  unsigned capacity_ = 0;
  unsigned in_use_ = 0;
};

}  // namespace isthmus::tls
