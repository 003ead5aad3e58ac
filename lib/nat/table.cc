// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "nat/table.h"

#include <cassert>

#include "ip/icmp.h"
#include "nat/rewrite.h"

namespace isthmus::nat {
namespace {

using packet::HashIndex;
using packet::Parsed;
using packet::Tcp;
using packet::Tuple;
using stats::Reason;

// Ports that are tried before a leg is refused: with this many taken in a row the range is full.
constexpr unsigned kPortAttempts = 256;

// Sequence space that a segment takes (RFC 9293 section 3.4).
uint32_t segment_length(const Parsed& packet) {
  const uint8_t flags = packet.tcp()->flags;
  return packet.payload_length + ((flags & Tcp::kSyn) != 0 ? 1 : 0) +
         ((flags & Tcp::kFin) != 0 ? 1 : 0);
}

bool is_after(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) > 0;
}

Side other(Side side) {
  return side == Side::client ? Side::upstream : Side::client;
}

// What packets from one side look like when they arrive, and when they leave again.
Tuple received_from(const Entry& entry, Side side) {
  return side == Side::client ? entry.client : entry.upstream.reversed();
}
Tuple sent_on(const Entry& entry, Side from) {
  return from == Side::client ? entry.upstream : entry.client.reversed();
}

}  // namespace

Table::Table(const Config& config, timer::Instant now)
    : config_(config), wheel_(now), index_(config.capacity * 2), entries_(config.capacity) {
  free_.reserve(config.capacity);
  for (uint32_t i = config.capacity; i != 0; --i) free_.push_back(i - 1);
}

Table::~Table() {
  for (Entry& entry : entries_) wheel_.cancel(entry);
}

Found Table::find(const Tuple& received) const {
  const auto side_of = [](uint32_t number) { return static_cast<Side>(number % 2); };
  const uint32_t number =
      index_.find(packet::siphash(config_.key, received), [&](uint32_t candidate) {
        return received_from(entries_[candidate / 2], side_of(candidate)) == received;
      });
  if (number == HashIndex::kNone) return {};
  return {const_cast<Entry*>(&entries_[number / 2]), side_of(number)};
}

std::optional<Tuple> Table::choose(const Tuple& client, const packet::IpAddress& source,
                                   const packet::Endpoint& destination,
                                   const PortChoice& port) const {
  const auto is_free = [&](const Tuple& leg) {
    return !find(leg.reversed()) && (port.others == nullptr || !port.others->in_use(leg));
  };
  if (port.keep) {
    const Tuple leg{{source, client.source.port}, destination};
    return is_free(leg) ? std::optional(leg) : std::nullopt;
  }
  uint32_t start = port.start;
  for (unsigned attempt = 0; attempt < kPortAttempts; ++attempt) {
    const auto chosen =
        packet::choose_port(source, destination, *port.owners, port.worker, port.range, start);
    if (!chosen) return std::nullopt;
    const Tuple leg{{source, *chosen}, destination};
    // The client's own port is what the host's connection tracking would mistake for the captured
    // connection, so it is never the fresh one.
    if (*chosen != client.source.port && is_free(leg)) return leg;
    start = *chosen - port.range.low + 1u;
  }
  return std::nullopt;
}

std::optional<Reason> Table::create(const Tuple& client, const packet::IpAddress& source,
                                    const packet::Endpoint& destination, const PortChoice& port,
                                    uint64_t cookie, timer::Instant now, Entry*& out) {
  out = nullptr;
  if (free_.empty()) return Reason::nat_table_full;
  if (find(client)) return Reason::nat_no_port;
  const auto upstream = choose(client, source, destination, port);
  // A leg whose replies would look like the client's own packets cannot be told apart.
  if (!upstream || upstream->reversed() == client) return Reason::nat_no_port;
  const uint32_t number = free_.back();
  free_.pop_back();
  Entry& entry = entries_[number];
  entry.client = client;
  entry.upstream = *upstream;
  entry.cookie = cookie;
  entry.state = State::opening;
  entry.halves[0] = entry.halves[1] = Entry::Half();
  entry.in_use = true;
  index_.insert(packet::siphash(config_.key, client), number * 2);
  index_.insert(packet::siphash(config_.key, upstream->reversed()), number * 2 + 1);
  wheel_.arm(entry, now + config_.transitory);
  out = &entry;
  return std::nullopt;
}

void Table::remove(Entry& entry) {
  const auto number = static_cast<uint32_t>(&entry - entries_.data());
  wheel_.cancel(entry);
  index_.erase(packet::siphash(config_.key, entry.client), number * 2);
  index_.erase(packet::siphash(config_.key, entry.upstream.reversed()), number * 2 + 1);
  entry.in_use = false;
  free_.push_back(number);
}

bool Table::reopens(const Found& found, const Parsed& packet) {
  constexpr uint8_t kOpening = Tcp::kSyn | Tcp::kAck | Tcp::kRst;
  return found.from == Side::client &&
         (found.entry->state == State::closing || found.entry->state == State::denied) &&
         (packet.tcp()->flags & kOpening) == Tcp::kSyn;
}

timer::Duration Table::timeout(State state) const {
  switch (state) {
    case State::established:
      return config_.established;
    case State::denied:
      return config_.denied;
    case State::closing:
      return config_.closing;
    case State::opening:
      break;
  }
  return config_.transitory;
}

// Follows the connection loosely, as RFC 5382 and RFC 7857 want it: the state chooses a timeout,
// and no segment is judged.
void Table::follow(Entry& entry, Side from, const Parsed& packet) {
  const Tcp& tcp = *packet.tcp();
  Entry::Half& half = entry.half(from);
  const uint32_t next = tcp.sequence.get() + segment_length(packet);
  if (half.packets == 0 || is_after(next, half.next_sequence)) half.next_sequence = next;
  if ((tcp.flags & Tcp::kAck) != 0) {
    half.acknowledged = tcp.acknowledgment.get();
    half.acknowledges = true;
  }
  if ((tcp.flags & Tcp::kFin) != 0) half.fin = true;
  ++half.packets;
  half.bytes += packet.mbuf->pkt_len;

  if (entry.state == State::opening && from == Side::client && half.acknowledges &&
      entry.half(Side::upstream).acknowledges) {
    entry.state = State::established;
  }
  if ((tcp.flags & Tcp::kRst) != 0 || (half.fin && entry.half(other(from)).fin)) {
    entry.state = State::closing;
  }
}

std::optional<Reason> Table::translate(const Found& found, Parsed& packet, timer::Instant now) {
  assert(packet.protocol == packet::kProtoTcp && !packet.is_fragment);
  Entry& entry = *found.entry;
  if (entry.state == State::denied) return Reason::nat_denied;
  if (!ip::decrement_ttl(packet)) return Reason::nat_ttl_exceeded;
  follow(entry, found.from, packet);
  rewrite(packet, sent_on(entry, found.from));
  wheel_.arm(entry, now + timeout(entry.state));
  return std::nullopt;
}

std::optional<Reason> Table::translate_error(const Found& found, Parsed& packet) {
  if (packet.ttl <= 1) return Reason::nat_ttl_exceeded;
  // The quoted packet was sent towards the side that the error comes from; it came to the gateway
  // from the other one.
  const Tuple quoted = received_from(*found.entry, other(found.from));
  if (auto bad = rewrite_error(packet, quoted)) return bad;
  ip::decrement_ttl(packet);
  return std::nullopt;
}

Table::Resets Table::reset(Entry& entry, rte_mempool* pool, timer::Instant now) {
  // A RST counts only with exactly the sequence number that its receiver expects next (RFC 5961):
  // what it acknowledged last. Data in flight may have moved that on; then the receiver answers
  // with a challenge ACK, and make_reset_reply() has the right number.
  const auto make = [&](Side to, const Tuple& leg) -> rte_mbuf* {
    const Entry::Half& receiver = entry.half(to);
    const Entry::Half& sender = entry.half(other(to));
    if (receiver.acknowledges) {
      return make_segment(leg, Tcp::kRst | Tcp::kAck, receiver.acknowledged, receiver.next_sequence,
                          pool);
    }
    if (receiver.packets != 0) {  // its SYN is refused (RFC 9293 section 3.10.7.3)
      return make_segment(leg, Tcp::kRst | Tcp::kAck, 0, receiver.next_sequence, pool);
    }
    if (sender.packets == 0) return nullptr;
    return make_segment(leg, Tcp::kRst, sender.next_sequence, 0, pool);
  };
  Resets resets;
  if (entry.state != State::closing) {
    resets.to_client = make(Side::client, entry.client.reversed());
    resets.to_upstream = make(Side::upstream, entry.upstream);
  }
  entry.state = State::denied;
  wheel_.arm(entry, now + config_.denied);
  return resets;
}

rte_mbuf* make_reset_reply(const Parsed& segment, rte_mempool* pool) {
  const Tcp& tcp = *segment.tcp();
  if ((tcp.flags & Tcp::kRst) != 0) return nullptr;
  const Tuple back = segment.tuple.reversed();
  if ((tcp.flags & Tcp::kAck) != 0) {
    return make_segment(back, Tcp::kRst, tcp.acknowledgment.get(), 0, pool);
  }
  return make_segment(back, Tcp::kRst | Tcp::kAck, 0, tcp.sequence.get() + segment_length(segment),
                      pool);
}

}  // namespace isthmus::nat
