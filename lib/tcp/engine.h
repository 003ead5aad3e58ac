// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The TCP engine of one worker (RFC 9293): its connections, its table, its timers. Sans-IO: it takes
// parsed packets and the time, gives packets to an Output and events to each connection's Handler.
//
// A worker drives it so:  input() for each packet of a burst, advance() for the timers, flush() to
// tell the handlers and to send what there is (one ACK per burst, RFC 9293 MUST-58, MUST-59).
// Handlers are called from flush() only; they may call any method of any connection of the engine.
#pragma once

#include <cstdint>
#include <memory>

#include "packet/address.h"
#include "packet/chain.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "timer/time.h"

namespace isthmus::tcp {

class Connection;

// What happened since the handler was last told; several bits at once.
enum Event : uint16_t {
  kConnected = 1 << 0,   // the handshake is complete, either role
  kReadable = 1 << 1,    // receive_queue() grew
  kWritable = 1 << 2,    // send_room() rose above the low-water mark after it had been short
  kPeerClosed = 1 << 3,  // FIN: no bytes will follow those in receive_queue()
  kClosed = 1 << 4,      // both directions are finished; the last event
  kFailed = 1 << 5,      // the connection is dead: failure() says why; the last event
};

enum class Failure : uint8_t {
  none,
  refused,      // RST in SYN-SENT
  reset,        // RST in a later state
  timed_out,    // R2 passed, user timeout, or the handshake took too long
  unreachable,  // a hard ICMP error in SYN-SENT
  no_memory,
};

class Handler {
 public:
  // After kClosed or kFailed the engine keeps what TCP still needs (TIME-WAIT) by itself and the
  // reference must not be used after the call returns.
  virtual void on_tcp(Connection& connection, uint16_t events) = 0;

 protected:
  ~Handler() = default;
};

// Where packets go. A packet is an L3 mbuf list with l3_len, l4_len and transmit offload flags set;
// a segment larger than the path's MSS carries RTE_MBUF_F_TX_TCP_SEG and tso_segsz.
class Output {
 public:
  // Takes ownership of the packet. path is what the connection was opened with.
  virtual void transmit(rte_mbuf* packet, uint32_t path) = 0;

 protected:
  ~Output() = default;
};

struct Options {
  uint32_t path = 0;             // opaque to the engine, given back with every packet: egress
  uint16_t mtu = 1500;           // of the path: bounds the MSS that is sent and advertised
  uint64_t handshake_timeout_ms = 10'000;  // connect, or accept after the SYN-ACK
};

}  // namespace isthmus::tcp
