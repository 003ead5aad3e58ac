// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "geneve/endpoints.h"

#include <algorithm>
#include <cstring>

#include "packet/buffer.h"

namespace isthmus::geneve {

using packet::Arp;
using packet::Ethernet;
using stats::Reason;

const Endpoint* Endpoints::find(uint32_t vni) const {
  for (const Endpoint& tunnel : tunnels) {
    if (tunnel.vni == vni) return &tunnel;
  }
  return nullptr;
}

std::optional<Reason> Endpoints::check(const Tunnelled& tunnelled) const {
  if (std::find(hosts.begin(), hosts.end(), tunnelled.source) == hosts.end()) {
    return Reason::geneve_foreign_source;
  }
  if (find(tunnelled.vni) == nullptr) return Reason::geneve_unknown_vni;
  return std::nullopt;
}

ArpAnswer answer_arp(const Endpoints& endpoints, const Tunnelled& tunnelled, rte_mbuf* frame) {
  constexpr uint16_t kFrame = sizeof(Ethernet) + sizeof(Arp);
  const Endpoint* tunnel = endpoints.find(tunnelled.vni);
  const auto drop = [&](Reason reason) {
    rte_pktmbuf_free(frame);
    return ArpAnswer{nullptr, reason};
  };
  if (tunnel == nullptr) return drop(Reason::geneve_unknown_vni);
  if (frame->pkt_len < kFrame || !packet::make_contiguous(frame, kFrame)) {
    return drop(Reason::geneve_truncated);
  }
  if (!packet::is_exclusive(frame)) return drop(Reason::packet_scattered);
  auto* ethernet = rte_pktmbuf_mtod(frame, Ethernet*);
  auto* arp = rte_pktmbuf_mtod_offset(frame, Arp*, sizeof(Ethernet));
  const bool wellformed = arp->hardware_type == packet::be16(1) &&
                          arp->protocol_type == packet::be16(Ethernet::kIpv4) &&
                          arp->hardware_length == 6 && arp->protocol_length == 4;
  if (!wellformed) return drop(Reason::geneve_bad_arp);
  if (arp->operation != packet::be16(Arp::kRequest) ||
      packet::IpAddress::v4(arp->target_ip) != tunnel->address) {
    return drop(Reason::geneve_arp_not_ours);
  }
  packet::trim_to(frame, kFrame);  // the padding of a minimal frame
  const packet::MacAddress asker = arp->sender_mac;
  const packet::be32 asker_ip = arp->sender_ip;
  arp->operation = packet::be16(Arp::kReply);
  arp->sender_mac = tunnel->mac;
  arp->sender_ip = tunnel->address.v4_wire();
  arp->target_mac = asker;
  arp->target_ip = asker_ip;
  ethernet->destination = asker;
  ethernet->source = tunnel->mac;
  rte_mbuf* answer = encapsulate(frame, tunnelled.destination, tunnelled.source, tunnelled.vni,
                                 static_cast<uint16_t>(0xc000 | (tunnelled.vni & 0x3ff)));
  if (answer == nullptr) return {nullptr, Reason::packet_no_buffer};
  return {answer, std::nullopt};
}

}  // namespace isthmus::geneve
