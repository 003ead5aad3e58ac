// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/tuple_hash.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "support/packets.h"

namespace isthmus::packet {
namespace {

TEST(TupleHash, DirectionPortsAndKeyCount) {
  const TupleHash hash(SipKey{1, 2});
  const Tuple tuple = test::tuple("10.0.0.1:1", "10.0.0.2:2");
  EXPECT_EQ(hash(tuple), TupleHash(SipKey{1, 2})(tuple));
  EXPECT_NE(hash(tuple), hash(tuple.reversed()));
  EXPECT_NE(hash(tuple), TupleHash(SipKey{1, 3})(tuple));
  EXPECT_NE(hash(test::tuple("10.0.0.1:1", "10.0.0.2:2")),
            hash(test::tuple("10.0.0.1:2", "10.0.0.2:1")));
  EXPECT_NE(hash(test::tuple("10.0.0.1:1", "10.0.0.1:2")),
            hash(test::tuple("10.0.0.1:2", "10.0.0.1:1")));
}

// Each bit of a tuple changes each bit of the hash's lower half, which tables use, half of the
// time.
TEST(TupleHash, EveryBitOfATupleReachesEveryBitOfTheHash) {
  constexpr unsigned kKeys = 4000;
  constexpr size_t kEndBits = 8 * (size_t{16} + 2);
  const Tuple plain = test::tuple("[fd00::1]:1000", "[fd00::2]:80");
  for (size_t bit = 0; bit < 2 * kEndBits; ++bit) {
    Tuple changed = plain;
    const bool first = bit < kEndBits;
    Endpoint& end = first ? changed.source : changed.destination;
    const size_t at = first ? bit : bit - kEndBits;
    if (at < 128) {
      auto bytes = end.address.bytes();
      bytes[at / 8] ^= static_cast<uint8_t>(1 << at % 8);
      end.address = IpAddress::v6(bytes.data());
    } else {
      end.port ^= static_cast<uint16_t>(1 << (at - 128));
    }
    std::vector<unsigned> flips(32);
    for (uint64_t key = 0; key < kKeys; ++key) {
      const TupleHash hash(SipKey{key, 7});
      const auto difference = static_cast<uint32_t>(hash(plain) ^ hash(changed));
      for (unsigned i = 0; i < 32; ++i) flips[i] += difference >> i & 1;
    }
    // Five standard deviations, 9216 times.
    for (unsigned i = 0; i < 32; ++i)
      EXPECT_NEAR(flips[i], 0.5 * kKeys, 5 * 31.6) << bit << " " << i;
  }
}

TEST(TupleMac, EveryBitOfWhatItCoversReachesEveryBitOfTheCode) {
  constexpr unsigned kKeys = 4000;
  const Tuple plain = test::tuple("10.0.0.1:1000", "10.0.0.2:80");
  const auto expect_half = [&](auto&& change) {
    std::vector<unsigned> flips(64);
    for (uint64_t key = 0; key < kKeys; ++key) {
      const TupleMac mac(SipKey{key, 7});
      Tuple changed = plain;
      uint64_t beside = 99;
      change(changed, beside);
      const uint64_t difference = mac(plain, 99) ^ mac(changed, beside);
      for (unsigned i = 0; i < 64; ++i) flips[i] += difference >> i & 1;
    }
    for (unsigned i = 0; i < 64; ++i) EXPECT_NEAR(flips[i], 0.5 * kKeys, 5 * 31.6) << i;
  };
  for (unsigned bit = 0; bit < 64; ++bit) {
    expect_half([&](Tuple&, uint64_t& beside) { beside ^= uint64_t{1} << bit; });
  }
  expect_half([](Tuple& tuple, uint64_t&) { tuple = tuple.reversed(); });
  expect_half([](Tuple& tuple, uint64_t&) { tuple.source.port ^= 1; });
  expect_half([](Tuple& tuple, uint64_t&) { tuple.destination.port ^= 0x8000; });
  expect_half([](Tuple& tuple, uint64_t&) {
    tuple.source.address = IpAddress::v4(tuple.source.address.v4_value() ^ 1);
  });
}

TEST(TupleMac, KeyDecides) {
  const Tuple tuple = test::tuple("[fd00::1]:1000", "[fd00::2]:80");
  EXPECT_EQ(TupleMac(SipKey{1, 2})(tuple, 5), TupleMac(SipKey{1, 2})(tuple, 5));
  EXPECT_NE(TupleMac(SipKey{1, 2})(tuple, 5), TupleMac(SipKey{1, 3})(tuple, 5));
}

// As a table with a million slots would be filled by an outsider who counts addresses and ports.
TEST(TupleHash, CountedTuplesFillATableEvenly) {
  constexpr unsigned kTuples = 1 << 20;
  const TupleHash hash(SipKey{3, 4});
  std::vector<uint8_t> slots(kTuples);
  for (uint32_t i = 0; i < kTuples; ++i) {
    const Endpoint source{IpAddress::v4(0x0a000000 + i / 1024), static_cast<uint16_t>(i % 1024)};
    ++slots[hash(source, {IpAddress::v4(0x0b000001), 80}) % kTuples];
  }
  unsigned empty = 0;
  uint8_t fullest = 0;
  for (const uint8_t count : slots) {
    empty += count == 0;
    fullest = std::max(fullest, count);
  }
  EXPECT_NEAR(empty, kTuples / M_E, 3000);
  EXPECT_LE(fullest, 12);
}

}  // namespace
}  // namespace isthmus::packet
