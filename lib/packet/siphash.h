// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash of short inputs that nobody who does not
// know the key can predict, as TCP's initial sequence numbers (RFC 6528) and cookies need it.
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
class SipHash {
 public:
  explicit SipHash(const SipKey& key)
      : v0_(key.k0 ^ 0x736f6d6570736575),
        v1_(key.k1 ^ 0x646f72616e646f6d),
        v2_(key.k0 ^ 0x6c7967656e657261),
        v3_(key.k1 ^ 0x7465646279746573) {}

  void add(uint64_t word) {
    v3_ ^= word;
    round();
    round();
    v0_ ^= word;
  }
  // last: the remaining bytes (at most 7) in its low end, the input's length modulo 256 in its
  // highest byte.
  uint64_t finish(uint64_t last) {
    add(last);
    v2_ ^= 0xff;
    for (unsigned i = 0; i < 4; ++i) round();
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

inline uint64_t siphash(const SipKey& key, std::span<const uint8_t> bytes) {
  SipHash state(key);
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

// Of a tuple, direction included: its addresses, 4 + 4 bytes or 16 + 16, then the ports beside the
// length of all, which keeps the families apart. IPv4's constant prefix is left out.
inline uint64_t siphash(const SipKey& key, const Tuple& tuple) {
  SipHash state(key);
  const uint64_t ports = uint64_t{tuple.source.port} << 16 | tuple.destination.port;
  if (tuple.source.address.is_v4() && tuple.destination.address.is_v4()) {
    state.add(uint64_t{tuple.source.address.v4_value()} << 32 |
              tuple.destination.address.v4_value());
    return state.finish(uint64_t{12} << 56 | ports);
  }
  for (const Endpoint* end : {&tuple.source, &tuple.destination}) {
    uint64_t words[2];
    std::memcpy(words, end->address.bytes().data(), 16);
    state.add(words[0]);
    state.add(words[1]);
  }
  return state.finish(uint64_t{36} << 56 | ports);
}

}  // namespace isthmus::packet
