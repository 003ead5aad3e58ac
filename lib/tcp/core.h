// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the connections of an engine share: memory, tables, timers, the way out. Internal to the
// room.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "packet/hash_index.h"
#include "packet/headers.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "packet/tuple_hash.h"
#include "stats/reason.h"
#include "tcp/connection.h"
#include "tcp/cookie.h"
#include "tcp/engine.h"
#include "tcp/options.h"
#include "tcp/segment.h"
#include "timer/wheel.h"

namespace isthmus::tcp {

// An ECN-setup SYN's (RFC 3168 section 6.1.1).
inline bool asks_for_ecn(uint8_t flags) {
  constexpr uint8_t kBoth = packet::Tcp::kEce | packet::Tcp::kCwr;
  return (flags & kBoth) == kBoth;
}

// A received segment on its way through the state machine. Trimming moves sequence and length;
// payload holds exactly length bytes, or is empty once taken.
struct Incoming {
  Seq sequence = 0;
  Seq first = 0;  // SEG.SEQ as it came
  Seq acknowledgment = 0;
  uint32_t window = 0;  // as in the header, not scaled
  uint32_t length = 0;  // payload bytes
  uint8_t flags = 0;
  uint8_t ecn = 0;         // of the IP header: kEcnNot, kEcnCapable or kEcnCongestion
  bool truncated = false;  // bytes beyond the window were cut off
  SegmentOptions options;
  packet::Chain payload;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
  Seq end() const;  // behind SYN, payload and FIN
};

// A connection in TIME-WAIT keeps only what answering and reusing need.
struct TimeWait {
  packet::Endpoint local;
  packet::Endpoint remote;
  Seq snd_nxt = 0;
  Seq rcv_nxt = 0;
  uint32_t ts_recent = 0;
  uint32_t ts_offset = 0;
  uint32_t path = 0;
  uint16_t window = 0;
  uint8_t ttl = 0;
  uint8_t dscp = 0;
  bool timestamps = false;
  uint8_t acks_left = 0;
  uint64_t hash = 0;
  timer::Instant expires{};
  uint32_t next = UINT32_MAX;  // by time of expiry
  uint32_t previous = UINT32_MAX;
};

class Core {
 public:
  static constexpr uint32_t kNone = packet::HashIndex::kNone;
  static constexpr uint32_t kTimeWaitBit = 0x80000000;

  Core(const Config& config, const packet::Pools& pools, Output& output,
       stats::ReasonCounters& drops, const Secrets& secrets, timer::Instant now);
  ~Core();

  // engine.cc
  // Memory is asked for the slot of a key, for its connection, for what that points to: each may
  // be read when the one before has come. data: the segment has some. candidate: what
  // fetch_connection() gave.
  void fetch_slot(uint64_t key) const { table_.prefetch(key); }
  uint32_t fetch_connection(uint64_t key, bool data) const;
  void fetch_queues(uint32_t candidate, bool data) const;
  bool input(const packet::Parsed& segment, uint64_t key);
  Connection* accept(const packet::Parsed& syn, Handler* handler, const Options& options,
                     AcceptMode mode);
  Connection* connect(const packet::Endpoint& local, const packet::Endpoint& remote,
                      Handler* handler, const Options& options);
  bool send_reset(const packet::Parsed& segment, uint32_t path);
  // Takes from what may be sent per second; counts the refusal.
  bool reset_allowed();
  // handshake.cc
  bool crowded(const packet::Parsed& opener) const;
  bool crowded(const packet::IpAddress& source) const;
  void count_half_open(const packet::IpAddress& source, int change);
  bool send_cookie(const packet::Parsed& syn, const Options& options, uint8_t tag);
  std::optional<Cookie> cookie_of(const packet::Parsed& segment);

  bool icmp_error(const IcmpError& error);
  Connection* import_connection(std::span<const uint8_t> bytes, Handler* handler);
  void advance();
  void flush();
  timer::Instant next_deadline() const;
  bool consistent() const;

  // Slot in the table, or kNone; with kTimeWaitBit when it is in TIME-WAIT.
  uint32_t lookup(uint64_t hash, const packet::Endpoint& local,
                  const packet::Endpoint& remote) const;
  uint64_t hash(const packet::Endpoint& local, const packet::Endpoint& remote) const {
    return hash_(local, remote);
  }
  Connection& connection(uint32_t index) { return connections_[index]; }
  void attach(Connection& connection);
  void detach(Connection& connection);
  void release(Connection& connection);
  void mark_ready(Connection& connection);
  void transmit(rte_mbuf* packet, uint32_t path);
  void drop(stats::Reason reason) { drops.count(reason); }
  Seq initial_sequence(const packet::Endpoint& local, const packet::Endpoint& remote);
  uint32_t timestamp_offset(const packet::Endpoint& local, const packet::Endpoint& remote) const;
  uint64_t random();
  // Milliseconds, before the connection's offset (RFC 7323 section 5.4).
  uint32_t timestamp() const { return present.whole_milliseconds; }
  void set_now(timer::Instant instant) {
    if (instant == now) return;
    now = instant;
    present = Present(instant);
  }
  // What is queued, as Config::memory_budget counts it.
  uint64_t memory_in_use() const { return queued + gaps.occupied(); }
  bool over_budget() const { return memory_in_use() >= config.memory_budget; }
  // What one connection may queue in each direction at present.
  uint64_t memory_share() const {
    const uint64_t left = over_budget() ? 0 : config.memory_budget - memory_in_use();
    return std::max<uint64_t>(left / 8, config.memory_floor);
  }
  // A send queue that occupies no more leaves room whatever the windows and the others' queues are.
  uint32_t never_too_much() const { return never_too_much_; }
  // Over the budget: out-of-order data goes first, of this connection and then of others.
  void shed_out_of_order(Connection& connection);

  // time_wait.cc
  void enter_time_wait(Connection& connection);
  void remove_time_wait(uint32_t index);
  // False: the segment may open a new connection, the entry is gone.
  bool input_time_wait(uint32_t index, const Incoming& segment);
  void expire_time_waits();

  const Config config;
  const packet::Pools pools;
  Output& output;
  stats::ReasonCounters& drops;
  const Secrets secrets;
  timer::Instant now;
  Present present;  // now, too
  EngineStats stats;
  timer::Wheel wheel;
  RecordPool records;
  GapPool gaps;
  SidePool<Flight> flights;
  SidePool<Disorder> disorders;
  uint64_t queued = 0;  // memory of what lies in all queues
  uint32_t living = 0;
  uint32_t waiting = 0;  // in TIME-WAIT
  uint16_t next_id = 0;
  uint8_t receive_scale = 0;

 private:
  static constexpr uint32_t kSources = 4096;
  uint32_t source_bucket(const packet::IpAddress& source) const;
  Connection* take(const packet::Endpoint& local, const packet::Endpoint& remote);
  void retime_time_wait(uint32_t index);
  void acknowledge_time_wait(TimeWait& entry);

  const packet::TupleHash hash_;
  const packet::TupleHash timestamp_hash_;
  const uint32_t never_too_much_;
  packet::HashIndex table_;
  std::unique_ptr<Connection[]> connections_;
  std::unique_ptr<TimeWait[]> time_waits_;
  uint32_t free_connection_ = kNone;
  uint32_t free_time_wait_ = kNone;
  uint32_t first_time_wait_ = kNone;
  uint32_t last_time_wait_ = kNone;
  uint32_t first_ready_ = kNone;
  uint32_t last_ready_ = kNone;
  CookieMaker cookies_;
  std::unique_ptr<uint16_t[]> half_open_by_source_;
  uint32_t half_open_ = 0;
  uint64_t random_count_ = 0;
  uint32_t resets_left_ = 0;
  timer::Instant resets_since_{};
  // The tuple that a SYN has just freed from TIME-WAIT, and the least ISN for its successor.
  uint64_t reused_hash_ = 0;
  Seq reused_above_ = 0;
};

// Whether each is one host's, as far as an address alone can tell (RFC 9293 section 3.9.2.3). A
// subnet's broadcast address is known by the link only, whose frames to all bring no segment here.
bool connectable(const packet::Endpoint& local, const packet::Endpoint& remote);
// The MSS to advertise on a path.
inline uint16_t mss_for(const packet::Endpoint& local, uint16_t mtu) {
  const int headers = local.address.is_v4() ? 40 : 60;
  return static_cast<uint16_t>(std::max<int>(mtu, 576) - headers);
}
// What a peer that says nothing can take (RFC 9293 section 3.7.1, MUST-15).
inline uint16_t default_mss(const packet::Endpoint& local) {
  return local.address.is_v4() ? 536 : 1220;
}
// Reads the TCP header of a parsed packet, or its options alone. False when these lie.
bool read_segment(const packet::Parsed& parsed, Incoming& out);
bool read_options(const packet::Parsed& parsed, SegmentOptions& out);

}  // namespace isthmus::tcp
