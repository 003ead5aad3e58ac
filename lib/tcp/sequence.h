// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Sequence numbers: 32 bits, compared modulo 2^32 (RFC 9293 section 3.4, MUST-1). Every difference
// that is compared is below 2^31 by the window's bound.
#pragma once

#include <cstdint>

namespace isthmus::tcp {

using Seq = uint32_t;

constexpr bool seq_lt(Seq a, Seq b) {
  return static_cast<int32_t>(a - b) < 0;
}
constexpr bool seq_leq(Seq a, Seq b) {
  return static_cast<int32_t>(a - b) <= 0;
}
constexpr Seq seq_max(Seq a, Seq b) {
  return seq_lt(a, b) ? b : a;
}
constexpr Seq seq_min(Seq a, Seq b) {
  return seq_lt(a, b) ? a : b;
}

}  // namespace isthmus::tcp
