// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/icmp.h"

#include <algorithm>
#include <cstring>

#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::ip {
namespace {

using packet::be16;
using packet::be32;
using packet::ChecksumDelta;
using packet::Icmp;
using packet::IpAddress;
using packet::Ipv4;
using packet::Ipv6;
using packet::Parsed;
using stats::Reason;

enum Type : uint8_t {
  kEchoReply4 = 0,
  kUnreachable4 = 3,
  kSourceQuench4 = 4,
  kRedirect4 = 5,
  kEcho4 = 8,
  kTimeExceeded4 = 11,
  kParameterProblem4 = 12,
  kUnreachable6 = 1,
  kTooBig6 = 2,
  kParameterProblem6 = 4,
  kEcho6 = 128,
  kEchoReply6 = 129,
};

constexpr uint8_t kTtl = 64;
// An IPv4 error is at most 576 bytes (RFC 1812 section 4.3.2.3), an IPv6 one 1280 (RFC 4443 2.4).
constexpr uint32_t kMaxError4 = 576;
constexpr uint32_t kMaxError6 = 1280;

struct TypeCode {
  uint8_t type;
  uint8_t code;
};

TypeCode type_code(ErrorKind kind, bool v4) {
  switch (kind) {
    case ErrorKind::time_exceeded:
      return v4 ? TypeCode{11, 0} : TypeCode{3, 0};
    case ErrorKind::network_unreachable:
      return v4 ? TypeCode{3, 0} : TypeCode{1, 0};
    case ErrorKind::host_unreachable:
      return v4 ? TypeCode{3, 1} : TypeCode{1, 3};
    case ErrorKind::port_unreachable:
      return v4 ? TypeCode{3, 3} : TypeCode{1, 4};
    case ErrorKind::protocol_unreachable:
      return v4 ? TypeCode{3, 2} : TypeCode{4, 1};
    case ErrorKind::admin_prohibited:
      return v4 ? TypeCode{3, 13} : TypeCode{1, 1};
    case ErrorKind::packet_too_big:
      return v4 ? TypeCode{3, 4} : TypeCode{2, 0};
  }
  return {};
}

bool is_icmp(const Parsed& parsed) {
  return !parsed.is_fragment &&
         parsed.protocol == (parsed.is_v4() ? packet::kProtoIcmp : packet::kProtoIcmpv6);
}

bool is_error_type(bool v4, uint8_t type) {
  if (!v4) return type < 128;
  return type == kUnreachable4 || type == kSourceQuench4 || type == kRedirect4 ||
         type == kTimeExceeded4 || type == kParameterProblem4;
}

bool is_later_fragment(const Parsed& parsed) {
  if (!parsed.is_fragment) return false;
  if (parsed.is_v4()) {
    return (parsed.l3<Ipv4>()->fragment.get() & Ipv4::kOffsetMask) != 0;
  }
  // The fragment header is the last of those in l3_length.
  const auto* header = parsed.l3<uint8_t>() + parsed.l3_length - 8;
  return (packet::load_be<uint16_t>(header + 2) & 0xfff8) != 0;
}

bool may_answer(const Parsed& offending) {
  const IpAddress& destination = offending.tuple.destination.address;
  if (is_later_fragment(offending) || destination.is_multicast()) return false;
  if (offending.is_v4() && destination.v4_value() == 0xffffffff) return false;
  // A query of an unknown type may be an error of a kind that is not known yet, so only echo is
  // certainly none.
  if (!is_icmp(offending)) return true;
  const uint8_t type = offending.l4<Icmp>()->type;
  if (offending.is_v4()) return type == kEcho4 || type == kEchoReply4;
  return type == kEcho6 || type == kEchoReply6;
}

// The packet's IP header in front of `length` bytes of ICMP message.
void write_ip(uint8_t* to, const IpAddress& source, const IpAddress& destination, uint16_t length) {
  if (source.is_v4()) {
    auto* ip = reinterpret_cast<Ipv4*>(to);
    *ip = Ipv4{};
    ip->version_ihl = 0x45;
    ip->tos = 0xc0;  // internetwork control, RFC 1812 section 4.3.2.5
    ip->total_length.set(static_cast<uint16_t>(sizeof(Ipv4) + length));
    ip->ttl = kTtl;
    ip->protocol = packet::kProtoIcmp;
    ip->source = source.v4_wire();
    ip->destination = destination.v4_wire();
    ip->checksum = packet::ipv4_header_checksum(ip, sizeof(Ipv4));
    return;
  }
  auto* ip = reinterpret_cast<Ipv6*>(to);
  *ip = Ipv6{};
  ip->version_class_flow.set(6u << 28);
  ip->payload_length.set(length);
  ip->next_header = packet::kProtoIcmpv6;
  ip->hop_limit = kTtl;
  std::memcpy(ip->source, source.bytes().data(), 16);
  std::memcpy(ip->destination, destination.bytes().data(), 16);
}

void copy_packet(const rte_mbuf* from, uint8_t* to, uint32_t length) {
  for (; length != 0; from = from->next) {
    const uint32_t here = std::min<uint32_t>(length, from->data_len);
    std::memcpy(to, rte_pktmbuf_mtod(from, const uint8_t*), here);
    to += here;
    length -= here;
  }
}

}  // namespace

bool decrement_ttl(Parsed& parsed) {
  if (parsed.ttl <= 1) return false;
  --parsed.ttl;
  if (!parsed.is_v4()) {
    parsed.l3<Ipv6>()->hop_limit = parsed.ttl;
    return true;
  }
  auto* ip = parsed.l3<Ipv4>();
  const auto word = [&] { return be16(static_cast<uint16_t>(ip->ttl << 8 | ip->protocol)); };
  ChecksumDelta delta;
  const be16 before = word();
  ip->ttl = parsed.ttl;
  delta.replace(before, word());
  delta.apply(ip->checksum);
  return true;
}

bool make_echo_reply(Parsed& parsed) {
  const bool v4 = parsed.is_v4();
  if (!is_icmp(parsed) || !packet::is_exclusive(parsed.mbuf)) return false;
  auto* icmp = parsed.l4<Icmp>();
  if (icmp->type != (v4 ? kEcho4 : kEcho6) || icmp->code != 0) return false;
  // Answering a group would make the gateway an amplifier.
  if (parsed.tuple.destination.address.is_multicast()) return false;
  ChecksumDelta delta;
  const uint8_t reply = v4 ? kEchoReply4 : kEchoReply6;
  delta.replace(be16(static_cast<uint16_t>(icmp->type << 8)),
                be16(static_cast<uint16_t>(reply << 8)));
  icmp->type = reply;
  delta.apply(icmp->checksum);
  if (v4) {
    auto* ip = parsed.l3<Ipv4>();
    std::swap(ip->source, ip->destination);
    ip->ttl = kTtl;
    ip->checksum = be16(0);
    ip->checksum = packet::ipv4_header_checksum(ip, ip->header_length());
  } else {
    auto* ip = parsed.l3<Ipv6>();
    std::swap_ranges(ip->source, ip->source + 16, ip->destination);
    ip->hop_limit = kTtl;
  }
  parsed.tuple = parsed.tuple.reversed();
  parsed.ttl = kTtl;
  return true;
}

rte_mbuf* ErrorSource::make(const Parsed& offending, ErrorKind kind, uint32_t mtu,
                            const IpAddress& source, timer::Instant now) {
  const bool v4 = offending.is_v4();
  if (source.is_v4() != v4 || !may_answer(offending) || !limit_.take(now)) return nullptr;
  rte_mbuf* error = rte_pktmbuf_alloc(pools_.small);
  if (error == nullptr) return nullptr;
  const uint32_t ip_length = v4 ? sizeof(Ipv4) : sizeof(Ipv6);
  const uint32_t room = (v4 ? kMaxError4 : kMaxError6) - ip_length - sizeof(Icmp);
  const uint32_t quoted = std::min(offending.mbuf->pkt_len, room);
  const auto length = static_cast<uint16_t>(sizeof(Icmp) + quoted);
  auto* ip = reinterpret_cast<uint8_t*>(
      rte_pktmbuf_append(error, static_cast<uint16_t>(ip_length + length)));
  const IpAddress& destination = offending.tuple.source.address;
  write_ip(ip, source, destination, length);
  auto* icmp = reinterpret_cast<Icmp*>(ip + ip_length);
  const TypeCode what = type_code(kind, v4);
  *icmp = {what.type, what.code, be16(0),
           be32(kind != ErrorKind::packet_too_big ? 0
                : v4                              ? std::min(mtu, 0xffffu)
                                                  : mtu)};
  copy_packet(offending.mbuf, reinterpret_cast<uint8_t*>(icmp + 1), quoted);
  packet::Sum sum;
  if (!v4) sum = packet::pseudo_header_sum(source, destination, packet::kProtoIcmpv6, length);
  icmp->checksum = sum.add(icmp, length).checksum();
  return error;
}

bool is_icmp_error(const Parsed& parsed) {
  return is_icmp(parsed) && is_error_type(parsed.is_v4(), parsed.l4<Icmp>()->type);
}

stats::Refusal parse_icmp_error(const Parsed& parsed, EmbeddedPacket& out) {
  constexpr uint32_t kQuotedTransport = 8;  // RFC 792: at least the ports and TCP's sequence number
  const bool v4 = parsed.is_v4();
  out = EmbeddedPacket();
  out.offset = parsed.l3_length + parsed.l4_length;
  const uint32_t minimum = (v4 ? sizeof(Ipv4) : sizeof(Ipv6)) + kQuotedTransport;
  if (parsed.payload_length < minimum) return Reason::ip_bad_icmp;
  const uint32_t wanted = std::min<uint32_t>(parsed.payload_length, 60 + kQuotedTransport);
  if (!packet::make_contiguous(parsed.mbuf, out.offset + wanted)) return Reason::packet_scattered;
  const auto* bytes = parsed.l3<uint8_t>() + out.offset;
  if (bytes[0] >> 4 != (v4 ? 4 : 6)) return Reason::ip_bad_icmp;
  if (v4) {
    const auto* ip = reinterpret_cast<const Ipv4*>(bytes);
    out.l3_length = static_cast<uint16_t>(ip->header_length());
    if (out.l3_length < sizeof(Ipv4) || out.l3_length + kQuotedTransport > wanted ||
        (ip->fragment.get() & Ipv4::kOffsetMask) != 0) {
      return Reason::ip_bad_icmp;
    }
    out.protocol = ip->protocol;
    out.tuple.source.address = IpAddress::v4(ip->source);
    out.tuple.destination.address = IpAddress::v4(ip->destination);
  } else {
    // Extension headers inside an error are not followed: such a flow is not ours.
    const auto* ip = reinterpret_cast<const Ipv6*>(bytes);
    out.l3_length = sizeof(Ipv6);
    out.protocol = ip->next_header;
    out.tuple.source.address = IpAddress::v6(ip->source);
    out.tuple.destination.address = IpAddress::v6(ip->destination);
  }
  const uint8_t* transport = bytes + out.l3_length;
  if (out.protocol == packet::kProtoTcp || out.protocol == packet::kProtoUdp) {
    out.tuple.source.port = packet::load_be<uint16_t>(transport);
    out.tuple.destination.port = packet::load_be<uint16_t>(transport + 2);
  }
  if (out.protocol == packet::kProtoTcp) out.sequence = packet::load_be<uint32_t>(transport + 4);
  const auto* icmp = parsed.l4<Icmp>();
  const uint8_t type = icmp->type;
  const uint8_t code = icmp->code;
  if (v4) {
    out.unreachable = type == kUnreachable4 && code != 4;
    out.hard = type == kUnreachable4 && (code == 2 || code == 3);
    if (type == kUnreachable4 && code == 4) out.mtu = icmp->rest.get() & 0xffff;
  } else {
    out.unreachable = type == kUnreachable6;
    out.hard = (type == kUnreachable6 && code == 4) || (type == kParameterProblem6 && code == 1);
    if (type == kTooBig6) out.mtu = icmp->rest.get();
  }
  return std::nullopt;
}

}  // namespace isthmus::ip
