// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "geneve/endpoints.h"

#include <algorithm>

#include "ip/arp.h"
#include "packet/siphash.h"

namespace isthmus::geneve {

using packet::IpAddress;
using packet::MacAddress;
using stats::Reason;

namespace {

Tunnel with_mac(Tunnel tunnel, const IpAddress& gateway) {
  if (tunnel.mac == MacAddress()) tunnel.mac = tunnel_mac(gateway, tunnel.vni);
  return tunnel;
}

}  // namespace

MacAddress tunnel_mac(const IpAddress& gateway, uint32_t vni) {
  // Not a secret, only well mixed: the key is the VNI.
  const uint64_t hash = packet::siphash({vni, 0}, gateway);
  MacAddress mac;
  for (unsigned i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(hash >> (8 * i));
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

TunnelEndpoints::TunnelEndpoints(const EndpointConfig& config)
    : gateway_(config.gateway),
      hosts_(config.hosts),
      inbound_(with_mac(config.inbound, config.gateway)),
      outbound_(with_mac(config.outbound, config.gateway)) {
  std::sort(hosts_.begin(), hosts_.end());
}

stats::Refusal TunnelEndpoints::accept(const Tunnelled& packet, Direction& direction) const {
  if (packet.outer.destination.address != gateway_) return Reason::geneve_wrong_destination;
  if (!std::binary_search(hosts_.begin(), hosts_.end(), packet.outer.source.address)) {
    return Reason::geneve_unknown_source;
  }
  if (packet.vni == inbound_.vni) {
    direction = Direction::inbound;
  } else if (packet.vni == outbound_.vni) {
    direction = Direction::outbound;
  } else {
    return Reason::geneve_unknown_vni;
  }
  return std::nullopt;
}

stats::Refusal TunnelEndpoints::answer_arp(rte_mbuf* message, const Tunnelled& from,
                                           Direction direction, rte_mempool* pool,
                                           rte_mbuf*& reply) const {
  reply = nullptr;
  packet::Arp arp;
  if (auto bad = ip::parse_arp(message, arp)) return bad;
  const Tunnel& here = tunnel(direction);
  if (arp.operation.get() != packet::Arp::kRequest ||
      IpAddress::v4(arp.target_ip) != here.address) {
    return Reason::geneve_arp_ignored;
  }
  rte_mbuf* answer = ip::make_arp_reply(arp, here.mac, pool);
  if (answer == nullptr) return Reason::packet_no_buffer;
  reply = encapsulate(answer,
                      {.source = gateway_,
                       .destination = from.outer.source.address,
                       .source_port = from.outer.source.port,
                       .vni = here.vni,
                       .inner_source = here.mac,
                       .inner_destination = arp.sender_mac,
                       .inner_type = packet::Ethernet::kArp},
                      pool);
  if (reply == nullptr) return Reason::packet_no_buffer;
  return std::nullopt;
}

}  // namespace isthmus::geneve
