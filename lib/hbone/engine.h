// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// HBONE on one worker: its transports (TCP + TLS + HTTP/2), its tunnels, the server side. Sans-IO;
// all memory is taken at construction. A worker's round:
//   tcp.input()...  tcp.advance(now)  hbone.advance(now, wall)
//   tcp.flush(now)  hbone.flush(now)  tcp.flush(now)
// The first flush() brings received bytes into HBONE, the second tells tunnels' observers and seals
// what is to be sent, the third sends it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "h2/context.h"
#include "hbone/handshake_rate.h"
#include "hbone/request.h"
#include "hbone/tunnel.h"
#include "packet/address.h"
#include "packet/pools.h"
#include "stats/reason.h"
#include "tcp/connection.h"
#include "timer/time.h"
#include "timer/wheel.h"
#include "tls/executor.h"
#include "tls/record.h"
#include "tls/trust.h"

namespace isthmus::hbone {

class Transport;
class Pool;

struct EngineOptions {
  uint32_t transports = 1024;
  uint32_t tunnels = 4096;              // of all transports, either role
  size_t hpack_bytes = 8u << 20;        // about 3 KB a transport, up to 30 KB for a hostile one
  uint64_t receive_budget = 32u << 20;  // received bytes that tunnels may hold
  uint64_t send_budget = 32u << 20;     // memory of what waits in tunnels for their peers' windows
  Profile profile = Profile::istio_1_18;
  uint16_t max_streams = 100;  // of one transport, at most 128
  uint32_t stream_window = 1u << 20;
  uint32_t connection_window = 1u << 20;
  uint32_t send_queue = 256u << 10;  // of one tunnel
  // From the accepted or dialled SYN until TLS is established; when places or handshakes are short,
  // an accepted connection that lets us wait is ended after Engine::kPatience.
  timer::Duration handshake_timeout = std::chrono::seconds(10);
  uint32_t handshakes_per_second = 0;  // that one workload may begin; 0: no limit
  timer::Duration ping_after = std::chrono::seconds(10);
  timer::Duration ping_timeout = std::chrono::seconds(20);
  // A client transport without streams is closed after this (Istio's pool: 5 minutes).
  timer::Duration idle_release = std::chrono::minutes(5);
  // A closing transport waits so long for the peer before it is reset.
  timer::Duration linger = std::chrono::seconds(5);
};

// What the worker shares with its engine; all of it outlives the engine.
struct EngineParts {
  tls::HandshakeExecutor& executor;
  tls::RecordLayer& records;
  const packet::Pools& pools;
  stats::ReasonCounters& reasons;
};

// A CONNECT that came in. Views last for the call.
struct Connect {
  std::string_view authority;
  std::string_view baggage;  // hints: none of the three is authenticated
  std::string_view forwarded;
  std::string_view traceparent;
  tls::IdentityPtr peer = nullptr;   // authenticated
  tls::IdentityPtr local = nullptr;  // whom the peer was shown
  packet::Tuple outer;               // from the peer to the original destination
  uint64_t cookie = 0;               // as given to accept()
};

// Whoever answers CONNECTs: the gateway. Called from flush() only, this engine's or TCP's.
class Service {
 public:
  // The tunnel is the service's: accept() or refuse() it now or later, release() it in the end.
  virtual void on_connect(Tunnel& tunnel, const Connect& connect) = 0;
  // The peer gave up before it was answered: release() must follow, when the upstream is let go.
  virtual void on_connect_cancelled(Tunnel& tunnel, relay::Cause cause) = 0;
  // The client of an accepted connection has proved who it is. A reason ends the connection, and is
  // counted.
  virtual stats::Refusal on_proven(uint64_t cookie) = 0;
  // An accepted connection has ended: in order (kind none), or by a failure, which is already
  // counted. Called exactly once for each accept() that returned true, after its last tunnel's end.
  virtual void on_inbound_ended(uint64_t cookie, const Failure& failure) = 0;

 protected:
  ~Service() = default;
};

// An accepted TCP connection to port 15008.
struct Inbound {
  tls::IdentityPtr local = nullptr;  // of the pod that is the original destination
  uint64_t workload = 0;             // its key in limits per workload
  uint64_t cookie = 0;               // the caller's; comes back in Connect and on_inbound_ended()
};

// One transport, for the console and for policy.
struct TransportInfo {
  h2::Role role = h2::Role::server;
  packet::Tuple outer;  // from the transport's client to its server
  tls::IdentityPtr local = nullptr;
  tls::IdentityPtr peer = nullptr;  // null until established
  uint64_t workload = 0;
  unsigned streams = 0;
  bool established = false;
  bool draining = false;
  tls::WallTime expires{};  // the earlier of both leaves
};

struct EngineStats {
  uint64_t accepted = 0;
  uint64_t dialled = 0;
  uint64_t established = 0;  // TLS handshakes that succeeded
  uint64_t failed = 0;       // transports that ended by a failure
  uint64_t tunnels_opened = 0;
  uint64_t tunnels_refused = 0;  // by either side, before any byte
  uint64_t tunnels_retried = 0;  // refused undone, asked again on another transport
};

class Engine {
 public:
  static constexpr timer::Duration kPatience = std::chrono::seconds(1);

  Engine(const EngineOptions& options, const EngineParts& parts, timer::Instant now);
  // Frees everything; no events. TCP connections that are still open are aborted.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Takes an accepted connection (its handler is set) and speaks as the server. False when full:
  // the connection stays the caller's. Counted.
  bool accept(tcp::Connection& connection, const Inbound& inbound, Service& service,
              timer::Instant now);

  // Handshake results, timers. wall judges leaves' expiry.
  void advance(timer::Instant now, tls::WallTime wall);
  void flush(timer::Instant now);
  // kNever when nothing is pending; at or before now when flush() has work.
  timer::Instant next_deadline() const;

  // Server transports get GOAWAY in two steps, client transports take no new streams; each closes
  // when its streams have finished.
  void drain(timer::Instant now);
  // Ends at once, with its tunnels, every transport for which doomed(const TransportInfo&) holds:
  // a policy, an identity or a pod is gone. Returns how many.
  template <typename Doomed>
  unsigned close_if(Doomed&& doomed, stats::Reason reason) {
    unsigned ended = 0;
    for_each_of([&](Transport& transport, const TransportInfo& info) {
      if (!doomed(info)) return;
      end(transport, reason);
      ++ended;
    });
    return ended;
  }
  // What peers must meet from now on, handshakes that are under way included; null: what the
  // handshakes ask. It must live until the next one is set.
  void set_trust(const tls::Trust* trust) { trust_ = trust; }
  // Ends, with their tunnels, those of the next `limit` connections whose peers do not meet it.
  // Returns how many places it looked at: 0 at the end.
  uint32_t review_peers(uint32_t& next, uint32_t limit);
  template <typename Visitor>
  void for_each(Visitor&& visit) {
    for_each_of([&](Transport&, const TransportInfo& info) { visit(info); });
  }

  unsigned transports() const;
  unsigned tunnels() const;
  h2::Usage usage() const;
  const EngineStats& stats() const;

 private:
  friend class Pool;
  friend class Transport;
  friend class Tunnel;

  using Visit = void (*)(void* context, Transport& transport, const TransportInfo& info);

  template <typename Visitor>
  void for_each_of(Visitor&& visit) {
    visit_all(
        [](void* context, Transport& transport, const TransportInfo& info) {
          (*static_cast<std::remove_reference_t<Visitor>*>(context))(transport, info);
        },
        &visit);
  }
  void visit_all(Visit visit, void* context);
  static void end(Transport& transport, stats::Reason reason);

  // Server transports whose peers have not proved who they are.
  void await_proof(Transport& transport);
  void await_no_more(Transport& transport);
  timer::Instant patience_ends() const;
  unsigned spare_transports() const { return options_.transports - transports_in_use_; }
  // What is kept free for others while somebody lets us wait.
  unsigned reserve() const { return options_.transports / 16 + 1; }
  // Ends the oldest that has let us wait for too long; for a handshake, one that has begun one, of
  // this workload unless null. False when there is none.
  bool make_way();
  bool make_way_for_handshake(const uint64_t* workload);
  template <typename Suits>
  bool make_way_by(Suits&& suits);

  Transport* take_transport();
  void give_back(Transport& transport);
  Tunnel* take_tunnel();
  void give_back(Tunnel& tunnel);
  void mark_dirty(Transport& transport);
  void tell(Tunnel& tunnel, uint8_t events);
  void tell_owners();
  void deliver(Tunnel& tunnel, uint8_t events);
  h2::Options h2_options(h2::Role role) const;
  bool busy() const;

  // Results come by way of this, so that the engine's interface stays its own.
  struct Handshakes;

  EngineOptions options_;
  EngineParts parts_;
  h2::Context h2_;
  HandshakeRate handshake_rate_;
  timer::Wheel wheel_;
  timer::Instant now_;
  tls::WallTime wall_{};
  std::unique_ptr<Transport[]> transports_;
  std::unique_ptr<Tunnel[]> tunnels_;
  Transport* free_transports_ = nullptr;
  Tunnel* free_tunnels_ = nullptr;
  Transport* dirty_first_ = nullptr;  // have bytes to move
  Transport* dirty_last_ = nullptr;
  Transport* unproven_first_ = nullptr;  // the oldest
  Transport* unproven_last_ = nullptr;
  Tunnel* told_first_ = nullptr;  // have events for their owners
  Tunnel* told_last_ = nullptr;
  unsigned transports_in_use_ = 0;
  unsigned tunnels_in_use_ = 0;
  Pool* pool_ = nullptr;
  const tls::Trust* trust_ = nullptr;
  bool draining_ = false;
  EngineStats stats_;
};

}  // namespace isthmus::hbone
