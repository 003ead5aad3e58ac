// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/edge.h"

#include <algorithm>

#include <rte_mbuf.h>

#include "ip/nd.h"
#include "packet/offload.h"

namespace isthmus::gateway {
namespace {

using stats::Reason;

constexpr uint32_t kErrorsPerSecond = 100;
constexpr uint32_t kErrorBurst = 50;
// A pod's port has one neighbour; others have routers and hosts.
constexpr uint32_t kPodNeighbours = 16;
constexpr uint32_t kLinkNeighbours = 1024;

packet::IpAddress destination_of(const rte_mbuf* packet) {
  const auto* ip = rte_pktmbuf_mtod(packet, const packet::Ipv4*);
  if (ip->version() == 4) return packet::IpAddress::v4(ip->destination);
  return packet::IpAddress::v6(rte_pktmbuf_mtod(packet, const packet::Ipv6*)->destination);
}

// What the link has to carry at once: a coalesced packet leaves in the segments that it came in.
uint32_t longest(const packet::Parsed& packet) {
  const rte_mbuf* mbuf = packet.mbuf;
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_LRO) == 0 || mbuf->tso_segsz == 0) return mbuf->pkt_len;
  const uint32_t segment = uint32_t{packet.l3_length} + packet.l4_length + mbuf->tso_segsz;
  return std::min(segment, mbuf->pkt_len);
}

}  // namespace

Edge::Edge(PacketIo& io, const packet::Pools& pools, stats::ReasonCounters& reasons,
           const packet::SipKey& key, const Plan& plan, timer::Instant now)
    : io_(io),
      pools_(pools),
      reasons_(reasons),
      plan_(&plan),
      now_(now),
      errors_(pools_, kErrorsPerSecond, kErrorBurst) {
  for (const Interface& interface : plan.interfaces) {
    const auto i = static_cast<uint16_t>(&interface - plan.interfaces.data());
    const bool pod = interface.role == capture::PortRole::pod;
    auto exit = std::make_unique<Exit>(*this, i);
    exit->neighbours = std::make_unique<ip::Neighbours>(
        ip::NeighbourConfig{.mac = interface.mac,
                            .addresses = interface.addresses,
                            .capacity = pod ? kPodNeighbours : kLinkNeighbours},
        pools_, key, *exit, now);
    for (const auto& [address, mac] : interface.neighbours) {
      exit->neighbours->add_permanent(address, mac);
    }
    exits_.push_back(std::move(exit));
  }
}

Edge::~Edge() {
  for (auto& exit : exits_) rte_pktmbuf_free_bulk(exit->frames.data(), exit->count);
}

void Edge::drop(rte_mbuf* packet, Reason reason) {
  reasons_.count(reason);
  rte_pktmbuf_free(packet);
}

bool Edge::is_own_address(const packet::IpAddress& address) const {
  const auto& own = plan_->own_addresses;
  return std::find(own.begin(), own.end(), address) != own.end();
}

void Edge::send(rte_mbuf* packet) {
  const packet::IpAddress destination = destination_of(packet);
  const ip::Route* route = plan_->routes.lookup(destination);
  if (route == nullptr) return drop(packet, Reason::ip_no_route);
  exits_[route->port]->neighbours->send(packet, route->neighbour(destination), now_);
}

void Edge::forward(packet::Parsed& packet) {
  const ip::Route* route = plan_->routes.lookup(packet.tuple.destination.address);
  if (route == nullptr) {
    send_error(packet, ip::ErrorKind::network_unreachable, 0);
    return drop(packet.mbuf, Reason::ip_no_route);
  }
  if (!ip::decrement_ttl(packet)) {
    send_error(packet, ip::ErrorKind::time_exceeded, 0);
    return drop(packet.mbuf, Reason::ip_ttl_exceeded);
  }
  const uint16_t mtu = plan_->interfaces[route->port].mtu;
  if (longest(packet) > mtu) {
    send_error(packet, ip::ErrorKind::packet_too_big, mtu);
    return drop(packet.mbuf, Reason::ip_too_big);
  }
  packet::prepare_forward(packet);
  exits_[route->port]->neighbours->send(packet.mbuf,
                                        route->neighbour(packet.tuple.destination.address), now_);
}

void Edge::send_error(const packet::Parsed& packet, ip::ErrorKind kind, uint32_t mtu) {
  const ip::Route* back = plan_->routes.lookup(packet.tuple.source.address);
  if (back == nullptr || back->source.is_unspecified()) return;
  rte_mbuf* error = errors_.make(packet, kind, mtu, back->source, now_);
  if (error != nullptr) send(error);
}

void Edge::neighbour_message(rte_mbuf* message, uint16_t interface) {
  ip::Neighbours& neighbours = *exits_[interface]->neighbours;
  packet::Parsed parsed;
  // An ARP message begins with its hardware type, 0x0001; an IPv6 packet with its version.
  const bool arp = message->data_len != 0 && (*rte_pktmbuf_mtod(message, uint8_t*) >> 4) != 6;
  stats::Refusal reason =
      arp ? neighbours.input_arp(message, now_) : packet::parse(message, parsed);
  if (!arp && !reason) reason = neighbours.input_nd(parsed, now_);
  if (reason) reasons_.count(*reason);
  rte_pktmbuf_free(message);
}

void Edge::finish(Exit& exit, rte_mbuf* frame) {
  const Interface& interface = plan_->interfaces[exit.interface];
  if ((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0 && !interface.can_segment) {
    return segment(exit, frame);
  }
  if (!interface.can_checksum) packet::complete_checksums(frame);
  queue(exit, frame);
}

void Edge::segment(Exit& exit, rte_mbuf* frame) {
  packet::Segmenter segmenter(frame, pools_);
  const bool can_checksum = plan_->interfaces[exit.interface].can_checksum;
  while (rte_mbuf* part = segmenter.next()) {
    if (!can_checksum) packet::complete_checksums(part);
    queue(exit, part);
  }
  if (!segmenter.done()) reasons_.count(Reason::packet_no_buffer);
}

void Edge::queue(Exit& exit, rte_mbuf* frame) {
  if (exit.count == kBurst) flush(exit);
  exit.frames[exit.count++] = frame;
}

unsigned Edge::flush(Exit& exit) {
  if (exit.count == 0) return 0;
  const uint16_t sent = io_.transmit(exit.interface, exit.frames.data(), exit.count);
  if (sent < exit.count) reasons_.count(Reason::gateway_device_full, exit.count - sent);
  const unsigned count = exit.count;
  frames_sent_ += sent;
  exit.count = 0;
  return count;
}

unsigned Edge::flush() {
  unsigned frames = 0;
  for (auto& exit : exits_) frames += flush(*exit);
  return frames;
}

void Edge::advance() {
  for (auto& exit : exits_) {
    if (exit->neighbours->next_deadline() <= now_) exit->neighbours->advance(now_);
  }
}

timer::Instant Edge::next_deadline() const {
  timer::Instant earliest = timer::kNever;
  for (const auto& exit : exits_) {
    earliest = std::min(earliest, exit->neighbours->next_deadline());
  }
  return earliest;
}

}  // namespace isthmus::gateway
