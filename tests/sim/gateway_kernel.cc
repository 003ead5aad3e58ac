// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/gateway_kernel.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "geneve/geneve.h"
#include "ip/arp.h"
#include "packet/chain.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::sim {
namespace {

using packet::Arp;
using packet::Ethernet;
using packet::Tcp;

constexpr uint16_t kOuterPort = 41'000;
constexpr unsigned kOuter = 20 + 8 + 8;  // IPv4, UDP, Geneve

packet::IpAddress v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return packet::IpAddress::v4(uint32_t{a} << 24 | uint32_t{b} << 16 | uint32_t{c} << 8 | d);
}

bool is_syn(const Carried& packet) {
  return packet.tcp() != nullptr && (packet.tcp()->flags & (Tcp::kSyn | Tcp::kAck)) == Tcp::kSyn;
}

}  // namespace

NodeKernel::NodeKernel(const Config& config, const Peer::ToGateway& to_gateway, Send out)
    : config_(config),
      out_(std::move(out)),
      to_gateway_(to_gateway),
      inbound_{1000, v4(192, 168, 126, 1), v4(192, 168, 126, 2), {{2, 1, 0, 0, 0, 0}}, {}},
      outbound_{1001, v4(192, 168, 127, 1), v4(192, 168, 127, 2), {{2, 2, 0, 0, 0, 0}}, {}},
      plain_({.mac = config.mac,
              .addresses = {config.host},
              .gateway = config.gateway,
              .gateway_mac = config.gateway_mac,
              .mtu = config.mtu},
             to_gateway, [this](Carried&& packet) { emitted(std::move(packet)); }) {}

bool NodeKernel::proxied(const packet::Tuple& tuple) const {
  return proxied_.contains(tuple) || proxied_.contains(tuple.reversed());
}

void NodeKernel::from_pod(Carried&& packet) {
  if (proxied(packet.tuple())) return plain_.send(std::move(packet));
  if (packet.tcp() != nullptr) return redirect(outbound_, std::move(packet));
  from_network(std::move(packet));
}

void NodeKernel::from_network(Carried&& packet) {
  // What the link corrupted so that it names nobody is not forwarded; the rest is for its end.
  if (!packet.header_intact()) return;
  const packet::Tuple tuple = packet.tuple();
  if (proxied(tuple)) return plain_.send(std::move(packet));
  const auto& pods = config_.pods;
  if (std::find(pods.begin(), pods.end(), tuple.destination.address) != pods.end()) {
    return redirect(inbound_, std::move(packet));
  }
  out_(std::move(packet));
}

void NodeKernel::redirect(Tunnel& tunnel, Carried&& packet) {
  if (is_syn(packet)) {
    ++opened_;
    captured_.insert(packet.tuple());
  } else {
    ++midflow_;
  }
  if (tunnel.resolved) {
    return encapsulate(tunnel, tunnel.gateway_mac, Ethernet::kIpv4, packet.bytes, packet.partial);
  }
  tunnel.waiting.push_back(std::move(packet));
  if (tunnel.waiting.size() > 1) return;
  std::vector<uint8_t> request(sizeof(Arp));
  const Arp arp = {packet::be16(1),
                   packet::be16(Ethernet::kIpv4),
                   6,
                   4,
                   packet::be16(Arp::kRequest),
                   tunnel.mac,
                   tunnel.own.v4_wire(),
                   {},
                   tunnel.gateway.v4_wire()};
  std::memcpy(request.data(), &arp, sizeof arp);
  encapsulate(tunnel, packet::MacAddress::broadcast(), Ethernet::kArp, request, false);
}

void NodeKernel::encapsulate(const Tunnel& tunnel, const packet::MacAddress& to, uint16_t type,
                             const std::vector<uint8_t>& inner, bool partial) {
  const test::Bytes frame = test::ethernet_frame(to, tunnel.mac, type, inner);
  const geneve::Header header = {0, 0, packet::be16(Ethernet::kTransparentBridging),
                                 packet::be32(tunnel.vni << 8)};
  test::Bytes geneve(sizeof header + frame.size());
  std::memcpy(geneve.data(), &header, sizeof header);
  std::copy(frame.begin(), frame.end(), geneve.begin() + sizeof header);
  Carried outer;
  outer.bytes =
      test::udp_packet({{config_.host, kOuterPort}, {config_.gateway, geneve::kPort}}, geneve);
  outer.partial = partial;
  plain_.send(std::move(outer));
}

void NodeKernel::emitted(Carried&& packet) {
  const packet::Tuple tuple = packet.tuple();
  if (packet.protocol() == packet::kProtoUdp && tuple.destination.port == geneve::kPort) {
    return tunnel_answer(packet);
  }
  if (tuple.destination.address == config_.host) return;
  if (tuple.source.address != config_.gateway) {
    // With the 4-tuple of a captured SYN, that SYN's conntrack entry would swallow this one.
    if (is_syn(packet) && captured_.contains(tuple)) {
      error_ = fmt::format("{} was sent again with the ports that it had", tuple.to_string());
    }
    if (remembers_) proxied_.insert(tuple);
  }
  out_(std::move(packet));
}

void NodeKernel::tunnel_answer(const Carried& packet) {
  const uint8_t* bytes = packet.bytes.data();
  const size_t arp_at = kOuter + sizeof(Ethernet);
  if (packet.bytes.size() < arp_at + sizeof(Arp) ||
      reinterpret_cast<const Ethernet*>(bytes + kOuter)->type.get() != Ethernet::kArp) {
    error_ = "something else than ARP came back by Geneve";
    return;
  }
  const uint32_t vni = packet::load_be<uint32_t>(bytes + 20 + 8 + 4) >> 8;
  Tunnel& tunnel = vni == inbound_.vni ? inbound_ : outbound_;
  const auto& arp = *reinterpret_cast<const Arp*>(bytes + arp_at);
  if (vni != tunnel.vni || packet::IpAddress::v4(arp.sender_ip) != tunnel.gateway) {
    error_ = "an ARP answer for another tunnel";
    return;
  }
  ++answers_;
  tunnel.gateway_mac = arp.sender_mac;
  tunnel.resolved = true;
  auto waiting = std::move(tunnel.waiting);
  for (const Carried& each : waiting) {
    encapsulate(tunnel, tunnel.gateway_mac, Ethernet::kIpv4, each.bytes, each.partial);
  }
}

void NodeKernel::forget(bool for_good) {
  proxied_.clear();
  captured_.clear();
  if (for_good) remembers_ = false;
}

}  // namespace isthmus::sim
