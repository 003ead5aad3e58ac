// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "geneve/header.h"

#include <cstring>

#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::geneve {
namespace {

using stats::Reason;

// RFC 8926 section 3.5: class, type with the critical bit, three reserved bits and five bits of
// length in words.
struct Option {
  packet::be16 option_class;
  uint8_t type;
  uint8_t length;

  bool critical() const { return (type & 0x80) != 0; }
  unsigned size() const { return sizeof(Option) + (length & 0x1fu) * 4; }
};
static_assert(sizeof(Option) == 4);

std::optional<Reason> check_options(const uint8_t* options, unsigned length) {
  for (unsigned at = 0; at < length;) {
    Option option;
    std::memcpy(&option, options + at, sizeof option);  // length is a multiple of its size
    if (option.size() > length - at) return Reason::geneve_bad_option;
    if (option.critical()) return Reason::geneve_critical_option;
    at += option.size();
  }
  return std::nullopt;
}

}  // namespace

std::optional<Reason> decapsulate(packet::Parsed& datagram, Tunnelled& out) {
  const uint32_t start = datagram.l3_length + datagram.l4_length;
  if (datagram.payload_length < sizeof(Header)) return Reason::geneve_truncated;
  if (!packet::make_contiguous(datagram.mbuf, start + sizeof(Header))) {
    return Reason::packet_scattered;
  }
  Header header;
  std::memcpy(&header, rte_pktmbuf_mtod_offset(datagram.mbuf, void*, start), sizeof header);
  if (header.version() != 0) return Reason::geneve_bad_version;
  if (header.control()) return Reason::geneve_control;
  if (header.protocol != packet::be16(packet::Ethernet::kTransparentBridging)) {
    return Reason::geneve_bad_protocol;
  }
  const uint32_t end = start + kHeaderSize + header.options_length();
  if (datagram.payload_length < kHeaderSize + header.options_length()) {
    return Reason::geneve_truncated;
  }
  if (header.options_length() != 0) {
    if (!packet::make_contiguous(datagram.mbuf, end)) return Reason::packet_scattered;
    const auto reason =
        check_options(rte_pktmbuf_mtod_offset(datagram.mbuf, uint8_t*, start + kHeaderSize),
                      header.options_length());
    if (reason) return reason;
  }
  if (header.critical()) return Reason::geneve_critical_option;
  out.vni = header.vni();
  out.source = datagram.tuple.source.address;
  out.destination = datagram.tuple.destination.address;
  packet::trim_front(datagram.mbuf, end);
  // What the flags said was about the outer datagram; the inner checksums are still to be verified.
  datagram.mbuf->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
  return std::nullopt;
}

rte_mbuf* encapsulate(rte_mbuf* frame, const packet::IpAddress& source,
                      const packet::IpAddress& destination, uint32_t vni, uint16_t source_port) {
  constexpr uint16_t kOuter = sizeof(packet::Ipv4) + sizeof(packet::Udp) + sizeof(Header);
  const uint32_t inner = frame->pkt_len;
  char* front = packet::is_exclusive(frame) ? rte_pktmbuf_prepend(frame, kOuter) : nullptr;
  if (front == nullptr || inner + kOuter > UINT16_MAX) {
    rte_pktmbuf_free(frame);
    return nullptr;
  }
  packet::Ipv4 ip{};
  ip.version_ihl = 0x45;
  ip.total_length = packet::be16(static_cast<uint16_t>(inner + kOuter));
  ip.ttl = 64;
  ip.protocol = packet::kProtoUdp;
  ip.source = source.v4_wire();
  ip.destination = destination.v4_wire();
  ip.checksum = packet::ipv4_header_checksum(&ip, sizeof ip);
  packet::Udp udp{};
  udp.source_port = packet::be16(source_port);
  udp.destination_port = packet::be16(kPort);
  udp.length = packet::be16(static_cast<uint16_t>(inner + sizeof udp + sizeof(Header)));
  Header header{};
  header.protocol = packet::be16(packet::Ethernet::kTransparentBridging);
  header.vni_reserved = packet::be32(vni << 8);
  std::memcpy(front, &ip, sizeof ip);
  std::memcpy(front + sizeof ip, &udp, sizeof udp);
  std::memcpy(front + sizeof ip + sizeof udp, &header, sizeof header);
  frame->l2_len = 0;
  frame->l3_len = sizeof ip;
  frame->l4_len = sizeof udp;
  return frame;
}

}  // namespace isthmus::geneve
