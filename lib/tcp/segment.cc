// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/segment.h"

#include <cstring>

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

// Of the addresses, for the pseudo-header.
packet::Sum write_ipv4(Ipv4& ip, const SegmentHeader& header, uint32_t length) {
  ip.version_ihl = 0x45;
  ip.tos = traffic_class(header);
  ip.total_length.set(static_cast<uint16_t>(length));
  ip.id.set(header.id);
  ip.fragment.set(Ipv4::kDontFragment);
  ip.ttl = header.ttl;
  ip.protocol = packet::kProtoTcp;
  ip.checksum.set(0);
  ip.source = header.local.address.v4_wire();
  ip.destination = header.remote.address.v4_wire();
  return packet::Sum().add(ip.source).add(ip.destination);
}

packet::Sum write_ipv6(Ipv6& ip, const SegmentHeader& header, uint32_t length) {
  ip.version_class_flow.set(6u << 28 | uint32_t{traffic_class(header)} << 20);
  ip.payload_length.set(static_cast<uint16_t>(length - sizeof(Ipv6)));
  ip.next_header = packet::kProtoTcp;
  ip.hop_limit = header.ttl;
  std::memcpy(ip.source, header.local.address.bytes().data(), 16);
  std::memcpy(ip.destination, header.remote.address.bytes().data(), 16);
  return packet::Sum().add(ip.source, 32);
}

}  // namespace

rte_mbuf* build_header(rte_mempool* small, const SegmentHeader& header) {
  rte_mbuf* packet = rte_pktmbuf_alloc(small);
  if (packet == nullptr) return nullptr;
  const bool v4 = header.local.address.is_v4();
  const unsigned l3 = v4 ? sizeof(Ipv4) : sizeof(Ipv6);
  auto* at = rte_pktmbuf_mtod(packet, uint8_t*);
  auto& tcp = *reinterpret_cast<Tcp*>(at + l3);
  const bool syn = (header.flags & Tcp::kSyn) != 0;
  unsigned l4 = sizeof(Tcp);
  uint32_t piece = header.mss;
  if (header.options != nullptr) {
    l4 += write_options(*header.options, syn, at + l3 + sizeof(Tcp));
    piece -= l4 - sizeof(Tcp) - (header.options->has_timestamp ? kTimestampBytes : 0);
  }
  const bool large = header.payload > piece;
  const uint32_t length = l3 + l4 + header.payload;
  packet->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
  packet::Sum sum;
  if (v4) {
    packet->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    sum = write_ipv4(*reinterpret_cast<Ipv4*>(at), header, length);
  } else {
    packet->ol_flags |= RTE_MBUF_F_TX_IPV6;
    sum = write_ipv6(*reinterpret_cast<Ipv6*>(at), header, length);
  }
  if (large) {
    packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    packet->tso_segsz = static_cast<uint16_t>(piece);
  }
  tcp.source_port.set(header.local.port);
  tcp.destination_port.set(header.remote.port);
  tcp.sequence.set(header.sequence);
  tcp.acknowledgment.set(header.acknowledgment);
  tcp.data_offset = static_cast<uint8_t>(l4 / 4 << 4);
  tcp.flags = header.flags;
  tcp.window.set(header.window);
  tcp.checksum = sum.add(packet::be32(large ? 0 : l4 + header.payload))
                     .add(packet::be16(packet::kProtoTcp))
                     .partial();
  tcp.urgent_pointer.set(0);
  packet->l2_len = 0;
  packet->l3_len = l3;
  packet->l4_len = l4;
  packet->data_len = static_cast<uint16_t>(l3 + l4);
  packet->pkt_len = l3 + l4;
  return packet;
}

}  // namespace isthmus::tcp
