// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One HBONE tunnel: a CONNECT stream as a leg of a relayed flow, either role.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "h2/connection.h"
#include "packet/address.h"
#include "relay/leg.h"
#include "stats/reason.h"
#include "tls/identity.h"

namespace isthmus::hbone {

class Engine;
class Transport;

// Why a tunnel was not opened, or its transport failed.
struct Failure {
  enum class Kind : uint8_t {
    none,
    no_route,  // the dialer found no port, route or buffer
    tcp_refused,
    tcp_timed_out,  // also: handshake not finished in time
    tcp_lost,       // reset, unreachable
    tls,            // code: the tls::Failure
    identity,       // the peer is not whom we expect; code: the tls::Failure
    http,           // code: the status of the answer, not 200
    reset,          // code: the RST_STREAM's; retry says whether the peer did nothing
    protocol,       // code: the HTTP/2 error of the connection
    full,           // a pool or limit of ours
    cancelled,      // by the owner
  };
  Kind kind = Kind::none;
  uint32_t code = 0;
  bool retry = false;  // no byte was passed on: safe to try another endpoint
  stats::Reason reason{};
};

// A tunnel's owner gets it by OpenHandler::on_tunnel_open() or Service::on_connect() and must
// release() it in the end, whatever happened.
class Tunnel final : public relay::Leg {
 public:
  Tunnel() = default;
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // Server, once: the upstream is connected: 200. Bytes may follow at once, and early ones may be
  // readable: attach an observer in the same call. False when buffers are short: refuse it then.
  bool accept(std::span<const h2::Field> fields = {});
  // Server, once: ends the stream with this status and no body. release() must follow. The reason
  // is counted; count_ when it has been counted already.
  void refuse(uint16_t status, stats::Reason reason);

  tls::IdentityPtr peer() const;       // never null
  const packet::Tuple& outer() const;  // of the transport, from its client to its server
  uint32_t stream_id() const;          // 0 when the stream is gone
  h2::Role role() const { return role_; }
  // Why we ended the transport below; nothing where it ended otherwise or has not.
  stats::Refusal transport_ended_for() const;

  // relay::Leg
  uint32_t readable() const override;
  packet::Chain read(uint32_t max) override;
  bool ended() const override;
  uint32_t send_room() const override;
  uint32_t queued() const override;
  void write(packet::Chain&& bytes) override;
  void shutdown() override;
  void abort(relay::Cause cause) override;
  void release() override;

  // The owner's.
  void* user = nullptr;

 private:
  friend class Engine;
  friend class Pool;
  friend class Transport;

  // What is to be told to the owner by the next flush().
  enum Event : uint8_t {
    kReadable = 1,
    kWritable = 2,
    kEnded = 4,
    kClosed = 8,
    kAborted = 16,
    kAnswer = 32,  // client: answer_ has come
  };

  // The transport is going away.
  void detach();
  void touch();

  Transport* transport_ = nullptr;
  h2::Stream* stream_ = nullptr;  // null when the transport has gone
  Tunnel* next_ = nullptr;        // free list, list of those with events
  void* waiter_ = nullptr;        // client: the pool's request, until it is answered
  packet::Chain rest_;            // what was unread when the transport had gone
  uint16_t answer_ = 0;           // status
  relay::Cause cause_ = relay::Cause::none;
  uint32_t reset_code_ = 0;
  h2::Role role_ = h2::Role::server;
  uint8_t events_ = 0;
  bool listed_ : 1 = false;
  bool owned_ : 1 = false;
  bool answered_ : 1 = false;  // 200 was sent or told to the owner
  bool stopped_ : 1 = false;   // the peer ended in order and wants no more: writes are dropped
  bool closed_ : 1 = false;    // both directions have finished in order
};
// Together with the stream's slot.
static_assert(sizeof(Tunnel) + sizeof(h2::Stream) <= 512);

}  // namespace isthmus::hbone
