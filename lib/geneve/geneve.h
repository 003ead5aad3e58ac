// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Geneve (RFC 8926): the header read and written. Version 0, Ethernet inside; the gateway knows no
// option, so it passes over those that may be passed over and refuses critical ones.
#pragma once

#include <cstdint>
#include <optional>

#include <rte_mbuf.h>

#include "packet/ethernet.h"
#include "packet/headers.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "stats/reason.h"

namespace isthmus::geneve {

inline constexpr uint16_t kPort = 6081;  // UDP destination port, RFC 8926 section 3.3

struct Header {  // RFC 8926 section 3.4
  enum Flag : uint8_t { kControl = 0x80, kCritical = 0x40 };
  uint8_t version_length;  // two bits of version, option length in 4-byte words
  uint8_t flags;
  packet::be16 protocol;
  packet::be32 vni_reserved;  // 24 bits of VNI, 8 reserved

  unsigned version() const { return version_length >> 6; }
  unsigned options_length() const { return (version_length & 0x3fu) * 4; }
  uint32_t vni() const { return vni_reserved.get() >> 8; }
};
static_assert(sizeof(Header) == 8);

// A tunnel packet whose headers have been read; nothing has been taken off yet.
struct Tunnelled {
  packet::Tuple outer;
  uint32_t vni = 0;
  uint16_t outer_length = 0;  // outer IP, UDP and Geneve with options, bytes
  packet::FrameView inner;    // the Ethernet header behind them
};

// True when a parsed packet is UDP to the Geneve port.
inline bool is_geneve(const packet::Parsed& outer) {
  return outer.protocol == packet::kProtoUdp && !outer.is_fragment &&
         outer.tuple.destination.port == kPort;
}

// Reads Geneve and the inner Ethernet header of such a packet. Whether it may be believed is up to
// TunnelEndpoints. Unknown options are passed over unless they, or the header, say critical;
// control packets are refused (RFC 8926 sections 3.4 and 3.5.1).
stats::Refusal parse(const packet::Parsed& outer, Tunnelled& out);

// Takes all headers in front of the inner packet off: the data starts at the inner L3 (or ARP).
// Receive flags that spoke of the outer checksum are cleared; a partial checksum is that of the
// innermost transport header (Linux's CHECKSUM_PARTIAL), and stays known as such.
void strip(rte_mbuf* packet, const Tunnelled& tunnelled);

// Puts Ethernet, Geneve, UDP and IPv4 or IPv6 in front of a payload, which is owned from here on.
// The UDP checksum is zero (RFC 8926 section 3.3; RFC 6935 over IPv6), the IPv4 one complete. Null
// when the pool is empty; the payload is freed then.
struct Encapsulation {
  packet::IpAddress source;
  packet::IpAddress destination;
  uint16_t source_port = kPort;
  uint32_t vni = 0;
  packet::MacAddress inner_source;
  packet::MacAddress inner_destination;
  uint16_t inner_type = 0;
};
rte_mbuf* encapsulate(rte_mbuf* payload, const Encapsulation& to, rte_mempool* pool);

}  // namespace isthmus::geneve
