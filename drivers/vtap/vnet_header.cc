// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/vnet_header.h"

#include <cstring>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

namespace isthmus::drivers::vtap {
namespace {

constexpr uint64_t kAnyOffload =
    RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM;

// Copies the first n bytes of the frame into the preamble.
bool copy_headers(const rte_mbuf& frame, uint32_t n, TxPreamble& out) {
  if (n > kHeaderRoom || n > frame.pkt_len) return false;
  const void* at = rte_pktmbuf_read(&frame, 0, n, out.bytes);
  if (at == nullptr) return false;
  if (at != out.bytes) memcpy(out.bytes, at, n);
  out.headers = static_cast<uint16_t>(n);
  return true;
}

// DPDK wants the pseudo-header sum of a TSO packet without the length, Linux with it.
void add_length_to_checksum(uint8_t* tcp, uint32_t length) {
  uint16_t sum = 0;
  memcpy(&sum, tcp + offsetof(rte_tcp_hdr, cksum), sizeof(sum));
  uint32_t wide = uint32_t{sum} + rte_cpu_to_be_16(static_cast<uint16_t>(length));
  wide = (wide & 0xffff) + (wide >> 16);
  sum = static_cast<uint16_t>(wide);
  memcpy(tcp + offsetof(rte_tcp_hdr, cksum), &sum, sizeof(sum));
}

bool encode_tso(const rte_mbuf& frame, uint32_t l4, uint32_t headers, TxPreamble& out) {
  const bool ipv6 = (frame.ol_flags & RTE_MBUF_F_TX_IPV6) != 0;
  if (frame.tso_segsz == 0 || frame.l4_len < sizeof(rte_tcp_hdr)) return false;
  const uint32_t segment = frame.pkt_len - l4;
  if (segment > UINT16_MAX) return false;
  add_length_to_checksum(out.bytes + l4, segment);
  out.vnet.gso_type = ipv6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
  out.vnet.gso_size = frame.tso_segsz;
  out.vnet.hdr_len = static_cast<uint16_t>(headers);
  return true;
}

void fill_ip_checksum(uint8_t* ip, uint16_t length) {
  const size_t at = offsetof(rte_ipv4_hdr, hdr_checksum);
  memset(ip + at, 0, sizeof(uint16_t));
  const uint16_t sum = static_cast<uint16_t>(~rte_raw_cksum(ip, length));
  memcpy(ip + at, &sum, sizeof(sum));
}

}  // namespace

bool encode(const rte_mbuf& frame, TxPreamble& out) {
  out.vnet = {};
  out.headers = 0;
  const uint64_t flags = frame.ol_flags;
  if ((flags & kAnyOffload) == 0) return true;

  const bool tso = (flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  const bool ip_checksum = (flags & RTE_MBUF_F_TX_IP_CKSUM) != 0;
  const uint32_t l4 = frame.l2_len + frame.l3_len;
  const uint32_t headers = l4 + (tso ? frame.l4_len : 0);
  if (l4 >= frame.pkt_len) return false;
  // The headers are copied only where something in them changes.
  if ((tso || ip_checksum) && !copy_headers(frame, headers, out)) return false;
  if (ip_checksum) {
    if (frame.l3_len < sizeof(rte_ipv4_hdr)) return false;
    fill_ip_checksum(out.bytes + frame.l2_len, frame.l3_len);
  }
  if (tso && !encode_tso(frame, l4, headers, out)) return false;

  uint16_t offset = 0;
  const uint64_t l4_kind = tso ? RTE_MBUF_F_TX_TCP_CKSUM : flags & RTE_MBUF_F_TX_L4_MASK;
  if (l4_kind == RTE_MBUF_F_TX_TCP_CKSUM) {
    offset = offsetof(rte_tcp_hdr, cksum);
  } else if (l4_kind == RTE_MBUF_F_TX_UDP_CKSUM) {
    offset = offsetof(rte_udp_hdr, dgram_cksum);
  } else {
    return l4_kind == 0;
  }
  if (l4 + offset + sizeof(uint16_t) > frame.pkt_len) return false;
  out.vnet.flags = VnetHeader::kNeedsChecksum;
  out.vnet.csum_start = static_cast<uint16_t>(l4);
  out.vnet.csum_offset = offset;
  return true;
}

bool decode(const VnetHeader& vnet, rte_mbuf& frame) {
  if ((vnet.flags & VnetHeader::kNeedsChecksum) != 0) {
    frame.ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  } else if ((vnet.flags & VnetHeader::kDataValid) != 0) {
    frame.ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  }
  switch (vnet.gso_type & ~VnetHeader::kGsoEcn) {
    case VnetHeader::kGsoNone:
      return true;
    case VnetHeader::kGsoTcp4:
    case VnetHeader::kGsoTcp6:
      frame.ol_flags |= RTE_MBUF_F_RX_LRO;
      frame.tso_segsz = vnet.gso_size;
      return vnet.gso_size != 0;
    default:
      return false;
  }
}

}  // namespace isthmus::drivers::vtap
