// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a user of a TCP connection sees of it: events, failures, options, figures.
#pragma once

#include <cstdint>

#include "timer/time.h"

namespace isthmus::tcp {

class Connection;

// What happened since the handler was last told; several bits at once.
enum Event : uint16_t {
  kConnected = 1 << 0,   // the handshake is complete, either role
  kReadable = 1 << 1,    // receive_available() grew
  kWritable = 1 << 2,    // send_room() rose above the low-water mark after it had been short
  kPeerClosed = 1 << 3,  // FIN: no bytes will follow those that receive() gives
  kClosed = 1 << 4,      // both directions are finished and every byte taken; the last event
  kFailed = 1 << 5,      // the connection is dead: failure() says why; the last event
};

enum class Failure : uint8_t {
  none,
  refused,      // RST in SYN-SENT
  reset,        // RST in a later state
  timed_out,    // R2 passed, user timeout, or the handshake took too long
  unreachable,  // a hard ICMP error in SYN-SENT
  no_memory,    // the peer's FIN or data could not be kept
};
const char* to_string(Failure failure);

// RFC 9293 section 3.3.2. LISTEN has no connection here: the gateway accepts SYNs one by one.
enum class State : uint8_t {
  closed,
  syn_sent,
  syn_received,
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
  time_wait,
};
const char* to_string(State state);

class Handler {
 public:
  // Called from Engine::flush() only, never from another call. It may call any method of any
  // connection of the engine, and Engine::connect() and accept(). After kClosed or kFailed the
  // engine keeps what TCP still needs (TIME-WAIT) by itself and the reference must not be used once
  // the call has returned: take what receive() still holds in that call.
  virtual void on_tcp(Connection& connection, uint16_t events) = 0;

 protected:
  ~Handler() = default;
};

// RFC 3168. passive: agreed to when the peer's SYN asks; active: asked for by connect() as well.
enum class Ecn : uint8_t { off, passive, active };

enum class CongestionControl : uint8_t { cubic, reno };
const char* to_string(CongestionControl algorithm);

// Per connection. Times are of the virtual clock that the engine is given, and 24 days at most (a
// keepalive_interval two hours); zero turns a timer off.
struct Options {
  uint32_t path = 0;    // opaque to the engine, given back with every packet: the egress
  uint16_t mtu = 1500;  // of the path: bounds the MSS that is sent and advertised
  // connect(): until established. accept(): from the SYN to the ACK of the SYN-ACK; a held one gets
  // RST then, and as much time again once it is completed (MUST-23: the RFC asks for 3 minutes at
  // least, a proxy's client can't wait so long).
  timer::Duration handshake_timeout = std::chrono::seconds(10);
  // R2 (RFC 9293 section 3.8.3) and RFC 5482: data is unacknowledged for so long → timed_out.
  timer::Duration user_timeout = std::chrono::seconds(120);
  // The peer acknowledges but keeps its window shut for so long → timed_out. MUST-37 asks for
  // patience without end; a proxy bounds it by policy.
  timer::Duration stall_timeout = std::chrono::seconds(600);
  // Both directions silent for so long → probes, one each keepalive_interval; unanswered probes →
  // timed_out. Off by default (MUST-25).
  timer::Duration keepalive_idle{};
  timer::Duration keepalive_interval = std::chrono::seconds(15);
  uint8_t keepalive_probes = 4;
  // FIN-WAIT-2 with nothing received for so long → timed_out, and no RST: the peer owes nothing but
  // its FIN, and if it should send more it finds no connection and is told then. Zero: never, since
  // a half-closed connection lives as long as its peer wants; keepalive finds those that are gone.
  timer::Duration fin_wait_2_timeout{};
  bool nagle = false;  // MUST-17: the proxy batches by itself
  // send_room() is little more than what the windows let go at once: for whoever sends for many and
  // wants to choose, as late as possible, what goes first. The path's queue is kept short as well
  // (standing_queue.h).
  bool short_queue = false;
  CongestionControl congestion = CongestionControl::cubic;
  Ecn ecn = Ecn::passive;
  uint8_t ttl = 64;
  uint8_t dscp = 0;  // Diffserv field of every packet (MUST-48), 0 to 63
};

// Why nothing more is being sent right now.
enum class SendLimit : uint8_t {
  application,        // all that it gave has been sent
  handshake,          // not yet established
  receive_window,     // the peer takes no more, or too little to be worth a segment
  congestion_window,  // new data or a retransmission waits for room
  pacing,             // the window is open, and is used bit by bit
  nagle,              // a short segment waits for an acknowledgment
  buffers,            // a mempool or the records of what is in flight ran out
  next_flush,         // nothing holds it back
};
const char* to_string(SendLimit limit);

// A snapshot of one connection, as `ss -ti` shows it. Bytes and microseconds.
struct Info {
  State state = State::closed;
  bool held = false;  // a late accept whose SYN-ACK has not been sent
  Failure failure = Failure::none;
  SendLimit limit = SendLimit::application;
  uint64_t age = 0;             // since its SYN, in whole seconds
  uint64_t since_sent = 0;      // since its last data
  uint64_t since_received = 0;  // since the peer's last segment
  const char* timer = "";       // of the sender: "retransmission", "tail loss probe", "reordering",
                                // "persist", or none
  uint64_t timer_due = 0;       // in so long

  // The path and what was negotiated.
  uint16_t path_mtu = 0;
  uint16_t send_mss = 0;     // payload bytes of a full segment, options already deducted
  uint16_t receive_mss = 0;  // the MSS option that this end sent
  uint8_t send_scale = 0;
  uint8_t receive_scale = 0;
  bool timestamps = false;
  bool sack = false;
  bool ecn = false;
  bool echoes_congestion = false;  // ECE until the peer has answered
  uint32_t rtt = 0;                // smoothed; zero when never measured
  uint32_t rtt_var = 0;
  uint32_t min_rtt = 0;
  uint32_t rto = 0;
  uint8_t backoff = 0;  // RTO doublings in effect

  // The sender.
  CongestionControl congestion_control = CongestionControl::cubic;
  uint32_t congestion_window = 0;
  uint32_t slow_start_threshold = 0;  // UINT32_MAX while unset
  const char* congestion_state = "";  // "open", "recovery", "loss"
  uint32_t send_window = 0;           // what the peer offers
  uint32_t send_buffer = 0;           // what send() may queue in all
  uint32_t send_queued = 0;           // not yet acknowledged, sent or not
  uint32_t send_occupied = 0;         // by the buffers of these
  uint32_t not_sent = 0;
  uint32_t in_flight = 0;  // the pipe of RFC 6675
  uint32_t sacked = 0;
  uint32_t lost = 0;        // and of these
  uint32_t sent_again = 0;  // once more, fate unknown
  uint32_t records = 0;     // transmissions that are remembered
  bool reordering_seen = false;
  uint32_t reorder_window = 0;
  uint64_t bytes_sent = 0;  // first transmissions
  uint64_t bytes_retransmitted = 0;
  uint64_t bytes_acked = 0;
  uint32_t retransmissions = 0;  // packets
  uint32_t timeouts = 0;         // RTO
  uint32_t tail_probes = 0;
  uint32_t spurious_recoveries = 0;

  // The receiver.
  uint32_t receive_window = 0;  // what this end offers
  uint32_t receive_buffer = 0;
  uint32_t receive_queued = 0;    // in order, not yet taken
  uint32_t receive_occupied = 0;  // by the buffers of these
  uint32_t out_of_order = 0;      // bytes behind a gap
  uint16_t runs = 0;              // in so many pieces
  uint64_t bytes_received = 0;
};

}  // namespace isthmus::tcp
