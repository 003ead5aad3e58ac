// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "nat/table.h"

#include <algorithm>
#include <bit>

#include <rte_mbuf.h>

#include "packet/checksum.h"
#include "packet/headers.h"

namespace isthmus::nat {
namespace {

using packet::Tcp;

constexpr uint32_t kNone = UINT32_MAX;

void write_addresses(packet::Parsed& parsed, const packet::Tuple& to) {
  if (parsed.is_v4()) {
    auto* ip = parsed.l3<packet::Ipv4>();
    packet::ChecksumDelta delta;
    delta.replace(ip->source, to.source.address.v4_wire());
    delta.replace(ip->destination, to.destination.address.v4_wire());
    // TTL and protocol share a 16-bit word of the header.
    const packet::be16 before(static_cast<uint16_t>(ip->ttl << 8 | ip->protocol));
    --ip->ttl;
    delta.replace(before, packet::be16(static_cast<uint16_t>(ip->ttl << 8 | ip->protocol)));
    ip->source = to.source.address.v4_wire();
    ip->destination = to.destination.address.v4_wire();
    delta.apply(ip->checksum);
  } else {
    auto* ip = parsed.l3<packet::Ipv6>();
    std::copy_n(to.source.address.bytes().data(), 16, ip->source);
    std::copy_n(to.destination.address.bytes().data(), 16, ip->destination);
    --ip->hop_limit;
  }
}

void rewrite(packet::Parsed& parsed, const packet::Tuple& to) {
  Tcp* tcp = parsed.tcp();
  packet::ChecksumDelta delta;
  delta.replace(parsed.tuple.source.address, to.source.address);
  delta.replace(parsed.tuple.destination.address, to.destination.address);
  const packet::be16 source(to.source.port);
  const packet::be16 destination(to.destination.port);
  // A partial checksum field holds the pseudo header's sum, in which no port is.
  const uint64_t checked = parsed.mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (checked == RTE_MBUF_F_RX_L4_CKSUM_NONE) {
    delta.apply_partial(tcp->checksum);
  } else {
    delta.replace(tcp->source_port, source);
    delta.replace(tcp->destination_port, destination);
    delta.apply(tcp->checksum);
  }
  tcp->source_port = source;
  tcp->destination_port = destination;
  write_addresses(parsed, to);
  parsed.tuple = to;
  --parsed.ttl;
}

}  // namespace

Table::Table(const Options& options, const packet::SipKey& key, timer::Instant now)
    : options_(options),
      key_(key),
      mask_(std::bit_ceil(options.capacity * 2) - 1),
      wheel_(now),
      buckets_(std::make_unique<uint32_t[]>(mask_ + 1)),
      entries_(std::make_unique<Entry[]>(options.capacity)),
      free_(std::make_unique<uint32_t[]>(options.capacity)) {
  std::fill_n(buckets_.get(), mask_ + 1, kNone);
  for (uint32_t i = 0; i < options_.capacity; ++i) free_[i] = options_.capacity - 1 - i;
}

uint32_t Table::bucket(const packet::Tuple& tuple) const {
  return static_cast<uint32_t>(packet::siphash(key_, tuple)) & mask_;
}

std::optional<Table::Found> Table::find(const packet::Tuple& tuple) const {
  for (uint32_t node = buckets_[bucket(tuple)]; node != kNone; node = side(node).next) {
    Entry& entry = entries_[node / 2];
    if (key(entry, node % 2) == tuple) return Found{&entry, static_cast<Direction>(node % 2)};
  }
  return std::nullopt;
}

void Table::link(uint32_t node, const packet::Tuple& tuple) {
  uint32_t& head = buckets_[bucket(tuple)];
  side(node).next = head;
  head = node;
}

void Table::unlink(uint32_t node, const packet::Tuple& tuple) {
  uint32_t* at = &buckets_[bucket(tuple)];
  while (*at != node) at = &side(*at).next;
  *at = side(node).next;
}

Entry* Table::add(const packet::Tuple& client, const packet::Tuple& upstream, uint64_t cookie,
                  timer::Instant now) {
  if (size_ == options_.capacity) return nullptr;
  if (in_use(client) || in_use(upstream.reversed())) return nullptr;
  const uint32_t index = free_[options_.capacity - ++size_];
  Entry& entry = entries_[index];
  entry.client_ = client;
  entry.upstream_ = upstream;
  entry.cookie_ = cookie;
  entry.sides_[0] = entry.sides_[1] = {};
  entry.state_ = State::opening;
  entry.in_use_ = true;
  link(index * 2, client);
  link(index * 2 + 1, upstream.reversed());
  wheel_.arm(entry, now + options_.opening);
  return &entry;
}

void Table::remove(Entry& entry) {
  const auto index = static_cast<uint32_t>(&entry - entries_.get());
  wheel_.cancel(entry);
  unlink(index * 2, key(entry, 0));
  unlink(index * 2 + 1, key(entry, 1));
  entry.in_use_ = false;
  free_[options_.capacity - size_--] = index;
}

Change Table::follow(Entry& entry, Direction direction, const packet::Parsed& parsed) {
  const Tcp* tcp = parsed.tcp();
  const bool from_upstream = direction == Direction::to_client;
  auto& sender = entry.sides_[Entry::index(direction)];
  const bool first_byte = from_upstream && sender.bytes == 0 && parsed.payload_length != 0;
  ++sender.packets;
  sender.bytes += parsed.payload_length;
  if ((tcp->flags & Tcp::kAck) != 0) {
    sender.last_ack = tcp->acknowledgment.get();
    sender.acked = true;
  }
  if (entry.state_ == State::closed) return Change::none;
  if ((tcp->flags & Tcp::kRst) != 0) {
    const bool refused = from_upstream && entry.state_ == State::opening;
    entry.state_ = State::closed;
    return refused ? Change::refused : Change::closed;
  }
  if ((tcp->flags & Tcp::kFin) != 0) sender.fin = true;
  if (entry.sides_[0].fin && entry.sides_[1].fin) {
    entry.state_ = State::closed;
    return Change::closed;
  }
  if (entry.state_ == State::opening && from_upstream &&
      (tcp->flags & (Tcp::kSyn | Tcp::kAck)) == (Tcp::kSyn | Tcp::kAck)) {
    entry.state_ = State::established;
    return Change::answered;
  }
  return first_byte ? Change::first_byte : Change::none;
}

std::optional<Hit> Table::translate(packet::Parsed& parsed, timer::Instant now) {
  const auto found = find(parsed.tuple);
  if (!found) return std::nullopt;
  Entry& entry = *found->entry;
  // A new connection on the same ports: it is classified like any other.
  if (entry.state_ == State::closed && found->direction == Direction::to_upstream &&
      (parsed.tcp()->flags & (Tcp::kSyn | Tcp::kAck)) == Tcp::kSyn) {
    remove(entry);
    return std::nullopt;
  }
  const Change change = follow(entry, found->direction, parsed);
  const timer::Duration idle = entry.state_ == State::opening       ? options_.opening
                               : entry.state_ == State::established ? options_.established
                                                                    : options_.closed;
  wheel_.arm(entry, now + idle);
  rewrite(parsed,
          found->direction == Direction::to_upstream ? entry.upstream_ : entry.client_.reversed());
  return Hit{&entry, found->direction, change};
}

rte_mbuf* Table::make_reset(const Entry& entry, Direction direction, rte_mempool* pool) const {
  const bool to_upstream = direction == Direction::to_upstream;
  // What the receiver expects next is what it acknowledged last, in the other direction.
  const auto& receiver = entry.sides_[to_upstream ? 1 : 0];
  if (!receiver.acked) return nullptr;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
  if (mbuf == nullptr) return nullptr;
  const packet::Tuple tuple = to_upstream ? entry.upstream_ : entry.client_.reversed();
  const bool v4 = tuple.source.address.is_v4();
  const uint16_t l3_length = v4 ? sizeof(packet::Ipv4) : sizeof(packet::Ipv6);
  char* data = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(l3_length + sizeof(Tcp)));
  if (v4) {
    packet::Ipv4 ip{};
    ip.version_ihl = 0x45;
    ip.total_length = packet::be16(sizeof(packet::Ipv4) + sizeof(Tcp));
    ip.fragment = packet::be16(packet::Ipv4::kDontFragment);
    ip.ttl = 64;
    ip.protocol = packet::kProtoTcp;
    ip.source = tuple.source.address.v4_wire();
    ip.destination = tuple.destination.address.v4_wire();
    ip.checksum = packet::ipv4_header_checksum(&ip, sizeof ip);
    std::memcpy(data, &ip, sizeof ip);
  } else {
    packet::Ipv6 ip{};
    ip.version_class_flow = packet::be32(6u << 28);
    ip.payload_length = packet::be16(sizeof(Tcp));
    ip.next_header = packet::kProtoTcp;
    ip.hop_limit = 64;
    std::copy_n(tuple.source.address.bytes().data(), 16, ip.source);
    std::copy_n(tuple.destination.address.bytes().data(), 16, ip.destination);
    std::memcpy(data, &ip, sizeof ip);
  }
  Tcp tcp{};
  tcp.source_port = packet::be16(tuple.source.port);
  tcp.destination_port = packet::be16(tuple.destination.port);
  tcp.sequence = packet::be32(receiver.last_ack);
  tcp.data_offset = 5 << 4;
  tcp.flags = Tcp::kRst;
  tcp.checksum = packet::pseudo_header_sum(tuple.source.address, tuple.destination.address,
                                           packet::kProtoTcp, sizeof tcp)
                     .add(&tcp, sizeof tcp)
                     .checksum();
  std::memcpy(data + l3_length, &tcp, sizeof tcp);
  mbuf->l3_len = l3_length;
  mbuf->l4_len = sizeof tcp;
  return mbuf;
}

}  // namespace isthmus::nat
