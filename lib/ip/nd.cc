// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/nd.h"

#include <cstring>

#include "packet/buffer.h"
#include "packet/checksum.h"

namespace isthmus::ip {
namespace {

using packet::Icmp;
using packet::IpAddress;
using packet::Ipv6;
using packet::MacAddress;
using packet::Parsed;
using stats::Reason;

constexpr uint32_t kTargetSize = 16;
constexpr uint32_t kOptionSize = 8;  // of a link-layer address option for Ethernet
constexpr uint32_t kMaxOptions = 256;
enum Option : uint8_t { kSourceLinkAddress = 1, kTargetLinkAddress = 2 };

Option link_option(NeighbourMessage::Kind kind) {
  return kind == NeighbourMessage::kSolicitation ? kSourceLinkAddress : kTargetLinkAddress;
}

stats::Refusal parse_options(const uint8_t* options, uint32_t length, NeighbourMessage& out) {
  while (length != 0) {
    if (length < 2) return Reason::ip_bad_arp;
    const uint32_t size = uint32_t{options[1]} * 8;
    if (size == 0 || size > length) return Reason::ip_bad_arp;
    if (options[0] == link_option(out.kind) && options[1] == 1) {
      out.link_address.emplace();
      std::memcpy(out.link_address->bytes.data(), options + 2, 6);
    }
    length -= size;
    options += size;
  }
  return std::nullopt;
}

}  // namespace

bool is_neighbour_message(const Parsed& parsed) {
  if (parsed.protocol != packet::kProtoIcmpv6 || parsed.is_v4() || parsed.is_fragment) return false;
  const uint8_t type = parsed.l4<Icmp>()->type;
  return type == NeighbourMessage::kSolicitation || type == NeighbourMessage::kAdvertisement;
}

stats::Refusal parse_neighbour_message(const Parsed& parsed, NeighbourMessage& out) {
  const uint32_t length = parsed.payload_length;
  if (length < kTargetSize) return Reason::packet_truncated;
  if (length > kTargetSize + kMaxOptions) return Reason::ip_bad_arp;
  if (!packet::make_contiguous(parsed.mbuf, parsed.l3_length + parsed.l4_length + length)) {
    return Reason::packet_scattered;
  }
  const auto* icmp = parsed.l4<Icmp>();
  const auto* body = reinterpret_cast<const uint8_t*>(icmp + 1);
  out = NeighbourMessage();
  out.kind = static_cast<NeighbourMessage::Kind>(icmp->type);
  out.flags = static_cast<uint8_t>(icmp->rest.get() >> 24);
  out.target = IpAddress::v6(body);
  // A hop limit of 255 proves that no router has passed the message on.
  if (parsed.ttl != 255 || icmp->code != 0 || out.target.is_multicast() || out.target.is_v4()) {
    return Reason::ip_bad_arp;
  }
  if (auto bad = parse_options(body + kTargetSize, length - kTargetSize, out)) return bad;
  if (out.link_address && out.link_address->is_multicast()) return Reason::ip_bad_arp;
  return std::nullopt;
}

rte_mbuf* make_neighbour_message(const NeighbourMessage& message, const IpAddress& source,
                                 const IpAddress& destination, rte_mempool* pool) {
  rte_mbuf* packet = rte_pktmbuf_alloc(pool);
  if (packet == nullptr) return nullptr;
  const uint16_t length =
      static_cast<uint16_t>(sizeof(Icmp) + kTargetSize + (message.link_address ? kOptionSize : 0));
  auto* ip = reinterpret_cast<Ipv6*>(
      rte_pktmbuf_append(packet, static_cast<uint16_t>(sizeof(Ipv6) + length)));
  ip->version_class_flow.set(6u << 28);
  ip->payload_length.set(length);
  ip->next_header = packet::kProtoIcmpv6;
  ip->hop_limit = 255;
  std::memcpy(ip->source, source.bytes().data(), 16);
  std::memcpy(ip->destination, destination.bytes().data(), 16);
  auto* icmp = reinterpret_cast<Icmp*>(ip + 1);
  *icmp = {message.kind, 0, packet::be16(0), packet::be32(uint32_t{message.flags} << 24)};
  auto* body = reinterpret_cast<uint8_t*>(icmp + 1);
  std::memcpy(body, message.target.bytes().data(), kTargetSize);
  if (message.link_address) {
    body[kTargetSize] = link_option(message.kind);
    body[kTargetSize + 1] = 1;
    std::memcpy(body + kTargetSize + 2, message.link_address->bytes.data(), 6);
  }
  icmp->checksum = packet::pseudo_header_sum(source, destination, packet::kProtoIcmpv6, length)
                       .add(icmp, length)
                       .checksum();
  return packet;
}

IpAddress solicited_node(const IpAddress& target) {
  uint8_t bytes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(bytes + 13, target.bytes().data() + 13, 3);
  return IpAddress::v6(bytes);
}

MacAddress multicast_mac(const IpAddress& group) {
  MacAddress mac{{0x33, 0x33}};
  std::memcpy(mac.bytes.data() + 2, group.bytes().data() + 12, 4);
  return mac;
}

}  // namespace isthmus::ip
