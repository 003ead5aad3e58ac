// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/parse.h"

#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::packet {
namespace {

using stats::Reason;
using Result = stats::Refusal;

constexpr Result kOk = std::nullopt;

// Extension headers are walked on a worker for every packet of a stranger, so their number and
// their length have limits (RFC 8504 section 5.3 allows a host to have some).
constexpr unsigned kMaxExtensionHeaders = 8;
constexpr uint32_t kMaxExtensionBytes = 256;

constexpr uint8_t kProtoAuthentication = 51;

bool is_this_network(const IpAddress& v4) {
  return v4.v4_value() >> 24 == 0;
}
bool is_limited_broadcast(const IpAddress& v4) {
  return v4.v4_value() == 0xffffffff;
}

// Addresses that no packet on a wire can have (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).
// Source equal to destination is the LAND attack: no peer of ours can be both ends.
Result check_addresses(const Tuple& tuple, bool v4) {
  const IpAddress& source = tuple.source.address;
  const IpAddress& destination = tuple.destination.address;
  bool bad = source.is_multicast() || source.is_loopback() || source.is_unspecified() ||
             destination.is_loopback() || destination.is_unspecified() || source == destination;
  if (v4) {
    bad = bad || is_limited_broadcast(source) || is_this_network(source) ||
          is_this_network(destination);
  } else {
    bad = bad || source.is_v4() || destination.is_v4();
  }
  if (bad) return Reason::packet_bad_address;
  return kOk;
}

// RFC 791 section 3.1. Options are passed over; a source route is refused (RFC 7126 section 4.3
// and 4.4), since it would make the destination that was checked not the one that counts.
Result check_options(const uint8_t* options, unsigned length) {
  constexpr uint8_t kEnd = 0;
  constexpr uint8_t kNop = 1;
  constexpr uint8_t kLooseSourceRoute = 131;
  constexpr uint8_t kStrictSourceRoute = 137;
  for (unsigned at = 0; at < length && options[at] != kEnd;) {
    if (options[at] == kNop) {
      ++at;
      continue;
    }
    if (length - at < 2 || options[at + 1] < 2 || options[at + 1] > length - at) {
      return Reason::packet_truncated;
    }
    if (options[at] == kLooseSourceRoute || options[at] == kStrictSourceRoute) {
      return Reason::packet_source_route;
    }
    at += options[at + 1];
  }
  return kOk;
}

// The header checksum is on whoever can have changed it: hardware that looked, or we.
Result check_ipv4_checksum(const rte_mbuf* packet, const Ipv4* header) {
  const uint64_t flags = packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if (flags == RTE_MBUF_F_RX_IP_CKSUM_BAD) return Reason::packet_bad_checksum;
  if (flags != RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN) return kOk;
  if (Sum().add(header, header->header_length()).folded() != 0xffff) {
    return Reason::packet_bad_checksum;
  }
  return kOk;
}

// A fragment whose end lies beyond the largest packet is an attack on reassembly.
Result check_fragment(uint32_t offset, uint32_t length) {
  if (offset + length > UINT16_MAX) return Reason::packet_fragment;
  return kOk;
}

Result parse_ipv4(rte_mbuf* packet, Parsed& out) {
  if (auto bad = require_contiguous(packet, sizeof(Ipv4))) return bad;
  const unsigned length = rte_pktmbuf_mtod(packet, const Ipv4*)->header_length();
  if (length < sizeof(Ipv4)) return Reason::packet_truncated;
  if (auto bad = require_contiguous(packet, length)) return bad;
  const auto* header = rte_pktmbuf_mtod(packet, const Ipv4*);
  const uint32_t total = header->total_length.get();
  if (total < length || total > packet->pkt_len) return Reason::packet_truncated;
  if (auto bad = check_ipv4_checksum(packet, header)) return bad;
  if (auto bad = check_options(rte_pktmbuf_mtod_offset(packet, const uint8_t*, sizeof(Ipv4)),
                               length - static_cast<unsigned>(sizeof(Ipv4)))) {
    return bad;
  }
  trim_to(packet, total);
  out.tuple.source.address = IpAddress::v4(header->source);
  out.tuple.destination.address = IpAddress::v4(header->destination);
  out.protocol = header->protocol;
  out.ttl = header->ttl;
  out.ecn = header->tos & 3;
  out.l3_length = static_cast<uint16_t>(length);
  const uint16_t fragment = header->fragment.get();
  out.is_fragment = (fragment & (Ipv4::kMoreFragments | Ipv4::kOffsetMask)) != 0;
  if (out.is_fragment) return check_fragment((fragment & Ipv4::kOffsetMask) * 8u, total - length);
  return kOk;
}

// One IPv6 extension header at `at`; moves `at` behind it and `next` to the following header.
Result skip_extension(rte_mbuf* packet, Parsed& out, uint32_t& at, uint8_t& next) {
  if (auto bad = require_contiguous(packet, at + 8)) return bad;
  const auto* bytes = rte_pktmbuf_mtod_offset(packet, const uint8_t*, at);
  const uint8_t kind = next;
  uint32_t length = (bytes[1] + 1u) * 8u;
  if (kind == kProtoFragment) {
    length = 8;
    const uint16_t fragment = load_be<uint16_t>(bytes + 2);
    // Offset zero and no more fragments: an atomic fragment, a whole packet (RFC 6946).
    out.is_fragment = (fragment & 0xfff9) != 0;
    if (out.is_fragment) {
      if (auto bad = check_fragment(fragment & 0xfff8u, packet->pkt_len - at - length)) return bad;
    }
  } else if (kind == kProtoAuthentication) {
    length = (bytes[1] + 2u) * 4u;
  } else if (kind == kProtoRouting && bytes[3] != 0) {
    // Segments left: the destination that counts is another one (RFC 5095 and RFC 8200 8.1).
    return Reason::packet_source_route;
  }
  next = bytes[0];
  at += length;
  if (at > sizeof(Ipv6) + kMaxExtensionBytes) return Reason::packet_extension_headers;
  return require_contiguous(packet, at);
}

bool is_extension(uint8_t protocol) {
  return protocol == kProtoHopByHop || protocol == kProtoRouting || protocol == kProtoFragment ||
         protocol == kProtoDestinationOptions || protocol == kProtoAuthentication;
}

Result parse_ipv6(rte_mbuf* packet, Parsed& out) {
  if (auto bad = require_contiguous(packet, sizeof(Ipv6))) return bad;
  const auto* header = rte_pktmbuf_mtod(packet, const Ipv6*);
  const uint32_t total = static_cast<uint32_t>(sizeof(Ipv6)) + header->payload_length.get();
  if (total > packet->pkt_len) return Reason::packet_truncated;
  trim_to(packet, total);
  out.tuple.source.address = IpAddress::v6(header->source);
  out.tuple.destination.address = IpAddress::v6(header->destination);
  out.ttl = header->hop_limit;
  out.ecn = header->version_class_flow.get() >> 20 & 3;
  uint8_t next = header->next_header;
  uint32_t at = sizeof(Ipv6);
  unsigned headers = 0;
  while (is_extension(next) && !out.is_fragment) {
    // Hop-by-hop options stand first or nowhere (RFC 8200 section 4.1).
    if (headers == kMaxExtensionHeaders || (next == kProtoHopByHop && headers != 0)) {
      return Reason::packet_extension_headers;
    }
    if (auto bad = skip_extension(packet, out, at, next)) return bad;
    ++headers;
  }
  out.protocol = next;
  out.l3_length = static_cast<uint16_t>(at);
  return kOk;
}

// Sums what the receive flags leave to software. `field` is the checksum as it stands in the
// packet.
Result check_transport_checksum(const Parsed& out, uint32_t length) {
  const uint64_t flags = out.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (flags == RTE_MBUF_F_RX_L4_CKSUM_BAD) return Reason::packet_bad_checksum;
  if (flags != RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN) return kOk;
  Sum sum = packet_sum(out.mbuf, out.l3_length, length);
  if (out.protocol != kProtoIcmp) {
    sum.add(pseudo_header_sum(out.tuple.source.address, out.tuple.destination.address, out.protocol,
                              length));
  }
  if (sum.folded() != 0xffff) return Reason::packet_bad_checksum;
  return kOk;
}

Result parse_tcp(Parsed& out, uint32_t length) {
  if (auto bad = require_contiguous(out.mbuf, out.l3_length + static_cast<uint32_t>(sizeof(Tcp))))
    return bad;
  const unsigned header = out.tcp()->header_length();
  if (header < sizeof(Tcp) || header > length) return Reason::packet_truncated;
  if (auto bad = require_contiguous(out.mbuf, out.l3_length + header)) return bad;
  const IpAddress& destination = out.tuple.destination.address;
  // RFC 9293 MUST-57: a segment to a broadcast or multicast address is discarded.
  if (destination.is_multicast() || (destination.is_v4() && is_limited_broadcast(destination))) {
    return Reason::packet_bad_address;
  }
  out.tuple.source.port = out.tcp()->source_port.get();
  out.tuple.destination.port = out.tcp()->destination_port.get();
  out.l4_length = static_cast<uint16_t>(header);
  out.payload_length = length - header;
  return check_transport_checksum(out, length);
}

Result parse_udp(Parsed& out, uint32_t length) {
  if (auto bad = require_contiguous(out.mbuf, out.l3_length + static_cast<uint32_t>(sizeof(Udp))))
    return bad;
  const auto* header = out.l4<Udp>();
  const uint32_t udp_length = header->length.get();
  if (udp_length < sizeof(Udp) || udp_length > length) return Reason::packet_truncated;
  out.tuple.source.port = header->source_port.get();
  out.tuple.destination.port = header->destination_port.get();
  out.l4_length = sizeof(Udp);
  out.payload_length = udp_length - static_cast<uint32_t>(sizeof(Udp));
  if (header->checksum.raw() == 0) {
    // Allowed over IPv4 only (RFC 768, RFC 8200 section 8.1).
    if (out.is_v4()) return kOk;
    return Reason::packet_bad_checksum;
  }
  return check_transport_checksum(out, udp_length);
}

Result parse_icmp(Parsed& out, uint32_t length) {
  if (auto bad = require_contiguous(out.mbuf, out.l3_length + static_cast<uint32_t>(sizeof(Icmp))))
    return bad;
  out.l4_length = sizeof(Icmp);
  out.payload_length = length - static_cast<uint32_t>(sizeof(Icmp));
  return check_transport_checksum(out, length);
}

Result parse_transport(Parsed& out) {
  const uint32_t length = out.mbuf->pkt_len - out.l3_length;
  out.payload_length = length;
  if (out.is_fragment) return kOk;
  if (out.protocol == kProtoTcp) return parse_tcp(out, length);
  if (out.protocol == kProtoUdp) return parse_udp(out, length);
  if (out.protocol == (out.is_v4() ? kProtoIcmp : kProtoIcmpv6)) return parse_icmp(out, length);
  return kOk;
}

// One host's, and none of a special range.
bool is_ordinary(uint32_t address) {
  const uint32_t network = address >> 24;
  return network - 1 < 223 && network != 127;
}

// What nearly every packet is: TCP over IPv4 without IP options, padding or fragments, its headers
// in the first buffer, its addresses of the ordinary ranges.
bool is_ordinary_tcp(const rte_mbuf* packet) {
  if (packet->data_len < sizeof(Ipv4) + sizeof(Tcp)) return false;
  const auto& ip = *rte_pktmbuf_mtod(packet, const Ipv4*);
  const auto& tcp = *rte_pktmbuf_mtod_offset(packet, const Tcp*, sizeof(Ipv4));
  const uint32_t source = ip.source.get();
  const uint32_t destination = ip.destination.get();
  const uint32_t total = ip.total_length.get();
  const unsigned header = tcp.header_length();
  return ip.version_ihl == 0x45 && ip.protocol == kProtoTcp && total == packet->pkt_len &&
         (ip.fragment.get() & (Ipv4::kMoreFragments | Ipv4::kOffsetMask)) == 0 &&
         header >= sizeof(Tcp) && sizeof(Ipv4) + header <= packet->data_len &&
         is_ordinary(source) && is_ordinary(destination) && source != destination;
}

// The same result as the whole parser's, which is five times as long.
Result take_ordinary_tcp(rte_mbuf* packet, Parsed& out) {
  const auto& ip = *rte_pktmbuf_mtod(packet, const Ipv4*);
  const auto& tcp = *rte_pktmbuf_mtod_offset(packet, const Tcp*, sizeof(Ipv4));
  out.mbuf = packet;
  out.tuple = {{IpAddress::v4(ip.source), tcp.source_port.get()},
               {IpAddress::v4(ip.destination), tcp.destination_port.get()}};
  out.protocol = kProtoTcp;
  out.ttl = ip.ttl;
  out.ecn = ip.tos & 3;
  out.is_fragment = false;
  out.l3_length = sizeof(Ipv4);
  out.l4_length = static_cast<uint16_t>(tcp.header_length());
  const uint32_t length = packet->pkt_len - static_cast<uint32_t>(sizeof(Ipv4));
  out.payload_length = length - out.l4_length;
  constexpr uint64_t kBothGood = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if ((packet->ol_flags & (RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK)) ==
      kBothGood) {
    return kOk;
  }
  if (auto bad = check_ipv4_checksum(packet, &ip)) return bad;
  return check_transport_checksum(out, length);
}

// Out of line, so that what is ordinary saves no registers for it.
[[gnu::noinline]] Result parse_any(rte_mbuf* packet, Parsed& out) {
  out = Parsed{};
  out.mbuf = packet;
  if (auto bad = require_contiguous(packet, 1)) return bad;
  const unsigned version = *rte_pktmbuf_mtod(packet, const uint8_t*) >> 4;
  if (version != 4 && version != 6) return Reason::packet_bad_version;
  if (auto bad = version == 4 ? parse_ipv4(packet, out) : parse_ipv6(packet, out)) return bad;
  if (auto bad = check_addresses(out.tuple, version == 4)) return bad;
  return parse_transport(out);
}

}  // namespace

stats::Refusal parse(rte_mbuf* packet, Parsed& out) {
  if (is_ordinary_tcp(packet)) return take_ordinary_tcp(packet, out);
  return parse_any(packet, out);
}

}  // namespace isthmus::packet
