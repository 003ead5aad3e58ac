// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two nodes with everything that HBONE stands on (TCP, TLS with the embedded CA, HTTP/2), on a wire
// in memory and a clock of the test's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hbone/engine.h"
#include "hbone/pool.h"
#include "hbone/tcp_leg.h"
#include "packet/chain.h"
#include "packet/parse.h"
#include "stats/reason.h"
#include "support/pools.h"
#include "tcp/engine.h"
#include "tls/certificate.h"
#include "tls/service.h"
#include "tls/test_ca.h"

namespace isthmus::hbone::test {

inline constexpr tls::WallTime kNow = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);
inline constexpr packet::Endpoint kServer{packet::IpAddress::v4(0x0a000002u), 15008};
inline constexpr packet::IpAddress kClient = packet::IpAddress::v4(0x0a000001u);

tls::IdentityPtr identity(std::string_view service_account);
const tls::TestCa& mesh_ca();
tls::IdentityTable& identities();

// What became of a leg, and what came out of it.
struct Ear final : relay::Observer {
  void on_readable(relay::Leg& leg) override;
  void on_writable(relay::Leg&) override { ++writable; }
  void on_ended(relay::Leg& leg) override;
  void on_closed(relay::Leg&) override { closed = true; }
  void on_aborted(relay::Leg&, relay::Cause why) override {
    aborted = true;
    cause = why;
  }
  // Attached to a leg that may already hold bytes.
  void attach(relay::Leg& leg);

  std::string heard;
  bool reading = true;
  bool ended = false;
  bool closed = false;
  bool aborted = false;
  relay::Cause cause = relay::Cause::none;
  unsigned writable = 0;
};

// The packet as a port would deliver it: buffers of its own, checksums known to be good.
rte_mbuf* carry(rte_mbuf* packet);

void say(relay::Leg& leg, const std::string& text);

class Node final : public tcp::Output, public Dialer {
 public:
  Node(tls::IdentityPtr own, const tls::TestCa& ca, const EngineOptions& options,
       timer::Instant now);
  ~Node();

  void transmit(rte_mbuf* packet, uint32_t path) override;
  Dialled dial(const PoolKey& key, tcp::Handler& handler, timer::Duration connect_timeout,
               timer::Instant now) override;
  void hung_up(uint64_t) override { ++hung_up_times; }
  void receive(rte_mbuf* packet, timer::Instant now);
  void round(timer::Instant now, tls::WallTime wall);
  // Publishes a credential that is valid until then.
  void renew(const tls::TestCa& ca, tls::WallTime not_after);
  uint64_t count(stats::Reason reason) const { return reasons.get(reason); }

  tls::IdentityPtr own;
  stats::ReasonCounters reasons;
  std::deque<rte_mbuf*> out;
  tcp::Engine tcp;
  std::unique_ptr<uint8_t, decltype(&free)> key_memory;
  tls::RecordLayer records;
  tls::CredentialSource credentials;
  tls::InlineExecutor executor;
  Engine hbone;
  Pool pool;
  // Takes accepted connections in the engine's place when set.
  std::function<void(tcp::Connection&)> stranger;
  Service* service = nullptr;  // accepts connections to 15008 when set
  uint16_t next_port = 40'000;
  bool no_route = false;
  unsigned hung_up_times = 0;
  timer::Instant now;
};

// The server's owner: accepts by default, and keeps what it accepted.
struct TestService final : Service {
  struct Accepted {
    Tunnel* tunnel = nullptr;
    std::string authority;
    std::string baggage;
    std::string forwarded;
    tls::IdentityPtr peer = nullptr;
    Ear ear;
    bool cancelled = false;
  };

  void on_connect(Tunnel& tunnel, const Connect& connect) override;
  void on_connect_cancelled(Tunnel& tunnel, relay::Cause cause) override;
  stats::Refusal on_proven(uint64_t) override { return objection; }
  void on_inbound_ended(uint64_t cookie, const Failure& failure) override;

  uint16_t answer = 200;     // 0: later
  stats::Refusal objection;  // to whoever has proved who it is
  std::deque<Accepted> accepted;
  unsigned ended = 0;
  Failure failure;
};

struct TestOpener final : OpenHandler {
  struct Opened {
    Tunnel* tunnel = nullptr;
    Failure failure;
    Ear ear;
  };
  void on_tunnel_open(uint64_t cookie, Tunnel& tunnel) override;
  void on_tunnel_failed(uint64_t cookie, const Failure& failure) override;

  std::deque<Opened> results;  // by cookie
};

class Pair {
 public:
  explicit Pair(const EngineOptions& options = {}, const tls::TestCa* client_ca = nullptr);
  ~Pair();

  // Moves packets and time until nothing has moved for a while.
  void run(timer::Duration most = std::chrono::seconds(2));
  void pass(timer::Duration time);
  PoolKey key(tls::IdentityPtr expected) const;
  // Asks for a tunnel; the result is opener.results[the returned number].
  size_t open(const ConnectRequest& request = request_to("10.0.0.2:80"));
  static ConnectRequest request_to(std::string_view authority);

  timer::Instant now{std::chrono::seconds(1000)};
  tls::WallTime wall = kNow;
  TestService service;
  TestOpener opener;
  tls::IdentityPtr expected;
  Node client;
  Node server;
  bool cut = false;  // the wire loses everything
  Ticket last_ticket;

 private:
  unsigned before_;
};

}  // namespace isthmus::hbone::test
