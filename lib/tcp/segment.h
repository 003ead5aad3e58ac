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
};

// Null when the pool is empty. l3_len and l4_len are set.
rte_mbuf* build_header(rte_mempool* small, const SegmentHeader& header);
// Lengths, flags and partial checksum of a packet whose payload is in place (pkt_len right). mss:
// of the pieces when there is more payload than one segment's.
void finish_packet(rte_mbuf* packet, uint16_t mss);

}  // namespace isthmus::tcp
