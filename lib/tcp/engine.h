// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The TCP engine of one worker (RFC 9293): its connections, its table, its timers. Sans-IO: it
// takes parsed packets and the time, gives packets to an Output and events to each connection's
// Handler.
//
// A worker drives it so:  input() for each packet of a burst, advance() for the timers, flush() to
// tell the handlers and to send what there is (one ACK per burst, RFC 9293 MUST-58, MUST-59).
// Handlers are called from flush() only; they may call any method of any connection of the engine.
// Everything is allocated by the constructor; a full table refuses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "packet/address.h"
#include "packet/chain.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "packet/siphash.h"
#include "stats/reason.h"
#include "tcp/connection.h"
#include "tcp/types.h"
#include "timer/time.h"

namespace isthmus::tcp {

// Where packets go. A packet is an L3 mbuf list with l3_len, l4_len and transmit offload flags set
// (the L3 contract of docs/architecture.md); a packet longer than the path's MTU carries
// RTE_MBUF_F_TX_TCP_SEG and tso_segsz. Its first segment has at least 64 bytes of headroom and is
// the engine's alone; payload may be shared with the send queue and must not be written.
class Output {
 public:
  // Takes ownership of the packet. path is what the connection was opened with.
  virtual void transmit(rte_mbuf* packet, uint32_t path) = 0;

 protected:
  ~Output() = default;
};

// Sizes and policy of an engine. Buffers are in payload bytes.
struct Config {
  uint32_t max_connections = 16'384;
  uint32_t max_time_wait = 32'768;      // the oldest is recycled
  uint32_t max_sent_records = 131'072;  // transmissions in flight, all connections
  uint32_t max_gaps = 32'768;           // out-of-order runs held, all connections
  uint16_t max_gaps_per_connection = 256;
  // Passive handshakes without their last ACK (held ones not counted): in all, and from one source
  // address (hashed: some share a place). Beyond that accept() refuses, and send_cookie() is what
  // to do.
  uint32_t max_half_open = 1'024;
  uint16_t max_half_open_per_source = 128;
  uint32_t receive_buffer = 256 << 10;  // start; grows to the maximum with the transfer
  uint32_t max_receive_buffer = 4 << 20;
  uint32_t send_buffer = 256 << 10;
  uint32_t max_send_buffer = 4 << 20;
  uint32_t short_queue = 256 << 10;  // most at once, of a connection with that option
  // Memory that the buffers in all connections' queues may take. A connection's window, and what
  // its send queue takes, are at most an eighth of what is left, so that a few may have much and
  // many share what there is; over the budget nothing more is received but by who holds less than
  // the floor, and out-of-order data is dropped (RFC 2018 section 8 allows it).
  uint64_t memory_budget = 256 << 20;
  uint32_t memory_floor = 16 << 10;  // what each connection may hold whatever the others do
  timer::Duration time_wait = std::chrono::seconds(10);  // 2 MSL (MUST-13, see docs/tcp.md)
  timer::Duration initial_rto = std::chrono::seconds(1);
  timer::Duration min_rto = std::chrono::milliseconds(200);
  timer::Duration max_rto = std::chrono::seconds(60);
  timer::Duration delayed_ack = std::chrono::milliseconds(20);
  // Paths whose shortest round trip is at least so long have windows spread over it (tcp/pacing.h);
  // more than zero. Shorter ones have passed before a timer could tell.
  timer::Duration paced_rtt = std::chrono::milliseconds(2);
  uint32_t resets_per_second = 1'000;  // answers to segments without a connection
};

// Keys of the hashes that a peer must not predict, from the system's random source; fixed in tests.
struct Secrets {
  packet::SipKey table;
  packet::SipKey sequence;   // RFC 6528
  packet::SipKey timestamp;  // RFC 7323 section 5.4
  packet::SipKey random;     // jitter of limits
  packet::SipKey cookie;     // seed of the secrets of SYN cookies
};

enum class AcceptMode : uint8_t {
  now,   // the SYN-ACK leaves with the next flush()
  held,  // late accept: not before Connection::complete_accept()
};

// An ICMP error whose embedded packet is a TCP segment that this engine may have sent.
struct IcmpError {
  packet::Tuple tuple;  // of the embedded segment: its source is our local endpoint
  uint8_t type = 0;     // ICMPv4 or ICMPv6, as the tuple's family says
  uint8_t code = 0;
  uint32_t mtu = 0;       // of fragmentation needed or packet too big, otherwise ignored
  uint32_t sequence = 0;  // of the embedded TCP header (RFC 5927 section 4)
};

// Counters of one engine; written by its worker, read by others with relaxed loads.
struct EngineStats {
  uint64_t segments_received = 0;
  uint64_t segments_sent = 0;   // packets given to Output
  uint64_t bytes_received = 0;  // payload, in order
  uint64_t bytes_sent = 0;
  uint64_t retransmissions = 0;
  uint64_t timeouts = 0;
  uint64_t tail_probes = 0;
  uint64_t spurious_recoveries = 0;
  uint64_t out_of_order = 0;
  uint64_t duplicate_acks_sent = 0;
  uint64_t challenge_acks = 0;
  uint64_t window_probes = 0;
  uint64_t missing_timestamps = 0;  // segments without, where they were negotiated; taken
  uint64_t congestion_marks = 0;    // data that came with the CE mark
  uint64_t resets_sent = 0;
  uint64_t resets_received = 0;
  uint64_t cookies_sent = 0;
  uint64_t cookies_accepted = 0;
  uint64_t active_opens = 0;
  uint64_t passive_opens = 0;
  uint64_t established = 0;  // completed handshakes
  uint64_t closed = 0;       // ended by FIN both ways
  uint64_t failed = 0;
  uint64_t no_buffer = 0;  // a packet put off because a mempool was empty
  uint64_t time_wait_recycled = 0;
  uint64_t reneged = 0;  // connections whose out-of-order data was dropped for want of memory
};

class Engine {
 public:
  // pools, output, drops belong to the caller and outlive the engine.
  Engine(const Config& config, const packet::Pools& pools, Output& output,
         stats::ReasonCounters& drops, const Secrets& secrets, timer::Instant now);
  // Frees every mbuf; no events, no packets.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Null when there is none; a connection in TIME-WAIT is not found. local is this end: for a
  // received packet, find(tuple.destination, tuple.source).
  Connection* find(const packet::Endpoint& local, const packet::Endpoint& remote);

  // A TCP segment. True: it belonged to a connection (or to one in TIME-WAIT) and the mbuf was
  // taken, whatever became of it. False: no connection, the mbuf still belongs to the caller, whose
  // policy decides (accept(), send_reset(), forward, drop). A SYN that may reuse a tuple in
  // TIME-WAIT (RFC 6191) removes that entry and returns false.
  bool input(const packet::Parsed& segment, timer::Instant now);

  // The TCP segments of a burst on their way through input(). With many connections nothing of one
  // is in a cache: while a segment is worked on, memory is asked for what those behind it will
  // touch. No effect but on time.
  class Burst {
   public:
    static constexpr size_t kMost = 64;

    // At most kMost segments, which the caller keeps.
    Burst(Engine& engine, std::span<const packet::Parsed> segments);
    // input() of segments[i]; to be called in their order.
    bool input(size_t i, timer::Instant now);

   private:
    // How many segments ahead: a connection, and then what that points to.
    static constexpr size_t kFar = 6;
    static constexpr size_t kNear = 3;

    void fetch_connection(size_t i);
    void fetch_queues(size_t i) const;

    Core& core_;
    std::span<const packet::Parsed> segments_;
    std::array<uint64_t, kMost> keys_;
    std::array<uint32_t, kMost> candidates_;  // where in the table its entry most likely is
  };

  // Passive open by a SYN for any address: local is the packet's destination. The mbuf stays the
  // caller's; data on the SYN is left for the peer to send again. Null when the segment is no clean
  // SYN, the tuple is taken, the table is full, or too many handshakes are half open (counted in
  // drops). Events: kConnected, or kFailed.
  // Also by the ACK of a cookie: then the same segment goes to input() next, which completes the
  // handshake and takes its payload; mode counts for nothing.
  Connection* accept(const packet::Parsed& syn, Handler* handler, const Options& options,
                     timer::Instant now, AcceptMode mode = AcceptMode::now);

  // True for a SYN that accept() would refuse, unless held, because too many handshakes are half
  // open, in all or from its source, and should be answered by send_cookie().
  bool crowded(const packet::Parsed& syn) const;
  // Answers a SYN with a SYN-ACK of which nothing is remembered here (tcp/cookie.h). tag: 0 to 3,
  // given back by cookie_tag(). Takes the mbuf: the answer is written over the SYN, and a flood
  // costs no other memory. False when it was not sent.
  bool send_cookie(const packet::Parsed& syn, const Options& options, uint8_t tag,
                   timer::Instant now);
  // For a segment that input() has refused: the tag of the cookie that it acknowledges, or nothing
  // when there is none, or one that is forged or too old.
  std::optional<uint8_t> cookie_tag(const packet::Parsed& segment, timer::Instant now);

  // Active open from any source address; the caller chooses the port. Null when an address is no
  // single host's, the tuple is taken or the table is full. Events: kConnected, or kFailed
  // (refused, timed_out, unreachable).
  Connection* connect(const packet::Endpoint& local, const packet::Endpoint& remote,
                      Handler* handler, const Options& options, timer::Instant now);
  // A connection (or a TIME-WAIT) holds the tuple: for the caller's choice of a port.
  bool in_use(const packet::Endpoint& local, const packet::Endpoint& remote) const;

  // RST for a segment without connection (RFC 9293 section 3.10.7.1); none answers a RST. The
  // packet stays the caller's. Limited in rate; false when not sent.
  bool send_reset(const packet::Parsed& segment, uint32_t path, timer::Instant now);

  // True: the error belonged to a connection (it may still have been ignored, RFC 5927).
  bool icmp_error(const IcmpError& error, timer::Instant now);

  // A connection as bytes, in mid-transfer, for another engine to go on with (tcp/state.h). Returns
  // their number; nothing is written when `to` is shorter. 0: it is in its handshake or over, and
  // can only drain. Writing changes nothing: release() afterwards, and feed it no segment between.
  size_t export_connection(const Connection& connection, std::span<uint8_t> to, timer::Instant now);
  // Forgets a connection without a word to the peer or the handler; the pointer is dead.
  void release(Connection& connection);
  // The reverse. Null, counted in drops: the bytes are no connection, the tuple or the table is
  // taken, or memory is short. The handler hears what the old one had not heard, and kReadable when
  // bytes wait. The engine must have been made with the old one's Secrets, or tuples out of
  // TIME-WAIT may meet old segments.
  Connection* import_connection(std::span<const uint8_t> bytes, Handler* handler,
                                timer::Instant now);

  // Runs the timers that are due. Bounded: when many are, the rest runs in the next call.
  void advance(timer::Instant now);
  // Tells handlers, then sends. Call after each burst and after advance().
  void flush(timer::Instant now);
  // When advance() must be called at the latest; kNever when nothing is pending, at or before now
  // when flush() has work.
  timer::Instant next_deadline() const;

  const EngineStats& stats() const;
  uint32_t connections() const;  // living ones, TIME-WAIT not counted
  uint32_t time_waits() const;
  // What is counted for all is the sum of what the connections have; slow, for tests.
  bool consistent() const;

  // The connection at a place, null when there is none, for the console: places() of them.
  const Connection* at(uint32_t place) const;
  uint32_t places() const;

 private:
  std::unique_ptr<Core> core_;
};

}  // namespace isthmus::tcp
