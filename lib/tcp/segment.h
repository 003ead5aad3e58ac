// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Segments to be sent: an IP and a TCP header in a small buffer with room in front for lower
// headers, payload chained behind, lengths and offload flags as the L3 contract wants them
// (docs/architecture.md, "L3 packets").
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "packet/address.h"
#include "tcp/options.h"
#include "tcp/sequence.h"

namespace isthmus::tcp {

// The two ECN bits of the IP header (RFC 3168 section 5). ECT(1) is received like ECT(0).
enum EcnField : uint8_t { kEcnNot = 0, kEcnCapable = 2, kEcnCongestion = 3 };

struct SegmentHeader {
  const packet::Endpoint& local;
  const packet::Endpoint& remote;
  Seq sequence = 0;
  Seq acknowledgment = 0;
  uint8_t flags = 0;
  uint8_t ttl = 64;
  uint8_t dscp = 0;
  uint8_t ecn = kEcnNot;
  uint16_t window = 0;  // as it stands in the header
  uint16_t id = 0;      // IPv4 identification
  const SegmentOptions* options = nullptr;
  // Bytes that the caller puts behind the header, and what one segment of them holds; SACK blocks
  // take their room from that (RFC 9293 section 3.7.1, Eff.snd.MSS).
  uint32_t payload = 0;
  uint16_t mss = UINT16_MAX;
};

// Writes the header of a packet into an empty mbuf, with the lengths, offload flags and partial
// checksum that it has once its payload is there; only pkt_len is still without.
void write_header(rte_mbuf* packet, const SegmentHeader& header);
// In a new mbuf. Null when the pool is empty.
rte_mbuf* build_header(rte_mempool* small, const SegmentHeader& header);

}  // namespace isthmus::tcp
