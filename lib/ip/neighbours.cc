// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/neighbours.h"

#include <algorithm>
#include <utility>

#include "ip/arp.h"
#include "ip/nd.h"
#include "packet/ethernet.h"

namespace isthmus::ip {

using packet::Arp;
using packet::Ethernet;
using packet::IpAddress;
using packet::MacAddress;
using stats::Reason;
using timer::Instant;

namespace {

constexpr unsigned kExpirationsPerCall = 64;
constexpr unsigned kEvictionSteps = 32;  // entries looked at for a stale one, per new neighbour

}  // namespace

Neighbours::Neighbours(const NeighbourConfig& config, const packet::Pools& pools,
                       const packet::SipKey& key, NeighbourOutput& output, Instant now)
    : mac_(config.mac),
      own_(config.addresses),
      pools_(pools),
      key_(key),
      output_(output),
      wheel_(now, config.capacity),
      index_(config.capacity),
      entries_(config.capacity) {
  free_.reserve(config.capacity);
  for (uint32_t i = config.capacity; i != 0; --i) free_.push_back(i - 1);
}

Neighbours::~Neighbours() {
  for (Entry& entry : entries_) {
    wheel_.cancel(entry);
    rte_pktmbuf_free_bulk(entry.queue, entry.queued);
  }
}

Neighbours::Entry* Neighbours::find(const IpAddress& address) {
  const uint32_t number = index_.find(packet::siphash(key_, address),
                                      [&](uint32_t i) { return entries_[i].address == address; });
  return number == packet::HashIndex::kNone ? nullptr : &entries_[number];
}

Neighbours::Entry* Neighbours::create(const IpAddress& address) {
  if (free_.empty()) {
    Entry* victim = evict_stale();
    if (victim == nullptr) return nullptr;
    erase(*victim, Reason::ip_neighbour_table_full);
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  Entry& entry = entries_[number];
  entry.used = true;
  entry.state = State::incomplete;
  entry.requests = 0;
  entry.queued = 0;
  entry.mac = MacAddress();
  entry.address = address;
  index_.insert(packet::siphash(key_, address), number);
  ++size_;
  return &entry;
}

Neighbours::Entry* Neighbours::evict_stale() {
  for (unsigned i = 0; i < kEvictionSteps && i < entries_.size(); ++i) {
    Entry& entry = entries_[hand_];
    hand_ = (hand_ + 1) % static_cast<uint32_t>(entries_.size());
    if (entry.used && entry.state == State::stale) return &entry;
  }
  return nullptr;
}

void Neighbours::erase(Entry& entry, Reason reason) {
  const auto number = static_cast<uint32_t>(&entry - entries_.data());
  wheel_.cancel(entry);
  index_.erase(packet::siphash(key_, entry.address), number);
  entry.used = false;
  free_.push_back(number);
  --size_;
  const unsigned queued = std::exchange(entry.queued, 0);
  for (unsigned i = 0; i < queued; ++i) output_.drop(entry.queue[i], reason);
}

void Neighbours::send(rte_mbuf* packet, const IpAddress& next_hop, Instant now) {
  if (next_hop.is_multicast() && !next_hop.is_v4()) {
    return transmit_ip(packet, multicast_mac(next_hop));
  }
  Entry* entry = find(next_hop);
  if (entry == nullptr) {
    entry = create(next_hop);
    if (entry == nullptr) return output_.drop(packet, Reason::ip_neighbour_table_full);
    enqueue(*entry, packet);
    return request(*entry, now);
  }
  if (entry->state == State::incomplete) return enqueue(*entry, packet);
  if (entry->state == State::stale) {
    // Used although unconfirmed: ask, and go on sending meanwhile.
    entry->state = State::probe;
    entry->requests = 0;
    request(*entry, now);
  }
  transmit_ip(packet, entry->mac);
}

void Neighbours::enqueue(Entry& entry, rte_mbuf* packet) {
  if (entry.queued == kQueue) return output_.drop(packet, Reason::ip_neighbour_queue_full);
  entry.queue[entry.queued++] = packet;
}

void Neighbours::request(Entry& entry, Instant now) {
  ++entry.requests;
  wheel_.arm(entry, now + kRequestInterval);
  const bool v4 = entry.address.is_v4();
  const IpAddress source = own_address(v4);
  if (v4) {
    rte_mbuf* message =
        make_arp_request(mac_, source.v4_wire(), entry.address.v4_wire(), pools_.small);
    const bool known = entry.state != State::incomplete;
    if (message == nullptr) return;
    return transmit(message, known ? entry.mac : MacAddress::broadcast(), Ethernet::kArp);
  }
  NeighbourMessage solicitation;
  solicitation.target = entry.address;
  solicitation.link_address = mac_;
  const IpAddress group = solicited_node(entry.address);
  rte_mbuf* message = make_neighbour_message(solicitation, source, group, pools_.small);
  if (message != nullptr) transmit(message, multicast_mac(group), Ethernet::kIpv6);
}

void Neighbours::expire(Entry& entry, Instant now) {
  switch (entry.state) {
    case State::incomplete:
    case State::probe:
      if (entry.requests < kMaxRequests) return request(entry, now);
      return erase(entry, Reason::ip_neighbour_unresolved);
    case State::reachable:
      entry.state = State::stale;
      return wheel_.arm(entry, now + kForgetTime);
    case State::stale:
      return erase(entry, Reason::ip_neighbour_unresolved);
    case State::permanent:
      return;
  }
}

void Neighbours::advance(Instant now) {
  wheel_.advance(now, kExpirationsPerCall,
                 [&](timer::Wheel::Entry& e) { expire(static_cast<Entry&>(e), now); });
}

void Neighbours::learn(Entry& entry, const MacAddress& mac, bool solicited, Instant now) {
  if (entry.state == State::permanent) return;
  const bool confirms =
      solicited && (entry.state == State::incomplete || entry.state == State::probe);
  // An unasked message that tells nothing new leaves the entry's age as it is.
  if (!confirms && entry.state != State::incomplete && entry.mac == mac) return;
  entry.mac = mac;
  entry.state = confirms ? State::reachable : State::stale;
  entry.requests = 0;
  wheel_.arm(entry, now + (confirms ? kReachableTime : kForgetTime));
  const unsigned queued = std::exchange(entry.queued, 0);
  for (unsigned i = 0; i < queued; ++i) transmit_ip(entry.queue[i], mac);
}

stats::Refusal Neighbours::input_arp(rte_mbuf* message, Instant now) {
  Arp arp;
  if (auto bad = parse_arp(message, arp)) return bad;
  const IpAddress sender = IpAddress::v4(arp.sender_ip);
  const IpAddress target = IpAddress::v4(arp.target_ip);
  const bool for_us = is_own(target);
  const bool is_request = arp.operation.get() == Arp::kRequest;
  // RFC 826: update whom we know, add only who talks to us. A sender of 0.0.0.0 is a probe
  // (RFC 5227); one with our own address is a conflict that we do not yield to.
  if (!sender.is_unspecified() && !sender.is_multicast() && !is_own(sender)) {
    Entry* entry = find(sender);
    if (entry == nullptr && for_us && is_request) entry = create(sender);
    if (entry != nullptr) learn(*entry, arp.sender_mac, for_us && !is_request, now);
  }
  if (!for_us || !is_request) return std::nullopt;
  rte_mbuf* reply = make_arp_reply(arp, mac_, pools_.small);
  if (reply == nullptr) return Reason::packet_no_buffer;
  transmit(reply, arp.sender_mac, Ethernet::kArp);
  return std::nullopt;
}

stats::Refusal Neighbours::input_nd(const packet::Parsed& message, Instant now) {
  NeighbourMessage parsed;
  if (auto bad = parse_neighbour_message(message, parsed)) return bad;
  const bool solicitation = parsed.kind == NeighbourMessage::kSolicitation;
  const IpAddress about = solicitation ? message.tuple.source.address : parsed.target;
  const bool for_us = solicitation && is_own(parsed.target);
  if (parsed.link_address && !is_own(about)) {
    Entry* entry = find(about);
    if (entry == nullptr && for_us) entry = create(about);
    // Without the override flag a different address is not taken over (RFC 4861 section 7.2.5).
    const bool may_change = solicitation || (parsed.flags & NeighbourMessage::kOverride) != 0 ||
                            (entry != nullptr && entry->state == State::incomplete);
    if (entry != nullptr && (may_change || entry->mac == *parsed.link_address)) {
      learn(*entry, *parsed.link_address, (parsed.flags & NeighbourMessage::kSolicited) != 0, now);
    }
  }
  if (!for_us) return std::nullopt;
  const Entry* asker = find(about);
  if (parsed.link_address) {
    answer_solicitation(message, parsed.target, *parsed.link_address);
  } else if (asker != nullptr && asker->state != State::incomplete) {
    answer_solicitation(message, parsed.target, asker->mac);
  }
  return std::nullopt;
}

void Neighbours::answer_solicitation(const packet::Parsed& request, const IpAddress& target,
                                     const MacAddress& to) {
  NeighbourMessage answer;
  answer.kind = NeighbourMessage::kAdvertisement;
  answer.flags =
      NeighbourMessage::kRouter | NeighbourMessage::kSolicited | NeighbourMessage::kOverride;
  answer.target = target;
  answer.link_address = mac_;
  rte_mbuf* reply =
      make_neighbour_message(answer, target, request.tuple.source.address, pools_.small);
  if (reply != nullptr) transmit(reply, to, Ethernet::kIpv6);
}

bool Neighbours::add_permanent(const IpAddress& address, const MacAddress& mac) {
  Entry* entry = find(address);
  if (entry == nullptr) entry = create(address);
  if (entry == nullptr) return false;
  wheel_.cancel(*entry);
  entry->state = State::permanent;
  entry->mac = mac;
  const unsigned queued = std::exchange(entry->queued, 0);
  for (unsigned i = 0; i < queued; ++i) transmit_ip(entry->queue[i], mac);
  return true;
}

bool Neighbours::is_own(const IpAddress& address) const {
  return std::find(own_.begin(), own_.end(), address) != own_.end();
}

IpAddress Neighbours::own_address(bool v4) const {
  const auto found =
      std::find_if(own_.begin(), own_.end(), [&](const IpAddress& a) { return a.is_v4() == v4; });
  if (found != own_.end()) return *found;
  return v4 ? IpAddress::v4(0u) : IpAddress();
}

void Neighbours::transmit(rte_mbuf* packet, const MacAddress& destination, uint16_t type) {
  rte_mbuf* frame = packet::push_ethernet(packet, destination, mac_, type, pools_.small);
  if (frame != nullptr) output_.transmit_frame(frame);
}

void Neighbours::transmit_ip(rte_mbuf* packet, const MacAddress& destination) {
  const bool v4 = *rte_pktmbuf_mtod(packet, const uint8_t*) >> 4 == 4;
  transmit(packet, destination, v4 ? Ethernet::kIpv4 : Ethernet::kIpv6);
}

}  // namespace isthmus::ip
