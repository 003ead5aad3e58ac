// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Plaintext flows whose both legs are plain TCP are not terminated but translated, packet by packet
// (docs/architecture.md, "Plaintext stays packets"): addresses and ports change, sequence numbers
// do not. The table belongs to one worker and holds TCP only, since UDP bypasses the gateway.
//
// An entry joins two legs, each named by the tuple of its packets in the client's direction:
//   client leg     client -> what the client called       (received from the client)
//   upstream leg   client or its stand-in -> upstream      (sent to the upstream)
// and it is found by what arrives: the client leg's tuple, or the upstream leg's reversed.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include <rte_mbuf.h>

#include "packet/hash_index.h"
#include "packet/owner.h"
#include "packet/parse.h"
#include "packet/tuple_hash.h"
#include "stats/reason.h"
#include "timer/wheel.h"

namespace isthmus::nat {

// Where a packet comes from.
enum class Side : uint8_t { client, upstream };

// RFC 5382 section 5: what the translator knows of a connection.
enum class State : uint8_t {
  opening,      // a SYN has passed, the handshake is not complete
  established,  // SYNs of both sides and the client's ACK
  closing,      // FINs of both sides, or a RST; neither where its sequence number cannot be
  denied,       // reset by a policy change: every further segment is answered with RST
};

struct Config {
  uint32_t capacity = 65536;  // entries
  packet::SipKey key;
  // RFC 5382 REQ-5: at least 2 hours 4 minutes established, 4 minutes otherwise.
  timer::Duration established = std::chrono::minutes(124);
  timer::Duration transitory = std::chrono::minutes(4);
  // After FINs of both sides, or a RST: only for what is still on the way. RFC 5382 asks for 4
  // minutes here too, in which a few hundred short connections a second would fill the table.
  timer::Duration closing = std::chrono::seconds(15);
  timer::Duration denied = std::chrono::minutes(1);
};

struct Entry : timer::Wheel::Entry {
  struct Half {  // what one side has sent
    uint64_t packets = 0;
    uint64_t bytes = 0;          // of IP packets
    uint32_t initial = 0;        // sequence number of the first segment: of the SYN
    uint32_t next_sequence = 0;  // behind the highest byte seen
    uint32_t acknowledged = 0;   // the last acknowledgment: where the other side's data is expected
    bool acknowledges = false;   // an ACK has been seen
    bool fin = false;
  };

  packet::Tuple client;
  packet::Tuple upstream;
  uint64_t cookie = 0;  // the creator's, a flow id
  State state = State::opening;
  timer::Instant challenged{};  // the last time that make_challenge() gave something
  Half halves[2];               // by Side
  bool in_use = false;

  const Half& half(Side side) const { return halves[static_cast<unsigned>(side)]; }
  Half& half(Side side) { return halves[static_cast<unsigned>(side)]; }
};

struct Found {
  Entry* entry = nullptr;  // null: none
  Side from = Side::client;

  explicit operator bool() const { return entry != nullptr; }
};

// Knows which upstream tuples are taken by somebody else than the table: the worker's own TCP
// connections, which draw their ports from the same range.
class PortsInUse {
 public:
  virtual bool in_use(const packet::Tuple& upstream) const = 0;

 protected:
  ~PortsInUse() = default;
};

// How the upstream leg gets its source port.
struct PortChoice {
  bool keep = false;  // pod ports: the client's own; the rest counts for node ports only
  const packet::IndirectionTable* owners = nullptr;  // replies must come home to `worker`
  uint8_t worker = 0;
  packet::PortRange range;
  uint32_t start = 0;  // random, so that ports are not guessed
  const PortsInUse* others = nullptr;
};

class Table {
 public:
  Table(const Config& config, timer::Instant now);
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // Adds an entry for a flow from client.source that called client.destination and goes to
  // `destination`, seen there as `source`. Refused with nat_table_full or nat_no_port. The pointer
  // is valid until the entry is removed or expires.
  stats::Refusal create(const packet::Tuple& client, const packet::IpAddress& source,
                        const packet::Endpoint& destination, const PortChoice& port,
                        uint64_t cookie, timer::Instant now, Entry*& out);

  // The entry that a packet with this tuple belongs to.
  Found find(const packet::Tuple& received) const;

  // A SYN of the client for a connection that has ended, or that it has given up while nobody had
  // answered: to be classified as a new flow, after remove() of the old entry.
  static bool reopens(const Found& found, const packet::Parsed& packet);

  // Rewrites a TCP packet (not a fragment, its headers exclusively ours) for the other leg, takes
  // one off its TTL, follows the connection's state and counts. On a reason the packet is
  // unchanged: nat_ttl_exceeded, nat_denied (answer it by make_reset_reply()), or
  // nat_unexpected_syn (by make_challenge()).
  stats::Refusal translate(const Found& found, packet::Parsed& packet, timer::Instant now);

  // Rewrites an ICMP error about a packet that the gateway sent on one of the legs (`found` is
  // find(embedded tuple reversed)): the quoted headers and the outer addresses (RFC 5508 section
  // 4.2). On a reason the packet is unchanged.
  stats::Refusal translate_error(const Found& found, packet::Parsed& packet);

  // What answers a SYN of the client for a connection that seems to live (RFC 5961 section 4.2):
  // an ACK, to which a client that has forgotten the connection says RST with the right number.
  // That closes the entry, and the next SYN is classified anew; a forged SYN achieves nothing. At
  // most two a second; null otherwise, and where the pool is empty.
  rte_mbuf* make_challenge(const Found& found, rte_mempool* pool, timer::Instant now);

  // Ends a connection: RSTs for both sides, null where the pool is empty or nothing can be said
  // yet. The entry stays a while as `denied`.
  struct Resets {
    rte_mbuf* to_client = nullptr;
    rte_mbuf* to_upstream = nullptr;
  };
  Resets reset(Entry& entry, rte_mempool* pool, timer::Instant now);

  void remove(Entry& entry);

  // Removes idle entries, at most max of them; each is shown to gone(const Entry&) first.
  template <typename Gone>
  void advance(timer::Instant now, unsigned max, Gone&& gone) {
    wheel_.advance(now, max, [&](timer::Wheel::Entry& e) {
      auto& entry = static_cast<Entry&>(e);
      gone(static_cast<const Entry&>(entry));
      remove(entry);
    });
  }
  timer::Instant next_deadline() const { return wheel_.next_deadline(); }

  size_t size() const { return used_; }
  size_t capacity() const { return config_.capacity; }
  // Calls visit(Entry&) for each entry; visit may reset but not remove.
  template <typename Visit>
  void for_each(Visit&& visit) {
    uint32_t next = 0;
    for_range(next, touched_, visit);
  }
  // Of the next `limit` places that were ever taken, likewise; moves `next`. Returns how many
  // places it looked at: 0 at the end.
  template <typename Visit>
  uint32_t for_range(uint32_t& next, uint32_t limit, Visit&& visit) {
    const uint32_t first = next;
    for (; next < touched_ && next - first < limit; ++next) {
      if (entry(next).in_use) visit(entry(next));
    }
    return next - first;
  }

 private:
  std::optional<packet::Tuple> choose(const packet::Tuple& client, const packet::IpAddress& source,
                                      const packet::Endpoint& destination,
                                      const PortChoice& port) const;
  static bool unexpected_syn(const Found& found, const packet::Parsed& packet);
  void follow(Entry& entry, Side from, const packet::Parsed& packet);
  timer::Duration timeout(State state) const;

  struct Place {
    alignas(Entry) char bytes[sizeof(Entry)];
  };
  Entry& entry(uint32_t number) const {
    return *std::launder(reinterpret_cast<Entry*>(places_[number].bytes));
  }

  const Config config_;
  timer::Wheel wheel_;
  const packet::TupleHash hash_;
  packet::HashIndex index_;  // of entry number * 2 + side
  // Memory is touched when it is needed first: an idle table costs none.
  std::unique_ptr<Place[]> places_;
  uint32_t touched_ = 0;  // places that hold an Entry, used or not
  uint32_t used_ = 0;
  std::vector<uint32_t> free_;  // of those
};

// The RST that answers a segment which belongs to nothing (RFC 9293 section 3.10.7.1), or null: a
// RST is not answered, and the pool may be empty. An L3 packet, checksums complete.
rte_mbuf* make_reset_reply(const packet::Parsed& segment, rte_mempool* pool);

}  // namespace isthmus::nat
