// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Plaintext TCP flows of one worker that pass through packet by packet: addresses and ports are
// rewritten, sequence numbers untouched. The source address stays the client's (the upstream sees
// who it is); the source port is fresh where the caller says so; the destination may be another.
// All memory is taken at construction; a full table refuses.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "packet/address.h"
#include "packet/parse.h"
#include "packet/siphash.h"
#include "timer/time.h"
#include "timer/wheel.h"

struct rte_mempool;

namespace isthmus::nat {

struct Options {
  uint32_t capacity = 65536;  // flows
  // RFC 5382 REQ-5 asks for 4 minutes at least while a connection opens or closes, and 2 hours 4
  // minutes once it is open. A closed connection needs its entry only for what is still on the way.
  timer::Duration opening = std::chrono::minutes(4);
  timer::Duration established = std::chrono::minutes(124);
  timer::Duration closed = std::chrono::seconds(10);
};

enum class Direction : uint8_t { to_upstream = 0, to_client = 1 };

// What the packet that was just translated changed in its flow.
enum class Change : uint8_t {
  none,
  answered,    // the upstream's SYN-ACK
  refused,     // a RST before that
  first_byte,  // the first payload towards the client
  closed,      // FIN both ways, or a RST
};

enum class State : uint8_t { opening, established, closed };

class Entry : public timer::Wheel::Entry {
 public:
  const packet::Tuple& client() const { return client_; }      // as the client sends
  const packet::Tuple& upstream() const { return upstream_; }  // as it leaves to the upstream
  uint64_t cookie() const { return cookie_; }                  // the caller's
  State state() const { return state_; }
  uint64_t bytes(Direction direction) const { return sides_[index(direction)].bytes; }
  uint64_t packets(Direction direction) const { return sides_[index(direction)].packets; }

 private:
  friend class Table;
  static constexpr unsigned index(Direction direction) { return static_cast<unsigned>(direction); }

  // One direction's traffic; side 0 is sent by the client.
  struct Side {
    uint64_t bytes = 0;  // payload, retransmissions included
    uint64_t packets = 0;
    uint32_t last_ack = 0;  // what the sender of this direction expects next
    bool acked = false;     // last_ack is known
    bool fin = false;
    uint32_t next = UINT32_MAX;  // hash chain of this direction's tuple
  };

  packet::Tuple client_;
  packet::Tuple upstream_;
  uint64_t cookie_ = 0;
  Side sides_[2];
  State state_ = State::opening;
  bool in_use_ = false;
};

struct Hit {
  Entry* entry;
  Direction direction;
  Change change;
};

class Table {
 public:
  Table(const Options& options, const packet::SipKey& key, timer::Instant now);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // Null when the table is full or a tuple is taken. upstream.source.port is what ports() chose.
  Entry* add(const packet::Tuple& client, const packet::Tuple& upstream, uint64_t cookie,
             timer::Instant now);
  // Whether packets of this tuple would be translated.
  bool in_use(const packet::Tuple& tuple) const { return find(tuple).has_value(); }
  struct Found {
    Entry* entry;
    Direction direction;
  };
  std::optional<Found> find(const packet::Tuple& tuple) const;

  // A TCP packet of a known flow: rewrites its addresses, ports and checksums in place, counts its
  // TTL down, and follows the connection's state. Empty: the flow is not known, the packet is as it
  // was. The caller has made sure that the TTL is above one.
  std::optional<Hit> translate(packet::Parsed& packet, timer::Instant now);

  // Forgets a flow; nothing is sent.
  void remove(Entry& entry);
  // A RST that the receiver of this direction accepts (RFC 5961: exactly what it expects next).
  // Null when the pool is empty or that side has not acknowledged anything yet.
  rte_mbuf* make_reset(const Entry& entry, Direction direction, rte_mempool* pool) const;

  // Flows that have been idle for too long are shown to expired(Entry&) and removed. Bounded.
  template <typename Expired>
  void advance(timer::Instant now, Expired&& expired) {
    constexpr unsigned kPerTurn = 64;
    wheel_.advance(now, kPerTurn, [&](timer::Wheel::Entry& timer) {
      auto& entry = static_cast<Entry&>(timer);
      expired(entry);
      remove(entry);
    });
  }
  timer::Instant next_deadline() const { return wheel_.next_deadline(); }

  template <typename Visitor>
  void for_each(Visitor&& visit) {
    for (uint32_t i = 0; i < options_.capacity; ++i) {
      if (entries_[i].in_use_) visit(entries_[i]);
    }
  }
  uint32_t size() const { return size_; }

 private:
  uint32_t bucket(const packet::Tuple& tuple) const;
  // Of the direction's packets as they arrive.
  static packet::Tuple key(const Entry& entry, unsigned side) {
    return side == 0 ? entry.client_ : entry.upstream_.reversed();
  }
  void link(uint32_t node, const packet::Tuple& tuple);
  void unlink(uint32_t node, const packet::Tuple& tuple);
  Entry::Side& side(uint32_t node) const { return entries_[node / 2].sides_[node % 2]; }
  Change follow(Entry& entry, Direction direction, const packet::Parsed& packet);

  const Options options_;
  const packet::SipKey key_;
  const uint32_t mask_;
  uint32_t size_ = 0;
  timer::Wheel wheel_;
  // A node is an entry and a side: entry * 2 + side.
  std::unique_ptr<uint32_t[]> buckets_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<uint32_t[]> free_;  // a stack of capacity - size_ indices
};

}  // namespace isthmus::nat
