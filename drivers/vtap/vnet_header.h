// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Between the offload flags of an mbuf and the virtio-net header (virtio 1.2, 5.1.6) that stands
// in front of every frame on a TAP opened with IFF_VNET_HDR.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

namespace isthmus::drivers::vtap {

// struct virtio_net_hdr; Linux's own header isn't C++. Fields are little-endian on every machine
// that we build for, which is what a TAP uses.
struct VnetHeader {
  static constexpr uint8_t kNeedsChecksum = 1;  // flags: the checksum is the pseudo-header's only
  static constexpr uint8_t kDataValid = 2;      // flags: the checksum was verified
  static constexpr uint8_t kGsoNone = 0;
  static constexpr uint8_t kGsoTcp4 = 1;
  static constexpr uint8_t kGsoTcp6 = 4;
  static constexpr uint8_t kGsoEcn = 0x80;

  uint8_t flags = 0;
  uint8_t gso_type = kGsoNone;
  uint16_t hdr_len = 0;      // bytes of all headers
  uint16_t gso_size = 0;     // payload bytes of a segment
  uint16_t csum_start = 0;   // where the checksum's range starts
  uint16_t csum_offset = 0;  // where it goes, from csum_start
};
inline constexpr uint32_t kVnetHeader = sizeof(VnetHeader);
static_assert(kVnetHeader == 10);

// Room for the headers of one frame: Ethernet with a VLAN tag, IP and TCP with all options, and
// IPv6 extension headers in reason.
inline constexpr uint32_t kHeaderRoom = 256;

// What a frame starts with on its way to the kernel: the virtio-net header, then `headers` bytes
// that replace as many of the frame's own. Checksums that the kernel wants in another form than
// DPDK are corrected in this copy: an mbuf given to tx_burst may share its data with others.
struct TxPreamble {
  VnetHeader vnet;
  uint8_t bytes[kHeaderRoom];
  uint16_t headers;  // valid bytes of `bytes`; not sent
};

// Fills the preamble from ol_flags, l2_len, l3_len, l4_len and tso_segsz of a frame. False when
// they contradict each other or the frame: it can't be sent.
bool encode(const rte_mbuf& frame, TxPreamble& out);

// Sets ol_flags and tso_segsz of a received frame: a partial checksum becomes RX_L4_CKSUM_NONE (the
// data never left this machine's memory), a verified one RX_L4_CKSUM_GOOD, anything else stays
// unknown; a coalesced TCP packet gets RX_LRO. False when the header names a segmentation that we
// never asked for.
bool decode(const VnetHeader& vnet, rte_mbuf& frame);

}  // namespace isthmus::drivers::vtap
