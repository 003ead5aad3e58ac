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

bool is_bare_syn(const Parsed& packet) {
  return (packet.tcp()->flags & (Tcp::kSyn | Tcp::kAck | Tcp::kRst)) == Tcp::kSyn;
}

Side other(Side side) {
  return side == Side::client ? Side::upstream : Side::client;
}

// Payload that may be under way to a receiver and was lost before it came here.
constexpr uint32_t kUnseen = 1u << 20;
// RFC 5961 section 7; as often as Linux answers for one connection.
constexpr timer::Duration kChallengeGap = std::chrono::milliseconds(500);

// A RST that its receiver may believe: between what the receiver has acknowledged and what the
// sender has sent (RFC 5961 section 3.2), or the refusal of the client's SYN.
bool plausible_reset(const Entry& entry, Side from, const Tcp& tcp) {
  const Entry::Half& sender = entry.half(from);
  const Entry::Half& receiver = entry.half(other(from));
  if (sender.packets == 0) {
    const uint32_t acknowledged = tcp.acknowledgment.get();
    return receiver.packets != 0 && (tcp.flags & Tcp::kAck) != 0 &&
           is_after(acknowledged, receiver.initial) &&
           !is_after(acknowledged, receiver.next_sequence);
  }
  const uint32_t sequence = tcp.sequence.get();
  const uint32_t low = receiver.acknowledges ? receiver.acknowledged : sender.next_sequence;
  return !is_after(low, sequence) && !is_after(sequence, sender.next_sequence);
}

bool plausible_fin(const Entry& entry, Side from, uint32_t end) {
  const Entry::Half& sender = entry.half(from);
  const Entry::Half& receiver = entry.half(other(from));
  if (receiver.acknowledges && is_after(receiver.acknowledged, end)) return false;
  return !is_after(end, sender.next_sequence + kUnseen);
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
    : config_(config),
      wheel_(now, config.capacity),
      hash_(config.key),
      index_(config.capacity * 2),
      places_(std::make_unique_for_overwrite<Place[]>(config.capacity)) {
  free_.reserve(config.capacity);
}

Table::~Table() {
  for (uint32_t i = 0; i < touched_; ++i) {
    wheel_.cancel(entry(i));
    entry(i).~Entry();
  }
}

Found Table::find(const Tuple& received) const {
  const auto side_of = [](uint32_t number) { return static_cast<Side>(number % 2); };
  const uint32_t number = index_.find(hash_(received), [&](uint32_t candidate) {
    return received_from(entry(candidate / 2), side_of(candidate)) == received;
  });
  if (number == HashIndex::kNone) return {};
  return {&entry(number / 2), side_of(number)};
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

stats::Refusal Table::create(const Tuple& client, const packet::IpAddress& source,
                             const packet::Endpoint& destination, const PortChoice& port,
                             uint64_t cookie, timer::Instant now, Entry*& out) {
  out = nullptr;
  if (used_ == config_.capacity) return Reason::nat_table_full;
  if (find(client)) return Reason::nat_no_port;
  const auto upstream = choose(client, source, destination, port);
  // A leg whose replies would look like the client's own packets cannot be told apart.
  if (!upstream || upstream->reversed() == client) return Reason::nat_no_port;
  uint32_t number = touched_;
  if (free_.empty()) {
    new (places_[touched_++].bytes) Entry;
  } else {
    number = free_.back();
    free_.pop_back();
  }
  ++used_;
  Entry& entry = this->entry(number);
  entry.client = client;
  entry.upstream = *upstream;
  entry.cookie = cookie;
  entry.state = State::opening;
  entry.challenged = {};
  entry.halves[0] = entry.halves[1] = Entry::Half();
  entry.in_use = true;
  index_.insert(hash_(client), number * 2);
  index_.insert(hash_(upstream->reversed()), number * 2 + 1);
  wheel_.arm(entry, now + config_.transitory);
  out = &entry;
  return std::nullopt;
}

void Table::remove(Entry& entry) {
  const auto number = static_cast<uint32_t>(reinterpret_cast<const Place*>(&entry) - places_.get());
  wheel_.cancel(entry);
  index_.erase(hash_(entry.client), number * 2);
  index_.erase(hash_(entry.upstream.reversed()), number * 2 + 1);
  entry.in_use = false;
  free_.push_back(number);
  --used_;
}

bool Table::reopens(const Found& found, const Parsed& packet) {
  if (found.from != Side::client || !is_bare_syn(packet)) return false;
  const Entry& entry = *found.entry;
  if (entry.state == State::closing || entry.state == State::denied) return true;
  const Entry::Half& client = entry.half(Side::client);
  return entry.half(Side::upstream).packets == 0 && client.packets != 0 &&
         packet.tcp()->sequence.get() != client.initial;
}

// A SYN that cannot belong to the connection. Were it passed on, an upstream that has forgotten the
// old connection would accept a new one under the old one's verdict. While the connection opens, a
// client repeats its SYN, and both sides may send one (RFC 5382 REQ-2).
bool Table::unexpected_syn(const Found& found, const Parsed& packet) {
  if (!is_bare_syn(packet)) return false;
  const Entry& entry = *found.entry;
  const Entry::Half& half = entry.half(found.from);
  if (entry.state != State::opening) return true;
  return half.packets != 0 && packet.tcp()->sequence.get() != half.initial;
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
// and segments are left to their receiver's judgement. But what ends a connection has to be
// plausible, or whoever knows its addresses and ports could end it here.
void Table::follow(Entry& entry, Side from, const Parsed& packet) {
  const Tcp& tcp = *packet.tcp();
  Entry::Half& half = entry.half(from);
  const bool reset = (tcp.flags & Tcp::kRst) != 0;
  if (reset && !plausible_reset(entry, from, tcp)) return;
  const uint32_t next = tcp.sequence.get() + segment_length(packet);
  const bool fin = (tcp.flags & Tcp::kFin) != 0 && plausible_fin(entry, from, next);
  if (half.packets == 0) half.initial = tcp.sequence.get();
  if (half.packets == 0 || is_after(next, half.next_sequence)) half.next_sequence = next;
  if ((tcp.flags & Tcp::kAck) != 0) {
    half.acknowledged = tcp.acknowledgment.get();
    half.acknowledges = true;
  }
  if (fin) half.fin = true;
  ++half.packets;
  half.bytes += packet.mbuf->pkt_len;

  if (entry.state == State::opening && from == Side::client && half.acknowledges &&
      entry.half(Side::upstream).acknowledges) {
    entry.state = State::established;
  }
  if (reset || (half.fin && entry.half(other(from)).fin)) {
    entry.state = State::closing;
  }
}

stats::Refusal Table::translate(const Found& found, Parsed& packet, timer::Instant now) {
  assert(packet.protocol == packet::kProtoTcp && !packet.is_fragment);
  Entry& entry = *found.entry;
  if (entry.state == State::denied) return Reason::nat_denied;
  if (unexpected_syn(found, packet)) return Reason::nat_unexpected_syn;
  if (!ip::decrement_ttl(packet)) return Reason::nat_ttl_exceeded;
  follow(entry, found.from, packet);
  rewrite(packet, sent_on(entry, found.from));
  wheel_.arm(entry, now + timeout(entry.state));
  return std::nullopt;
}

stats::Refusal Table::translate_error(const Found& found, Parsed& packet) {
  if (packet.ttl <= 1) return Reason::nat_ttl_exceeded;
  // The quoted packet was sent towards the side that the error comes from; it came to the gateway
  // from the other one.
  const Tuple quoted = received_from(*found.entry, other(found.from));
  if (auto bad = rewrite_error(packet, quoted)) return bad;
  ip::decrement_ttl(packet);
  return std::nullopt;
}

rte_mbuf* Table::make_challenge(const Found& found, rte_mempool* pool, timer::Instant now) {
  Entry& entry = *found.entry;
  const Entry::Half& client = entry.half(Side::client);
  const Entry::Half& upstream = entry.half(Side::upstream);
  if (found.from != Side::client || upstream.packets == 0) return nullptr;
  if (entry.challenged != timer::Instant() && now - entry.challenged < kChallengeGap)
    return nullptr;
  entry.challenged = now;
  return make_segment(entry.client.reversed(), Tcp::kAck,
                      client.acknowledges ? client.acknowledged : upstream.next_sequence,
                      upstream.acknowledges ? upstream.acknowledged : client.next_sequence, pool);
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
