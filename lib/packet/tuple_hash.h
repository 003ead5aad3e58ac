// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A keyed hash of tuples for tables that outsiders fill and each packet asks. Nobody sees its
// values: whoever doesn't know the key must not be able to choose tuples that collide more often
// than by chance, and that is all. What guards something is TupleMac's, below, or SipHash's. TCP's
// timestamp offsets, under a key of their own, are seen: who works that key out learns which host a
// counter belongs to, and nothing of any table.
//
// AES rounds, as the hash tables of Go and Rust have them. Each address passes four under its own
// key; for a given other one that is a permutation, and no difference of inputs becomes one of the
// outputs with a probability above 2^-110 (Daemen and Rijmen, The Design of Rijndael, section 9).
// Four more mix the ports in. Both families take the same way, about a quarter of SipHash-1-3's.
#pragma once

#include <cstdint>
#include <wmmintrin.h>

#include "packet/address.h"
#include "packet/siphash.h"

namespace isthmus::packet {

// The first rounds: each address under its own key, both in one block.
class AddressMix {
 public:
  explicit AddressMix(const SipKey& key)
      : source_(derive(key, 0)), destination_(derive(key, 1)), round_(derive(key, 2)) {}

  __m128i operator()(const IpAddress& source, const IpAddress& destination) const {
    return _mm_xor_si128(rounds(_mm_xor_si128(load(source), source_)),
                         rounds(_mm_xor_si128(load(destination), destination_)));
  }
  // Four more.
  __m128i rounds(__m128i block) const {
    for (int i = 0; i < 4; ++i) block = _mm_aesenc_si128(block, round_);
    return block;
  }
  // The key's 16 bytes of this number.
  static __m128i derive(const SipKey& key, uint64_t number) {
    const auto half = [&](uint64_t n) {
      SipHash hash(key);
      return static_cast<int64_t>(hash.finish(n));
    };
    return _mm_set_epi64x(half(2 * number + 1), half(2 * number));
  }
  static constexpr uint64_t kKeys = 3;  // of those, that it uses

 private:
  static __m128i load(const IpAddress& address) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(address.bytes().data()));
  }

  __m128i source_;
  __m128i destination_;
  __m128i round_;
};

class TupleHash {
 public:
  // key: 16 random bytes, of which the round keys are made.
  explicit TupleHash(const SipKey& key) : mix_(key) {}

  uint64_t operator()(const Endpoint& source, const Endpoint& destination) const {
    const auto ports = static_cast<int>(uint32_t{source.port} << 16 | destination.port);
    const __m128i both = mix_(source.address, destination.address);
    return static_cast<uint64_t>(
        _mm_cvtsi128_si64(mix_.rounds(_mm_xor_si128(both, _mm_cvtsi32_si128(ports)))));
  }
  // Direction included.
  uint64_t operator()(const Tuple& tuple) const { return (*this)(tuple.source, tuple.destination); }

 private:
  AddressMix mix_;
};

// What does guard something: a code over a tuple and 64 bits beside it that nobody can make, or
// tell from chance, who does not know the key. The addresses' block, in which ports and the 64 bits
// have a place, passes the ten rounds of AES-128, each under a key of its own: a hash and then a
// cipher (Wegman and Carter, 1981). A third of SipHash-2-4's instructions.
class TupleMac {
 public:
  explicit TupleMac(const SipKey& key) : mix_(key) {
    for (size_t i = 0; i < kKeys; ++i) {
      keys_[i] = AddressMix::derive(key, AddressMix::kKeys + i);
    }
  }

  uint64_t operator()(const Tuple& tuple, uint64_t beside) const {
    const uint64_t ports = uint64_t{tuple.source.port} << 16 | tuple.destination.port;
    const __m128i rest = _mm_set_epi64x(static_cast<int64_t>(beside), static_cast<int64_t>(ports));
    __m128i block = _mm_xor_si128(mix_(tuple.source.address, tuple.destination.address), rest);
    block = _mm_xor_si128(block, keys_[0]);
    for (size_t i = 1; i + 1 < kKeys; ++i) block = _mm_aesenc_si128(block, keys_[i]);
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_aesenclast_si128(block, keys_[kKeys - 1])));
  }

 private:
  AddressMix mix_;
  static constexpr size_t kKeys = 11;
  __m128i keys_[kKeys];
};

}  // namespace isthmus::packet
