// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/key_memory.h"

#include <cassert>
#include <cstring>
#include <new>

namespace isthmus::tls {

KeyStore::KeyStore(KeyMemory memory) {
  assert(reinterpret_cast<uintptr_t>(memory.data()) % alignof(DirectionKeys) == 0);
  capacity_ = static_cast<unsigned>(memory.size() / sizeof(DirectionKeys));
  // Lowest address first, so that few connections touch few pages.
  for (unsigned i = capacity_; i-- > 0;) {
    auto* keys = new (memory.data() + i * sizeof(DirectionKeys)) DirectionKeys();
    keys->next_free = free_;
    free_ = keys;
  }
}

DirectionKeys* KeyStore::take() {
  DirectionKeys* keys = free_;
  if (keys == nullptr) return nullptr;
  free_ = keys->next_free;
  keys->next_free = nullptr;
  keys->in_use = 1;
  ++in_use_;
  return keys;
}

void KeyStore::give_back(DirectionKeys* keys) {
  assert(keys->in_use == 1);
  explicit_bzero(static_cast<void*>(keys), sizeof *keys);
  keys->next_free = free_;
  free_ = keys;
  --in_use_;
}

}  // namespace isthmus::tls
