// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/siphash.h"

#include <array>
#include <gtest/gtest.h>
#include <utility>

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

// As CPython 3.11 hashes bytes when PYTHONHASHSEED=0 makes its key zero.
TEST(SipHash, OneThreeIsWhatPythonComputes) {
  constexpr std::pair<size_t, uint64_t> kVectors[] = {
      {1, 7541581120933061747}, {7, 3389392686435873370},   {8, 16921169381604339434u},
      {9, 8471974163824919394}, {16, 9904005486622393783u}, {36, 12427562362022931411u}};
  std::array<uint8_t, 36> input;
  for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<uint8_t>(i);
  for (const auto& [length, hash] : kVectors) {
    EXPECT_EQ(siphash<SipHash13>(SipKey(), std::span(input).first(length)), hash) << length;
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
