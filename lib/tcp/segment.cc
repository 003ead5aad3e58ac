// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/segment.h"

#include <cstring>
#include <type_traits>

#include "packet/buffer.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace isthmus::tcp {
namespace {

using packet::Ipv4;
using packet::Ipv6;
using packet::Tcp;

uint8_t traffic_class(const SegmentHeader& header) {
  return static_cast<uint8_t>(header.dscp << 2 | header.ecn);
}

// The IP header in front of so many bytes, and the sum of its addresses for the pseudo-header.
packet::Sum write_ip(Ipv4& ip, const SegmentHeader& header, uint32_t length) {
  ip.version_ihl = 0x45;
  ip.tos = traffic_class(header);
  ip.total_length.set(static_cast<uint16_t>(sizeof(Ipv4) + length));
  ip.id.set(header.id);
  ip.fragment.set(Ipv4::kDontFragment);
  ip.ttl = header.ttl;
  ip.protocol = packet::kProtoTcp;
  ip.checksum.set(0);
  ip.source = header.local.address.v4_wire();
  ip.destination = header.remote.address.v4_wire();
  return packet::Sum().add(ip.source).add(ip.destination);
}

packet::Sum write_ip(Ipv6& ip, const SegmentHeader& header, uint32_t length) {
  ip.version_class_flow.set(6u << 28 | uint32_t{traffic_class(header)} << 20);
  ip.payload_length.set(static_cast<uint16_t>(length));
  ip.next_header = packet::kProtoTcp;
  ip.hop_limit = header.ttl;
  std::memcpy(ip.source, header.local.address.bytes().data(), 16);
  std::memcpy(ip.destination, header.remote.address.bytes().data(), 16);
  return packet::Sum().add(ip.source, 32);
}

template <typename Ip>
void write_headers(rte_mbuf* packet, const SegmentHeader& header) {
  auto* at = rte_pktmbuf_mtod(packet, uint8_t*);
  auto& tcp = *reinterpret_cast<Tcp*>(at + sizeof(Ip));
  unsigned l4 = sizeof(Tcp);
  uint32_t piece = header.mss;
  if (header.options != nullptr) {
    const bool syn = (header.flags & Tcp::kSyn) != 0;
    l4 += write_options(*header.options, syn, at + sizeof(Ip) + sizeof(Tcp));
    piece -= l4 - sizeof(Tcp) - (header.options->has_timestamp ? kTimestampBytes : 0);
  }
  const uint32_t length = l4 + header.payload;
  packet::Sum sum = write_ip(*reinterpret_cast<Ip*>(at), header, length);
  uint64_t offload = RTE_MBUF_F_TX_TCP_CKSUM;
  if constexpr (std::is_same_v<Ip, Ipv4>) {
    offload |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
  } else {
    offload |= RTE_MBUF_F_TX_IPV6;
  }
  if (header.payload > piece) {
    offload |= RTE_MBUF_F_TX_TCP_SEG;
    packet->tso_segsz = static_cast<uint16_t>(piece);
  } else {
    sum.add(packet::be32(length));
  }
  tcp.source_port.set(header.local.port);
  tcp.destination_port.set(header.remote.port);
  tcp.sequence.set(header.sequence);
  tcp.acknowledgment.set(header.acknowledgment);
  tcp.data_offset = static_cast<uint8_t>(l4 / 4 << 4);
  tcp.flags = header.flags;
  tcp.window.set(header.window);
  tcp.checksum = sum.add(packet::be16(packet::kProtoTcp)).partial();
  tcp.urgent_pointer.set(0);
  packet->ol_flags = offload;
  packet->l2_len = 0;
  packet->l3_len = sizeof(Ip);
  packet->l4_len = l4;
  packet->data_len = static_cast<uint16_t>(sizeof(Ip) + l4);
  packet->pkt_len = sizeof(Ip) + l4;
}

}  // namespace

void write_header(rte_mbuf* packet, const SegmentHeader& header) {
  if (header.local.address.is_v4()) {
    write_headers<Ipv4>(packet, header);
  } else {
    write_headers<Ipv6>(packet, header);
  }
}

rte_mbuf* build_header(rte_mempool* small, const SegmentHeader& header) {
  rte_mbuf* packet = rte_pktmbuf_alloc(small);
  if (packet == nullptr) return nullptr;
  packet::prefetch_next(small);
  write_header(packet, header);
  return packet;
}

}  // namespace isthmus::tcp
