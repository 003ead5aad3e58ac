// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Transmit offloads and their software counterpart at the gateway's edge. Engines send packets that
// ask for checksums and segmentation by flags (docs/architecture.md, "L3 packets"); for a port that
// cannot do one of them, it is done here.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "packet/chain.h"
#include "packet/parse.h"
#include "packet/pools.h"

namespace isthmus::packet {

// Makes a received packet that is forwarded leave as it came: where its transport checksum is only
// partial (RX_L4_CKSUM_NONE) or it was coalesced (RX_LRO), sets the transmit flags and the pseudo
// header's sum of the addresses that it has now. Receive flags are cleared, l3_len and l4_len set.
// Call it after all rewriting.
void prepare_forward(Parsed& parsed);

// Computes in software every checksum that the packet's flags ask for, and clears those flags. The
// headers (l2_len, l3_len, l4_len) are contiguous in the first segment, which may be written.
void complete_checksums(rte_mbuf* packet);

// Cuts a packet with RTE_MBUF_F_TX_TCP_SEG into segments of tso_segsz payload bytes, as a NIC would
// (l2_len, l3_len, l4_len are set). Each is a header mbuf followed by slices of the payload, or by
// a copy where that is short; each asks for its checksums by flags, with the right pseudo header.
// Flags that belong to one segment only go to that one: CWR to the first, FIN and PSH to the last.
class Segmenter {
 public:
  // Takes ownership of the packet; the pools live longer.
  Segmenter(rte_mbuf* packet, const Pools& pools);

  // The next segment, owned by the caller. Null at the end, and when a pool is empty: then done()
  // is false, and the rest of the packet is freed with the segmenter.
  rte_mbuf* next();
  bool done() const { return payload_.empty() && !first_; }

 private:
  static constexpr unsigned kMaxHeader = 14 + 8 + 40 + 256 + 60;

  rte_mbuf* take_payload(rte_mbuf* segment, uint32_t length);
  void write_header(rte_mbuf* segment, uint32_t length) const;

  const Pools& pools_;
  Chain payload_;
  uint64_t flags_;
  uint64_t tx_offload_;
  uint16_t l2_length_;
  uint16_t l3_length_;
  uint16_t l4_length_;
  uint16_t segment_size_;
  uint32_t sent_ = 0;   // payload bytes of the segments so far
  uint16_t count_ = 0;  // segments so far
  bool first_ = true;
  uint8_t header_[kMaxHeader];
};

}  // namespace isthmus::packet
