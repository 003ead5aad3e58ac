// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One HBONE connection, either role: TCP, the TLS handshake by an executor, the record layer,
// HTTP/2. Internal to the room; a slot of the engine.
#pragma once

#include <cstdint>
#include <optional>

#include "h2/connection.h"
#include "hbone/engine.h"
#include "hbone/pool.h"
#include "hbone/tunnel.h"
#include "hbone/waiter.h"
#include "packet/chain.h"
#include "tcp/connection.h"
#include "timer/wheel.h"
#include "tls/executor.h"
#include "tls/session.h"

namespace isthmus::hbone {

class Transport final : private tcp::Handler, private h2::Handler {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  void start_server(tcp::Connection& connection, const Inbound& inbound, Service& service);
  // attach() must follow.
  void start_client(const PoolKey& key, uint64_t workload);
  void attach(tcp::Connection& connection, uint64_t cookie);
  tcp::Handler& handler() { return *this; }

  // Client: a request on a new stream. False when the transport takes none or buffers are short.
  bool open(const ConnectRequest& request, Tunnel& tunnel);
  bool dialling() const { return state_ == State::connecting || state_ == State::handshaking; }
  bool opens_more() const;
  bool peer_ready() const { return h2_ && h2_->peer_ready(); }

  // Moves what can be moved: received bytes up, queued ones down.
  void work();
  // Dead, and nobody holds a tunnel of it: tells the owner, gives back what it held.
  bool finished() const { return state_ == State::dead && tunnels_ == 0; }
  void finalize();
  bool in_use() const { return state_ != State::idle; }
  // A free slot again.
  void reset();
  void on_timer();
  void on_handshake(const tls::HandshakeResult& result);
  // Server, before it is open.
  timer::Instant accepted_at() const;
  // For so long, so far as it does not depend on how fast we are.
  bool awaits_peer_since(timer::Instant instant) const {
    return !with_executor_ && ciphertext_.empty() && waits_since_ <= instant;
  }
  void give_way();
  void drain();
  void end(stats::Reason reason);
  // Of the engine's trust; none before the handshake is done.
  tls::Failure objection_to_peer() const;
  TransportInfo info() const;

 private:
  friend class Engine;
  friend class Pool;
  friend class Tunnel;

  enum class State : uint8_t {
    idle,         // a free slot
    connecting,   // TCP
    handshaking,  // TLS
    open,
    closing,  // close_notify and FIN are sent: waits for the peer's
    dead,     // TCP is gone; the slot is free once the last tunnel is released
  };

  void on_tcp(tcp::Connection& connection, uint16_t events) override;
  void on_request(h2::Stream& stream, const h2::Request& request) override;
  void on_response(h2::Stream& stream, const h2::Response& response) override;
  void on_readable(h2::Stream& stream) override;
  void on_writable(h2::Stream& stream) override;
  void on_end_received(h2::Stream& stream) override;
  void on_end_sent(h2::Stream& stream) override;
  void on_reset(h2::Stream& stream, h2::ErrorCode code, bool refused) override;
  void on_goaway() override;

  uint64_t handshake_account() const;
  void begin_handshake();
  void feed_handshake();
  void establish(const tls::HandshakeResult& result);
  void receive();
  bool receive_h2();
  void transmit();
  tls::SealStatus seal(packet::Chain& out);
  void say_goodbye(packet::Chain& out);
  void close();
  void fail(const Failure& failure);
  void abort_tcp();
  void stop_tunnels();
  void retire();
  void arm();
  bool leaf_expired() const;
  static void tell(h2::Stream& stream, uint8_t events);

  struct Timer : timer::Wheel::Entry {
    Transport* transport = nullptr;
  };

  Engine* engine_ = nullptr;
  uint32_t index_ = 0;
  uint32_t generation_ = 0;
  Transport* next_ = nullptr;         // free list, list of dirty ones
  Transport* bucket_next_ = nullptr;  // pool
  Transport* older_ = nullptr;        // unproven ones
  Transport* younger_ = nullptr;
  Timer timer_;
  State state_ = State::idle;
  h2::Role role_ = h2::Role::server;
  bool dirty_ : 1 = false;
  bool peer_gone_ : 1 = false;      // FIN was seen
  bool retry_ : 1 = false;          // buffers, or the executor's places, were short
  bool rated_ : 1 = false;          // its handshake counts in the rate of its workload
  bool with_executor_ : 1 = false;  // a step of the handshake is being done
  bool unproven_ : 1 = false;       // on the engine's list of those
  tcp::Connection* tcp_ = nullptr;
  tls::HandshakeId handshake_;
  tls::Session session_;
  std::optional<h2::Connection> h2_;
  packet::Chain ciphertext_;                   // received, not yet taken by the handshake
  packet::Chain plaintext_;                    // opened, not yet taken by HTTP/2
  timer::Instant deadline_ = timer::kNever;    // of the present state
  timer::Instant idle_since_ = timer::kNever;  // client: without streams
  timer::Instant waits_since_{};               // server, unproven: accepted, or our last flight
  tls::IdentityPtr local_ = nullptr;
  tls::IdentityPtr peer_ = nullptr;
  tls::ChainTags peer_chain_;
  tls::WallTime expires_{};
  packet::Tuple outer_;  // from the client to the server
  uint64_t workload_ = 0;
  uint64_t cookie_ = 0;
  Service* service_ = nullptr;  // server
  PoolKey key_;                 // client, as are the requests that wait for it
  Pool::Waiter* first_waiter_ = nullptr;
  Pool::Waiter* last_waiter_ = nullptr;
  Failure failure_;
  unsigned tunnels_ = 0;  // not released
};

}  // namespace isthmus::hbone
