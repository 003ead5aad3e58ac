// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Geneve (RFC 8926): the header, read and written. Istio 1.18's node redirection sends Ethernet
// frames without options; options of others are stepped over, critical ones refused.
#pragma once

#include <cstdint>
#include <optional>

#include "packet/parse.h"
#include "packet/pools.h"
#include "stats/reason.h"

namespace isthmus::geneve {

inline constexpr uint16_t kPort = 6081;       // IANA
inline constexpr uint16_t kHeaderSize = 8;    // without options
inline constexpr uint16_t kMaxOptions = 252;  // 63 words

// RFC 8926 section 3.4: two bits version, six bits option length in words; O, C and six reserved
// bits; protocol; 24 bits VNI and eight reserved.
struct Header {
  uint8_t version_length;
  uint8_t flags;
  packet::be16 protocol;
  packet::be32 vni_reserved;

  unsigned version() const { return version_length >> 6; }
  unsigned options_length() const { return (version_length & 0x3fu) * 4; }
  bool control() const { return (flags & 0x80) != 0; }
  bool critical() const { return (flags & 0x40) != 0; }
  uint32_t vni() const { return vni_reserved.get() >> 8; }
};
static_assert(sizeof(Header) == kHeaderSize);

// What stood around an inner frame.
struct Tunnelled {
  uint32_t vni = 0;
  packet::IpAddress source;       // outer
  packet::IpAddress destination;  // outer
};

// Reads the Geneve header of a UDP datagram to kPort and takes everything outer off: on success the
// mbuf's data starts at the inner Ethernet frame. On failure the reason says what is wrong, and
// the mbuf, unchanged, is still the caller's. An option with the critical bit is refused although
// the header's C bit is clear (section 3.5 makes that an error of the sender).
std::optional<stats::Reason> decapsulate(packet::Parsed& datagram, Tunnelled& out);

// Puts outer IPv4, UDP (checksum 0, section 4.3) and Geneve without options in front of an Ethernet
// frame. Takes the frame; returns an L3 packet, or null (the frame is freed) when there is no
// room or buffer. source_port: any, varied by flow (section 3.3).
rte_mbuf* encapsulate(rte_mbuf* frame, const packet::IpAddress& source,
                      const packet::IpAddress& destination, uint32_t vni, uint16_t source_port);

}  // namespace isthmus::geneve
