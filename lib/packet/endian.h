// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Big-endian integers as they stand in packet headers. No implicit conversion either way: a header
// field that is used as a number without get() does not compile.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace isthmus::packet {

// Packed: a header stands wherever the one before it ends, so its fields have no alignment.
template <typename T>
class [[gnu::packed]] BigEndian {
 public:
  constexpr BigEndian() = default;
  constexpr explicit BigEndian(T host) : raw_(swap(host)) {}

  constexpr T get() const { return swap(raw_); }
  constexpr void set(T host) { raw_ = swap(host); }
  // The value as it lies in memory, for checksums and for DPDK calls that take network order.
  constexpr T raw() const { return raw_; }
  static constexpr BigEndian from_raw(T raw) {
    BigEndian value;
    value.raw_ = raw;
    return value;
  }

  friend constexpr bool operator==(BigEndian, BigEndian) = default;

 private:
  static_assert(std::endian::native == std::endian::little);
  static constexpr T swap(T value) {
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  }

  T raw_ = 0;
};

using be16 = BigEndian<uint16_t>;
using be32 = BigEndian<uint32_t>;
using be64 = BigEndian<uint64_t>;

static_assert(sizeof(be16) == 2 && sizeof(be32) == 4 && sizeof(be64) == 8);
static_assert(alignof(be32) == 1);

// Unaligned big-endian access for byte-oriented parsers. The caller has checked the bounds.
template <typename T>
inline T load_be(const uint8_t* from) {
  T raw;
  std::memcpy(&raw, from, sizeof raw);
  return BigEndian<T>::from_raw(raw).get();
}
template <typename T>
inline void store_be(uint8_t* to, T value) {
  const T raw = BigEndian<T>(value).raw();
  std::memcpy(to, &raw, sizeof raw);
}

}  // namespace isthmus::packet
