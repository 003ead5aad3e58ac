// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/arp.h"

#include "packet/buffer.h"

namespace isthmus::ip {
namespace {

using packet::Arp;
using packet::be16;
using packet::Ethernet;
using packet::MacAddress;

constexpr uint16_t kEthernetHardware = 1;

rte_mbuf* make_arp(Arp::Operation operation, const MacAddress& sender_mac, packet::be32 sender_ip,
                   const MacAddress& target_mac, packet::be32 target_ip, rte_mempool* pool) {
  rte_mbuf* message = rte_pktmbuf_alloc(pool);
  if (message == nullptr) return nullptr;
  auto* arp = reinterpret_cast<Arp*>(rte_pktmbuf_append(message, sizeof(Arp)));
  *arp = {be16(kEthernetHardware),
          be16(Ethernet::kIpv4),
          6,
          4,
          be16(operation),
          sender_mac,
          sender_ip,
          target_mac,
          target_ip};
  return message;
}

}  // namespace

stats::Refusal parse_arp(rte_mbuf* packet, Arp& out) {
  if (packet->pkt_len < sizeof(Arp)) return stats::Reason::packet_truncated;
  if (!packet::make_contiguous(packet, sizeof(Arp))) return stats::Reason::packet_scattered;
  out = *rte_pktmbuf_mtod(packet, const Arp*);
  const uint16_t operation = out.operation.get();
  if (out.hardware_type.get() != kEthernetHardware || out.protocol_type.get() != Ethernet::kIpv4 ||
      out.hardware_length != 6 || out.protocol_length != 4 ||
      (operation != Arp::kRequest && operation != Arp::kReply) || out.sender_mac.is_multicast() ||
      out.sender_mac == MacAddress()) {
    return stats::Reason::ip_bad_arp;
  }
  return std::nullopt;
}

rte_mbuf* make_arp_request(const MacAddress& sender_mac, packet::be32 sender_ip,
                           packet::be32 target_ip, rte_mempool* pool) {
  return make_arp(Arp::kRequest, sender_mac, sender_ip, MacAddress(), target_ip, pool);
}

rte_mbuf* make_arp_reply(const Arp& request, const MacAddress& mac, rte_mempool* pool) {
  return make_arp(Arp::kReply, mac, request.target_ip, request.sender_mac, request.sender_ip, pool);
}

}  // namespace isthmus::ip
