// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "geneve/geneve.h"

#include <algorithm>
#include <cstring>

#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::geneve {
namespace {

using packet::be16;
using packet::be32;
using packet::Ethernet;
using packet::Ipv4;
using packet::Ipv6;
using packet::Udp;
using stats::Reason;

constexpr uint8_t kTtl = 64;

// Options lie within the length that the header gives, each with a length of its own; the highest
// bit of the type says that whoever does not know it must drop the packet.
stats::Refusal check_options(const uint8_t* options, unsigned length) {
  while (length != 0) {
    if (length < 4) return Reason::geneve_truncated;
    if ((options[2] & 0x80) != 0) return Reason::geneve_critical_option;
    const unsigned size = 4 + (options[3] & 0x1fu) * 4;
    if (size > length) return Reason::geneve_truncated;
    options += size;
    length -= size;
  }
  return std::nullopt;
}

stats::Refusal check_header(const Header& header) {
  if (header.version() != 0) return Reason::geneve_bad_version;
  if ((header.flags & Header::kControl) != 0) return Reason::geneve_control;
  if ((header.flags & Header::kCritical) != 0) return Reason::geneve_critical_option;
  if (header.protocol.get() != Ethernet::kTransparentBridging) return Reason::geneve_bad_protocol;
  return std::nullopt;
}

// The inner Ethernet header starts at an offset: show parse_ethernet a packet that starts there.
stats::Refusal parse_inner(rte_mbuf* packet, uint16_t offset, packet::FrameView& out) {
  // Behind make_contiguous() nothing moves any more, so that the outer views stay valid.
  constexpr uint32_t kMostEthernet = sizeof(Ethernet) + 2 * sizeof(packet::Vlan);
  const uint32_t wanted = std::min<uint32_t>(packet->pkt_len, offset + kMostEthernet);
  if (!packet::make_contiguous(packet, wanted)) return Reason::packet_scattered;
  packet->data_off = static_cast<uint16_t>(packet->data_off + offset);
  packet->data_len = static_cast<uint16_t>(packet->data_len - offset);
  packet->pkt_len -= offset;
  const auto bad = packet::parse_ethernet(packet, out);
  packet->data_off = static_cast<uint16_t>(packet->data_off - offset);
  packet->data_len = static_cast<uint16_t>(packet->data_len + offset);
  packet->pkt_len += offset;
  return bad;
}

uint8_t* write_ip(uint8_t* to, const Encapsulation& tunnel, uint16_t length) {
  if (tunnel.source.is_v4()) {
    auto* ip = reinterpret_cast<Ipv4*>(to);
    *ip = Ipv4{};
    ip->version_ihl = 0x45;
    ip->total_length.set(static_cast<uint16_t>(sizeof(Ipv4) + length));
    ip->ttl = kTtl;
    ip->protocol = packet::kProtoUdp;
    ip->source = tunnel.source.v4_wire();
    ip->destination = tunnel.destination.v4_wire();
    ip->checksum = packet::ipv4_header_checksum(ip, sizeof(Ipv4));
    return to + sizeof(Ipv4);
  }
  auto* ip = reinterpret_cast<Ipv6*>(to);
  *ip = Ipv6{};
  ip->version_class_flow.set(6u << 28);
  ip->payload_length.set(length);
  ip->next_header = packet::kProtoUdp;
  ip->hop_limit = kTtl;
  std::memcpy(ip->source, tunnel.source.bytes().data(), 16);
  std::memcpy(ip->destination, tunnel.destination.bytes().data(), 16);
  return to + sizeof(Ipv6);
}

}  // namespace

stats::Refusal parse(const packet::Parsed& outer, Tunnelled& out) {
  rte_mbuf* packet = outer.mbuf;
  const uint32_t start = outer.l3_length + static_cast<uint32_t>(sizeof(Udp));
  if (outer.payload_length < sizeof(Header)) return Reason::geneve_truncated;
  if (!packet::make_contiguous(packet, start + sizeof(Header))) return Reason::packet_scattered;
  const Header header = *rte_pktmbuf_mtod_offset(packet, const Header*, start);
  if (auto bad = check_header(header)) return bad;
  const auto length = static_cast<unsigned>(sizeof(Header)) + header.options_length();
  if (outer.payload_length < length) return Reason::geneve_truncated;
  if (!packet::make_contiguous(packet, start + length)) return Reason::packet_scattered;
  if (auto bad =
          check_options(rte_pktmbuf_mtod_offset(packet, const uint8_t*, start + sizeof(Header)),
                        header.options_length())) {
    return bad;
  }
  // What UDP's own length does not cover is not the tunnel's.
  packet::trim_to(packet, start + outer.payload_length);
  out.outer = outer.tuple;
  out.vni = header.vni();
  out.outer_length = static_cast<uint16_t>(start + length);
  return parse_inner(packet, out.outer_length, out.inner);
}

void strip(rte_mbuf* packet, const Tunnelled& tunnelled) {
  packet::trim_front(packet,
                     static_cast<uint32_t>(tunnelled.outer_length) + tunnelled.inner.length);
  packet->ol_flags &= ~RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if ((packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_NONE) {
    packet->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
  }
}

rte_mbuf* encapsulate(rte_mbuf* payload, const Encapsulation& to, rte_mempool* pool) {
  rte_mbuf* packet =
      packet::push_ethernet(payload, to.inner_destination, to.inner_source, to.inner_type, pool);
  if (packet == nullptr) return nullptr;
  const uint32_t ip_length = to.source.is_v4() ? sizeof(Ipv4) : sizeof(Ipv6);
  const uint32_t length = ip_length + static_cast<uint32_t>(sizeof(Udp) + sizeof(Header));
  const auto udp_length = static_cast<uint16_t>(sizeof(Udp) + sizeof(Header) + packet->pkt_len);
  char* front = rte_pktmbuf_prepend(packet, static_cast<uint16_t>(length));
  if (front == nullptr) {
    rte_pktmbuf_free(packet);
    return nullptr;
  }
  uint8_t* at = write_ip(reinterpret_cast<uint8_t*>(front), to, udp_length);
  *reinterpret_cast<Udp*>(at) = {be16(to.source_port), be16(kPort), be16(udp_length), be16(0)};
  *reinterpret_cast<Header*>(at + sizeof(Udp)) = {0, 0, be16(Ethernet::kTransparentBridging),
                                                  be32(to.vni << 8)};
  packet->l2_len = 0;
  packet->l3_len = ip_length;
  packet->l4_len = sizeof(Udp);
  return packet;
}

}  // namespace isthmus::geneve
