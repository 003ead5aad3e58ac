// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Addresses of hosts and of transport endpoints, IPv4 and IPv6 in one type each.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "packet/endian.h"

namespace isthmus::packet {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};

  // "02:00:00:00:00:01"; empty when the text is anything else.
  static std::optional<MacAddress> parse(std::string_view text);
  static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }
  std::string to_string() const;

  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) = default;
};
static_assert(sizeof(MacAddress) == 6);

// An IPv4 or IPv6 address, 16 bytes in network order. An IPv4 address is held in its v4-mapped form
// (RFC 4291 section 2.5.5.2), so one table, one hash and one comparison serve both families. An
// IPv6 packet that carries a v4-mapped address is malformed and is dropped by the parser.
class IpAddress {
 public:
  constexpr IpAddress() = default;  // "::", the unspecified address
  static constexpr IpAddress v4(uint32_t host_order) {
    const uint64_t wire = __builtin_bswap32(host_order);
    IpAddress address;
    address.bytes_ = std::bit_cast<std::array<uint8_t, 16>>(Words{0, wire << 32 | kMappedPrefix});
    return address;
  }
  static IpAddress v4(be32 wire) { return v4(wire.get()); }
  static IpAddress v6(const uint8_t* sixteen_bytes) {
    IpAddress address;
    std::memcpy(address.bytes_.data(), sixteen_bytes, 16);
    return address;
  }
  // 4 or 16 bytes in network order, as istio.workload carries addresses; empty for another length.
  static std::optional<IpAddress> from_bytes(std::span<const uint8_t> bytes);
  // "10.0.0.1" or "fd00::1"; no zone, no brackets. Empty when the text is anything else.
  static std::optional<IpAddress> parse(std::string_view text);

  constexpr bool is_v4() const {
    const Words words = as_words();
    return words.low == 0 && static_cast<uint32_t>(words.high) == kMappedPrefix;
  }
  constexpr bool is_unspecified() const {
    const Words words = as_words();
    return words.low == 0 && (words.high == 0 || words.high == kMappedPrefix);
  }
  constexpr bool is_multicast() const {
    return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
  }
  constexpr bool is_loopback() const {
    const Words words = as_words();
    if (is_v4()) return bytes_[12] == 127;
    return words.low == 0 && words.high == uint64_t{1} << 56;
  }
  // Host-order value; only meaningful when is_v4().
  uint32_t v4_value() const { return load_be<uint32_t>(bytes_.data() + 12); }
  be32 v4_wire() const { return be32(v4_value()); }
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  std::string to_string() const;

  // Two comparisons of words: every packet's lookup asks for it.
  friend constexpr bool operator==(const IpAddress& a, const IpAddress& b) {
    return a.as_words() == b.as_words();
  }
  // clang-tidy takes the 0 that a rewritten comparison compares with for a null pointer.
  friend constexpr auto operator<=>(const IpAddress&,
                                    const IpAddress&) = default;  // NOLINT(modernize-use-nullptr)

 private:
  static_assert(std::endian::native == std::endian::little);
  static constexpr uint32_t kMappedPrefix = 0xffff0000;  // bytes 8 to 11 of a v4-mapped address
  // Not std::array, whose comparison the compiler leaves to memcmp().
  struct Words {
    uint64_t low;
    uint64_t high;
    constexpr bool operator==(const Words& other) const {
      return ((low ^ other.low) | (high ^ other.high)) == 0;
    }
  };
  constexpr Words as_words() const { return std::bit_cast<Words>(bytes_); }

  std::array<uint8_t, 16> bytes_{};
};
static_assert(sizeof(IpAddress) == 16);

// A CIDR block. The length counts bits of its own family (0..32 or 0..128); host bits are zero.
struct Prefix {
  IpAddress address;
  uint8_t length = 0;

  // "10.0.0.0/8", or an address alone (a host prefix). Empty when malformed or host bits are set.
  static std::optional<Prefix> parse(std::string_view text);
  static Prefix host(const IpAddress& address);
  bool contains(const IpAddress& other) const;
  std::string to_string() const;

  friend constexpr auto operator<=>(const Prefix&, const Prefix&) = default;
};

// An address and a TCP or UDP port (host order).
struct Endpoint {
  IpAddress address;
  uint16_t port = 0;

  // "10.0.0.1:80" or "[fd00::1]:80"; the port is 1..65535. Empty when the text is anything else.
  static std::optional<Endpoint> parse(std::string_view text);
  std::string to_string() const;

  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// One direction of a TCP or UDP conversation, as in the packet: from source to destination.
struct Tuple {
  Endpoint source;
  Endpoint destination;

  constexpr Tuple reversed() const { return {destination, source}; }
  std::string to_string() const;  // "10.0.0.1:1 -> 10.0.0.2:2"

  friend constexpr auto operator<=>(const Tuple&, const Tuple&) = default;
};

}  // namespace isthmus::packet
