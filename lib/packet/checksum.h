// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The Internet checksum (RFC 1071): whole, over a pseudo header, and updated in place when a few
// words change (RFC 1624). Sums are kept as they lie in memory, so no byte is ever swapped.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include <rte_ip.h>
#include <rte_mbuf.h>

#include "packet/address.h"
#include "packet/endian.h"

namespace isthmus::packet {

// A one's complement sum that has not been folded to 16 bits yet.
class Sum {
 public:
  constexpr Sum() = default;

  Sum& add(const void* bytes, size_t length) {
    value_ += rte_raw_cksum(bytes, length);
    return *this;
  }
  constexpr Sum& add(be16 word) {
    value_ += word.raw();
    return *this;
  }
  constexpr Sum& add(be32 word) {
    value_ += word.raw();  // its halves meet when the sum is folded
    return *this;
  }
  // Takes a word out again: adds its complement.
  constexpr Sum& remove(be16 word) {
    value_ += static_cast<uint16_t>(~word.raw());
    return *this;
  }
  constexpr Sum& remove(be32 word) { return add(be32::from_raw(~word.raw())); }
  constexpr Sum& add(const Sum& other) {
    value_ += other.folded();
    return *this;
  }

  // The 16-bit sum, as a partial (pseudo header) checksum field holds it.
  constexpr uint16_t folded() const {
    // A number and its halves exchanged: above stands the sum of both, with the carry that came
    // around.
    const auto half = static_cast<uint32_t>((value_ + std::rotl(value_, 32)) >> 32);
    return static_cast<uint16_t>((half + std::rotl(half, 16)) >> 16);
  }
  // Its complement, as a complete checksum field holds it.
  constexpr be16 checksum() const { return be16::from_raw(static_cast<uint16_t>(~folded())); }
  constexpr be16 partial() const { return be16::from_raw(folded()); }

 private:
  uint64_t value_ = 0;
};

// The words of an address that the pseudo header of its family contains: 4 bytes or 16. An IPv4
// address's mapped prefix must not be summed.
inline Sum address_sum(const IpAddress& address) {
  const unsigned skip = address.is_v4() ? 12 : 0;
  return Sum().add(address.bytes().data() + skip, 16 - skip);
}

// Pseudo header of RFC 9293 section 3.1 and RFC 8200 section 8.1. length is that of the transport
// header and payload together; DPDK's convention for segmentation offload wants 0.
inline Sum pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                             uint8_t protocol, uint32_t length) {
  return address_sum(source).add(address_sum(destination)).add(be32(length)).add(be16(protocol));
}

// Sum of bytes [offset, offset + length) of a packet, over all its segments; they must be there.
// DPDK 22.11's rte_raw_cksum_mbuf() loses carries of segments that begin at an odd offset.
Sum packet_sum(const rte_mbuf* packet, uint32_t offset, uint32_t length);

inline be16 ipv4_header_checksum(const void* header, unsigned length) {
  return Sum().add(header, length).checksum();
}

// What changes in a checksummed header: collect with replace(), then apply to each checksum that
// covers the words (RFC 1624 equation 3, HC' = ~(~HC + ~m + m')).
class ChecksumDelta {
 public:
  constexpr void replace(be16 from, be16 to) { sum_.remove(from).add(to); }
  constexpr void replace(be32 from, be32 to) { sum_.remove(from).add(to); }
  void replace(const IpAddress& from, const IpAddress& to) {
    sum_.add(be16::from_raw(static_cast<uint16_t>(~address_sum(from).folded())));
    sum_.add(address_sum(to));
  }

  // The field of a packet whose checksum is complete.
  void apply(be16& checksum) const { checksum = Sum().remove(checksum).add(sum_).checksum(); }
  // UDP over IPv4: zero means that there is none, and a sum that comes out as zero is sent as
  // 0xffff (RFC 768).
  void apply_udp(be16& checksum) const {
    if (checksum.raw() == 0) return;
    apply(checksum);
    if (checksum.raw() == 0) checksum = be16(0xffff);
  }
  // The field of a packet that holds only its pseudo header's sum. Ports are not in that sum: give
  // a delta that has addresses alone.
  void apply_partial(be16& checksum) const { checksum = Sum().add(checksum).add(sum_).partial(); }

 private:
  Sum sum_;
};

}  // namespace isthmus::packet
