// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/siphash.h"

#include <array>
#include <gtest/gtest.h>

#include "support/packets.h"

namespace isthmus::packet {
namespace {

SipKey reference_key() {
  std::array<uint8_t, 16> bytes;
  for (uint8_t i = 0; i < 16; ++i) bytes[i] = i;
  return SipKey::from_bytes(bytes);
}

// The reference implementation's vectors: key 00 01 .. 0f, inputs of 0 to 15 bytes 00 01 ..
TEST(SipHash, ReferenceVectors) {
  constexpr uint64_t kVectors[] = {
      0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
      0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
      0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
      0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5};
  for (size_t n = 0; n < std::size(kVectors); ++n) {
    std::array<uint8_t, 16> input;
    for (uint8_t i = 0; i < 16; ++i) input[i] = i;
    EXPECT_EQ(siphash(reference_key(), std::span(input).first(n)), kVectors[n]) << n;
  }
}

TEST(SipHash, TupleIsHashedWithItsDirection) {
  const Tuple tuple = test::tuple("10.0.0.1:1", "10.0.0.2:2");
  EXPECT_NE(siphash(reference_key(), tuple), siphash(reference_key(), tuple.reversed()));
  Tuple other = tuple;
  other.source.port = 3;
  EXPECT_NE(siphash(reference_key(), tuple), siphash(reference_key(), other));
  EXPECT_NE(siphash(reference_key(), tuple), siphash(SipKey{1, 2}, tuple));
}

}  // namespace
}  // namespace isthmus::packet
