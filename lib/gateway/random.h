// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Random numbers of one worker: a counter under a keyed hash, unpredictable to whoever does not
// know the key, repeatable in tests.
#pragma once

#include <cstdint>

#include "packet/siphash.h"

namespace isthmus::gateway {

class Random {
 public:
  using Key = packet::SipKey;
  explicit Random(const Key& key) : key_(key) {}

  uint64_t next() { return packet::SipHash(key_).finish(counter_++); }

 private:
  Key key_;
  uint64_t counter_ = 0;
};

}  // namespace isthmus::gateway
