// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The client side of HBONE on one worker: tunnels over pooled transports, as ztunnel pools them.
// One transport carries one (source identity, destination identities, destination, source address).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hbone/engine.h"
#include "hbone/request.h"
#include "hbone/tunnel.h"
#include "packet/address.h"
#include "stats/reason.h"
#include "tcp/connection.h"
#include "timer/time.h"
#include "timer/wheel.h"
#include "tls/identity.h"

namespace isthmus::hbone {

// Fewer than a handshake takes (tls::kMaxExpectedIdentities).
inline constexpr unsigned kMaxDestinations = 4;

struct PoolKey {
  tls::IdentityPtr source = nullptr;
  // Whom we accept, sorted by set_destinations(); null behind the last.
  std::array<tls::IdentityPtr, kMaxDestinations> destinations{};
  packet::Endpoint destination;      // where to connect: a pod or waypoint, usually port 15008
  packet::IpAddress source_address;  // the pod's: what the peer sees, whatever the port

  // False when there are none or too many.
  bool set_destinations(std::span<const tls::IdentityPtr> identities);
  friend bool operator==(const PoolKey&, const PoolKey&) = default;
};

struct Dialled {
  tcp::Connection* connection = nullptr;              // null: it cannot be tried
  uint64_t cookie = 0;                                // the dialer's: comes back in hung_up()
  stats::Reason why = stats::Reason::hbone_no_route;  // it cannot; not counted
};

// Makes TCP connections for the pool: egress, path, source port and how many there may be are the
// gateway's business.
class Dialer {
 public:
  // Starts to connect from key.source_address to key.destination.
  virtual Dialled dial(const PoolKey& key, tcp::Handler& handler, timer::Duration connect_timeout,
                       timer::Instant now) = 0;
  // The transport of a connection that was dialled is over; not called when the engine goes.
  virtual void hung_up(uint64_t cookie) = 0;

 protected:
  ~Dialer() = default;
};

// Called from Engine::flush() only, never from open(). Exactly one of the two, unless cancelled.
class OpenHandler {
 public:
  // 200 came: attach an observer in the same call. The tunnel is the handler's to release().
  virtual void on_tunnel_open(uint64_t cookie, Tunnel& tunnel) = 0;
  virtual void on_tunnel_failed(uint64_t cookie, const Failure& failure) = 0;

 protected:
  ~OpenHandler() = default;
};

struct PoolOptions {
  uint32_t waiters = 4096;  // requests that wait for a transport or for their answer
  timer::Duration connect_timeout = std::chrono::seconds(10);
  // From open() to the answer: as long as a peer may take for its own upstream connect and more.
  timer::Duration answer_timeout = std::chrono::seconds(30);
};

// Names a request until its handler is called.
struct Ticket {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;
  bool valid() const { return slot != UINT32_MAX; }
};

class Pool {
 public:
  // Both outlive the pool.
  Pool(Engine& engine, const PoolOptions& options, Dialer& dialer);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Opens a tunnel on a pooled transport, or dials one: at most one dial at a time per key, for
  // which the others wait. A request that the peer refused undone (REFUSED_STREAM, or above the
  // last stream of its GOAWAY) is asked once more on another transport. workload bounds handshakes.
  // An invalid ticket: no room, counted, and no callback.
  Ticket open(const PoolKey& key, const ConnectRequest& request, uint64_t workload,
              OpenHandler& handler, uint64_t cookie, timer::Instant now);
  // Gives a request up; its handler is not called.
  void cancel(Ticket ticket);

  unsigned waiting() const { return in_use_; }

 private:
  friend class Engine;
  friend class Transport;

  struct Waiter;
  struct WaiterList;

  void place(Waiter& waiter);
  Transport* find_usable(const Waiter& waiter, Transport*& dialling);
  bool ask_again(Waiter& waiter);
  Transport* dial(Waiter& waiter);
  bool ask(Waiter& waiter, Transport& transport);
  void fail(Waiter& waiter, const Failure& failure);
  void unlink(Waiter& waiter);
  void give_back(Waiter& waiter);

  // From transports: it takes requests now; it is gone.
  void on_open(Transport& transport);
  void on_dead(Transport& transport, const Failure& failure);
  void on_gone(uint64_t cookie) { dialer_.hung_up(cookie); }
  // From the engine.
  void on_answer(Tunnel& tunnel);
  void on_reset(Tunnel& tunnel);
  void advance(timer::Instant now);
  bool has_news() const { return failed_first_ != nullptr; }
  void tell();
  timer::Instant next_deadline() const { return wheel_.next_deadline(); }

  Engine& engine_;
  PoolOptions options_;
  Dialer& dialer_;
  timer::Wheel wheel_;
  std::unique_ptr<Waiter[]> waiters_;
  Waiter* free_ = nullptr;
  Waiter* failed_first_ = nullptr;  // their handlers are told by the next flush()
  Waiter* failed_last_ = nullptr;
  unsigned in_use_ = 0;
  std::vector<Transport*> buckets_;  // client transports by key
};

}  // namespace isthmus::hbone
