// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/address.h"

#include <arpa/inet.h>
#include <charconv>

namespace isthmus::packet {
namespace {

// A decimal number without sign, blanks or leading zeros, at most max.
std::optional<uint32_t> parse_decimal(std::string_view text, uint32_t max) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

unsigned bits_of(const IpAddress& address) {
  return address.is_v4() ? 32 : 128;
}

// True when the first `length` bits (counted in a's 16 bytes) are equal.
bool same_bits(const std::array<uint8_t, 16>& a, const std::array<uint8_t, 16>& b,
               unsigned length) {
  const unsigned whole = length / 8;
  if (std::memcmp(a.data(), b.data(), whole) != 0) return false;
  const unsigned rest = length % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

}  // namespace

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddress mac;
  for (size_t i = 0; i < 6; ++i) {
    const char* from = text.data() + 3 * i;
    if (i != 5 && from[2] != ':') return std::nullopt;
    const auto [end, error] = std::from_chars(from, from + 2, mac.bytes[i], 16);
    if (error != std::errc() || end != from + 2) return std::nullopt;
  }
  return mac;
}

std::string MacAddress::to_string() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    if (!text.empty()) text += ':';
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<IpAddress> IpAddress::from_bytes(std::span<const uint8_t> bytes) {
  if (bytes.size() == 4) return v4(load_be<uint32_t>(bytes.data()));
  if (bytes.size() != 16) return std::nullopt;
  const IpAddress address = v6(bytes.data());
  if (address.is_v4()) return std::nullopt;
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer || text.find('\0') != text.npos) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  uint8_t bytes[16];
  if (inet_pton(AF_INET, buffer, bytes) == 1) return v4(load_be<uint32_t>(bytes));
  // A v4-mapped text would be a second spelling of an IPv4 address: from_bytes refuses it.
  if (inet_pton(AF_INET6, buffer, bytes) == 1) return from_bytes(bytes);
  return std::nullopt;
}

std::string IpAddress::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  const bool four = is_v4();
  inet_ntop(four ? AF_INET : AF_INET6, bytes_.data() + (four ? 12 : 0), buffer, sizeof buffer);
  return buffer;
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == text.npos) return host(*address);
  const auto length = parse_decimal(text.substr(slash + 1), bits_of(*address));
  if (!length) return std::nullopt;
  // Host bits must be zero: "10.0.0.1/8" is more likely a mistake than a wish for 10.0.0.0/8.
  const unsigned first = 128 - bits_of(*address) + *length;
  for (unsigned bit = first; bit < 128; ++bit) {
    if ((address->bytes()[bit / 8] >> (7 - bit % 8) & 1) != 0) return std::nullopt;
  }
  return Prefix{*address, static_cast<uint8_t>(*length)};
}

Prefix Prefix::host(const IpAddress& address) {
  return {address, static_cast<uint8_t>(bits_of(address))};
}

bool Prefix::contains(const IpAddress& other) const {
  if (address.is_v4() != other.is_v4()) return false;
  return same_bits(address.bytes(), other.bytes(), 128 - bits_of(address) + length);
}

std::string Prefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_decimal(text.substr(colon + 1), 65535);
  if (!address || !port || *port == 0 || address->is_v4() == bracketed) return std::nullopt;
  return Endpoint{*address, static_cast<uint16_t>(*port)};
}

std::string Endpoint::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

std::string Tuple::to_string() const {
  return source.to_string() + " -> " + destination.to_string();
}

}  // namespace isthmus::packet
