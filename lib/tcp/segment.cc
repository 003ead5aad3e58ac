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

void write_ipv4(Ipv4& ip, const SegmentHeader& header) {
  ip.version_ihl = 0x45;
  ip.tos = traffic_class(header);
  ip.id.set(header.id);
  ip.fragment.set(Ipv4::kDontFragment);
  ip.ttl = header.ttl;
  ip.protocol = packet::kProtoTcp;
  ip.checksum.set(0);
  ip.source = header.local.address.v4_wire();
  ip.destination = header.remote.address.v4_wire();
}

void write_ipv6(Ipv6& ip, const SegmentHeader& header) {
  ip.version_class_flow.set(6u << 28 | uint32_t{traffic_class(header)} << 20);
  ip.next_header = packet::kProtoTcp;
  ip.hop_limit = header.ttl;
  std::memcpy(ip.source, header.local.address.bytes().data(), 16);
  std::memcpy(ip.destination, header.remote.address.bytes().data(), 16);
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
  if (header.options != nullptr) l4 += write_options(*header.options, syn, at + l3 + sizeof(Tcp));
  if (v4) {
    write_ipv4(*reinterpret_cast<Ipv4*>(at), header);
  } else {
    write_ipv6(*reinterpret_cast<Ipv6*>(at), header);
  }
  tcp.source_port.set(header.local.port);
  tcp.destination_port.set(header.remote.port);
  tcp.sequence.set(header.sequence);
  tcp.acknowledgment.set(header.acknowledgment);
  tcp.data_offset = static_cast<uint8_t>(l4 / 4 << 4);
  tcp.flags = header.flags;
  tcp.window.set(header.window);
  tcp.urgent_pointer.set(0);
  packet->l2_len = 0;
  packet->l3_len = l3;
  packet->l4_len = l4;
  packet->data_len = static_cast<uint16_t>(l3 + l4);
  packet->pkt_len = l3 + l4;
  return packet;
}

void finish_packet(rte_mbuf* packet, uint16_t mss) {
  const uint32_t payload = packet->pkt_len - packet->l3_len - packet->l4_len;
  auto* at = rte_pktmbuf_mtod(packet, uint8_t*);
  auto& tcp = *reinterpret_cast<Tcp*>(at + packet->l3_len);
  packet->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
  const bool large = payload > mss;
  if (large) {
    packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    packet->tso_segsz = mss;
  }
  const uint32_t summed = large ? 0 : packet->l4_len + payload;
  packet::Sum sum;
  if (packet->l3_len == sizeof(Ipv4)) {
    auto& ip = *reinterpret_cast<Ipv4*>(at);
    packet->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    ip.total_length.set(static_cast<uint16_t>(packet->pkt_len));
    sum.add(ip.source).add(ip.destination);
  } else {
    auto& ip = *reinterpret_cast<Ipv6*>(at);
    packet->ol_flags |= RTE_MBUF_F_TX_IPV6;
    ip.payload_length.set(static_cast<uint16_t>(packet->pkt_len - sizeof(Ipv6)));
    sum.add(ip.source, 32);
  }
  tcp.checksum = sum.add(packet::be32(summed)).add(packet::be16(packet::kProtoTcp)).partial();
}

}  // namespace isthmus::tcp
