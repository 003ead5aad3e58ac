// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A keyed hash of tuples for tables that outsiders fill and each packet asks. Nobody sees its
// values: whoever doesn't know the key must not be able to choose tuples that collide more often
// than by chance, and that is all. What guards something is SipHash's (packet/siphash.h). TCP's
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

class TupleHash {
 public:
  // key: 16 random bytes, of which the round keys are made.
  explicit TupleHash(const SipKey& key)
      : source_(derive(key, 0)), destination_(derive(key, 1)), round_(derive(key, 2)) {}

  uint64_t operator()(const Endpoint& source, const Endpoint& destination) const {
    const __m128i from = mix(_mm_xor_si128(load(source.address), source_));
    const __m128i to = mix(_mm_xor_si128(load(destination.address), destination_));
    const auto ports = static_cast<int>(uint32_t{source.port} << 16 | destination.port);
    const __m128i both = _mm_xor_si128(from, to);
    return static_cast<uint64_t>(
        _mm_cvtsi128_si64(mix(_mm_xor_si128(both, _mm_cvtsi32_si128(ports)))));
  }
  // Direction included.
  uint64_t operator()(const Tuple& tuple) const { return (*this)(tuple.source, tuple.destination); }

 private:
  static __m128i load(const IpAddress& address) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(address.bytes().data()));
  }
  static __m128i derive(const SipKey& key, uint64_t number) {
    const auto half = [&](uint64_t n) {
      SipHash hash(key);
      return static_cast<int64_t>(hash.finish(n));
    };
    return _mm_set_epi64x(half(2 * number + 1), half(2 * number));
  }
  __m128i mix(__m128i block) const {
    for (int i = 0; i < 4; ++i) block = _mm_aesenc_si128(block, round_);
    return block;
  }

  __m128i source_;
  __m128i destination_;
  __m128i round_;
};

}  // namespace isthmus::packet
