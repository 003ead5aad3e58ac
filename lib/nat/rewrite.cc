// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "nat/rewrite.h"

#include <algorithm>
#include <cstring>

#include "ip/icmp.h"
#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::nat {
namespace {

using packet::be16;
using packet::ChecksumDelta;
using packet::Icmp;
using packet::IpAddress;
using packet::Ipv4;
using packet::Ipv6;
using packet::Parsed;
using packet::Tcp;
using packet::Tuple;
using packet::Udp;
using stats::Reason;

constexpr uint8_t kTtl = 64;

void write_addresses(uint8_t* header, const IpAddress& source, const IpAddress& destination) {
  if (!source.is_v4()) {
    auto* ip = reinterpret_cast<Ipv6*>(header);
    std::memcpy(ip->source, source.bytes().data(), 16);
    std::memcpy(ip->destination, destination.bytes().data(), 16);
    return;
  }
  auto* ip = reinterpret_cast<Ipv4*>(header);
  ChecksumDelta delta;
  delta.replace(ip->source, source.v4_wire());
  delta.replace(ip->destination, destination.v4_wire());
  ip->source = source.v4_wire();
  ip->destination = destination.v4_wire();
  delta.apply(ip->checksum);
}

ChecksumDelta address_delta(const Tuple& from, const Tuple& to) {
  ChecksumDelta delta;
  delta.replace(from.source.address, to.source.address);
  delta.replace(from.destination.address, to.destination.address);
  return delta;
}

void add_ports(ChecksumDelta& delta, const Tuple& from, const Tuple& to) {
  delta.replace(be16(from.source.port), be16(to.source.port));
  delta.replace(be16(from.destination.port), be16(to.destination.port));
}

}  // namespace

void rewrite(Parsed& packet, const Tuple& to) {
  const Tuple& from = packet.tuple;
  const bool partial =
      (packet.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  ChecksumDelta delta = address_delta(from, to);
  if (!partial) add_ports(delta, from, to);
  auto* ports = packet.l4<be16>();
  ports[0].set(to.source.port);
  ports[1].set(to.destination.port);
  const bool tcp = packet.protocol == packet::kProtoTcp;
  be16& checksum = tcp ? packet.l4<Tcp>()->checksum : packet.l4<Udp>()->checksum;
  if (partial) {
    delta.apply_partial(checksum);
  } else if (tcp) {
    delta.apply(checksum);
  } else {
    delta.apply_udp(checksum);
  }
  write_addresses(packet.l3<uint8_t>(), to.source.address, to.destination.address);
  packet.tuple = to;
}

stats::Refusal rewrite_error(Parsed& error, const Tuple& quoted) {
  constexpr uint32_t kTcpChecksumEnd = 18;  // where a quoted TCP checksum ends, if it is quoted
  ip::EmbeddedPacket embedded;
  if (auto bad = ip::parse_icmp_error(error, embedded)) return bad;
  // An error goes to the sender of the packet that it is about, or it is forged.
  if (error.tuple.destination.address != embedded.tuple.source.address) return Reason::ip_bad_icmp;
  const uint32_t end = std::min<uint32_t>(error.mbuf->pkt_len,
                                          embedded.offset + embedded.l3_length + kTcpChecksumEnd);
  if (!packet::make_contiguous(error.mbuf, end)) return Reason::packet_scattered;

  auto* header = error.l3<uint8_t>() + embedded.offset;
  auto* ports = reinterpret_cast<be16*>(header + embedded.l3_length);
  ChecksumDelta delta = address_delta(embedded.tuple, quoted);
  add_ports(delta, embedded.tuple, quoted);
  ports[0].set(quoted.source.port);
  ports[1].set(quoted.destination.port);
  if (end == embedded.offset + embedded.l3_length + kTcpChecksumEnd) {
    delta.apply(reinterpret_cast<Tcp*>(ports)->checksum);
  }
  write_addresses(header, quoted.source.address, quoted.destination.address);

  IpAddress reporter = error.tuple.source.address;
  if (reporter == embedded.tuple.destination.address) reporter = quoted.destination.address;
  write_addresses(error.l3<uint8_t>(), reporter, quoted.source.address);
  error.tuple.source.address = reporter;
  error.tuple.destination.address = quoted.source.address;

  // Rare and short, so that the message is summed anew.
  auto* icmp = error.l4<Icmp>();
  const uint32_t length = error.l4_length + error.payload_length;
  icmp->checksum = be16(0);
  packet::Sum sum = packet::packet_sum(error.mbuf, error.l3_length, length);
  if (!error.is_v4()) {
    sum.add(packet::pseudo_header_sum(error.tuple.source.address, error.tuple.destination.address,
                                      packet::kProtoIcmpv6, length));
  }
  icmp->checksum = sum.checksum();
  return std::nullopt;
}

rte_mbuf* make_segment(const Tuple& tuple, uint8_t flags, uint32_t sequence,
                       uint32_t acknowledgment, rte_mempool* pool) {
  rte_mbuf* packet = rte_pktmbuf_alloc(pool);
  if (packet == nullptr) return nullptr;
  const bool v4 = tuple.source.address.is_v4();
  const uint16_t ip_length = v4 ? sizeof(Ipv4) : sizeof(Ipv6);
  auto* header = reinterpret_cast<uint8_t*>(
      rte_pktmbuf_append(packet, static_cast<uint16_t>(ip_length + sizeof(Tcp))));
  std::memset(header, 0, ip_length + sizeof(Tcp));
  auto* tcp = reinterpret_cast<Tcp*>(header + ip_length);
  tcp->source_port.set(tuple.source.port);
  tcp->destination_port.set(tuple.destination.port);
  tcp->sequence.set(sequence);
  tcp->acknowledgment.set(acknowledgment);
  tcp->data_offset = sizeof(Tcp) / 4 << 4;
  tcp->flags = flags;
  tcp->checksum = packet::pseudo_header_sum(tuple.source.address, tuple.destination.address,
                                            packet::kProtoTcp, sizeof(Tcp))
                      .add(tcp, sizeof(Tcp))
                      .checksum();
  if (v4) {
    auto* ip = reinterpret_cast<Ipv4*>(header);
    ip->version_ihl = 0x45;
    ip->total_length.set(static_cast<uint16_t>(ip_length + sizeof(Tcp)));
    ip->fragment.set(Ipv4::kDontFragment);
    ip->ttl = kTtl;
    ip->protocol = packet::kProtoTcp;
    ip->source = tuple.source.address.v4_wire();
    ip->destination = tuple.destination.address.v4_wire();
    ip->checksum = packet::ipv4_header_checksum(ip, sizeof(Ipv4));
  } else {
    auto* ip = reinterpret_cast<Ipv6*>(header);
    ip->version_class_flow.set(6u << 28);
    ip->payload_length.set(sizeof(Tcp));
    ip->next_header = packet::kProtoTcp;
    ip->hop_limit = kTtl;
    std::memcpy(ip->source, tuple.source.address.bytes().data(), 16);
    std::memcpy(ip->destination, tuple.destination.address.bytes().data(), 16);
  }
  packet->l3_len = ip_length;
  packet->l4_len = sizeof(Tcp);
  return packet;
}

}  // namespace isthmus::nat
