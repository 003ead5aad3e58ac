// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The one parser of IP packets. It validates before anybody else looks: lengths, versions, header
// bounds, addresses that cannot be a source; trims link padding to the IP length; and makes all
// headers contiguous in the first segment, or refuses.
#pragma once

#include <cstdint>
#include <optional>

#include <rte_mbuf.h>

#include "packet/address.h"
#include "packet/headers.h"
#include "stats/reason.h"

namespace isthmus::packet {

// A validated L3 packet: the mbuf's data starts at the IP header. The view holds pointers into the
// mbuf's first segment and lives no longer than the mbuf is left unchanged.
struct Parsed {
  rte_mbuf* mbuf = nullptr;  // not owned
  Tuple tuple;               // ports are zero unless TCP or UDP (and not a later fragment)
  uint8_t protocol = 0;      // transport protocol behind any IPv6 extension headers
  uint8_t ttl = 0;           // TTL or hop limit
  uint8_t ecn = 0;           // the two ECN bits of the IP header
  bool is_fragment = false;  // any fragment; a first fragment's ports are not read either
  uint16_t l3_length = 0;    // IP header with options or extension headers, bytes
  uint16_t l4_length = 0;    // TCP header with options, UDP or ICMP header; 0 for other protocols
  uint32_t payload_length = 0;  // bytes behind the L4 header

  bool is_v4() const { return tuple.source.address.is_v4(); }
  template <typename Header>
  Header* l3() const {
    return rte_pktmbuf_mtod(mbuf, Header*);
  }
  template <typename Header>
  Header* l4() const {
    return rte_pktmbuf_mtod_offset(mbuf, Header*, l3_length);
  }
  Tcp* tcp() const { return l4<Tcp>(); }  // only when protocol == kProtoTcp && !is_fragment
};

// Parses an IPv4 or IPv6 packet. On success the mbuf is trimmed to the IP length; on failure the
// reason says what is wrong and the mbuf still belongs to the caller. TCP, UDP and ICMP checksums
// are verified as the receive flags ask (docs/architecture.md, "Receive checksum").
// A coalesced packet (RX_LRO) may have an IPv4 total length of up to 65535.
stats::Refusal parse(rte_mbuf* packet, Parsed& out);

}  // namespace isthmus::packet
