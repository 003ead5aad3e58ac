// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// SipHash (Aumasson and Bernstein, 2012): a keyed hash of short inputs that nobody who does not
// know the key can collide. SipHash-2-4 for what guards something, as TCP's initial sequence
// numbers (RFC 6528) and cookies, and for all that isn't done for each packet; SipHash-1-3 for the
// connection table, whose hashes nobody sees, and for the offset of timestamps, which only keeps
// hosts apart.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "packet/address.h"

namespace isthmus::packet {

struct SipKey {
  uint64_t k0 = 0;
  uint64_t k1 = 0;

  // 16 random bytes.
  static SipKey from_bytes(std::span<const uint8_t, 16> bytes) {
    SipKey key;
    std::memcpy(&key.k0, bytes.data(), 8);
    std::memcpy(&key.k1, bytes.data() + 8, 8);
    return key;
  }
};

// The state, fed by whole 64-bit little-endian words and finished with what is left.
template <unsigned kCompressions, unsigned kFinalizations>
class SipHashOf {
 public:
  explicit SipHashOf(const SipKey& key)
      : v0_(key.k0 ^ 0x736f6d6570736575),
        v1_(key.k1 ^ 0x646f72616e646f6d),
        v2_(key.k0 ^ 0x6c7967656e657261),
        v3_(key.k1 ^ 0x7465646279746573) {}

  void add(uint64_t word) {
    v3_ ^= word;
    for (unsigned i = 0; i < kCompressions; ++i) round();
    v0_ ^= word;
  }
  // last: the remaining bytes (at most 7) in its low end, the input's length modulo 256 in its
  // highest byte.
  uint64_t finish(uint64_t last) {
    add(last);
    v2_ ^= 0xff;
    for (unsigned i = 0; i < kFinalizations; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void round() {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v1_;
    v0_ += v3_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ = std::rotl(v2_, 32);
  }

  uint64_t v0_, v1_, v2_, v3_;
};

using SipHash = SipHashOf<2, 4>;
using SipHash13 = SipHashOf<1, 3>;

template <typename Hash = SipHash>
uint64_t siphash(const SipKey& key, std::span<const uint8_t> bytes) {
  Hash state(key);
  const uint64_t length = bytes.size();
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    state.add(word);
  }
  uint64_t last = length << 56;
  for (size_t i = 0; i < bytes.size(); ++i) last |= uint64_t{bytes[i]} << (8 * i);
  return state.finish(last);
}

// Of an address: its 16 bytes.
inline uint64_t siphash(const SipKey& key, const IpAddress& address) {
  return siphash(key, address.bytes());
}

// Feeds a tuple's addresses, 4 + 4 bytes or 16 + 16, and gives what finish() takes: the ports, and
// the length of all, which keeps the families apart. Each packet pays for it, so IPv4's constant
// prefix is left out.
template <typename Hash>
uint64_t add_tuple(Hash& state, const Tuple& tuple) {
  const uint64_t ports = uint64_t{tuple.source.port} << 16 | tuple.destination.port;
  if (tuple.source.address.is_v4() && tuple.destination.address.is_v4()) {
    state.add(uint64_t{tuple.source.address.v4_value()} << 32 |
              tuple.destination.address.v4_value());
    return uint64_t{12} << 56 | ports;
  }
  for (const Endpoint* end : {&tuple.source, &tuple.destination}) {
    uint64_t words[2];
    std::memcpy(words, end->address.bytes().data(), 16);
    state.add(words[0]);
    state.add(words[1]);
  }
  return uint64_t{36} << 56 | ports;
}

// Of a tuple, direction included.
template <typename Hash = SipHash>
uint64_t siphash(const SipKey& key, const Tuple& tuple) {
  Hash state(key);
  return state.finish(add_tuple(state, tuple));
}

}  // namespace isthmus::packet
