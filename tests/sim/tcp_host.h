// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One TCP engine as an end of a link, and a user on each connection that sends and takes a known
// stream of bytes: the oracle of the simulator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "packet/pools.h"
#include "sim/link.h"
#include "sim/scheduler.h"
#include "tcp/engine.h"

namespace isthmus::sim {

// The byte at an offset of a stream.
inline uint8_t stream_byte(uint32_t stream, uint64_t offset) {
  const uint64_t mixed = (offset + 1) * 0x9e3779b97f4a7c15 + stream * 0xc2b2ae3d27d4eb4f;
  return static_cast<uint8_t>(mixed >> 56);
}

// What a user does with its connection.
struct Behaviour {
  uint64_t bytes = 0;              // to send, then FIN
  uint32_t chunk = 16'384;         // at most so many per call
  uint32_t read = UINT32_MAX;      // at most so many per call
  timer::Duration read_pause{};    // between two calls; zero: at once
  uint64_t stall_at = UINT64_MAX;  // takes nothing for stall_for once it has taken so many
  timer::Duration stall_for{};
  uint64_t abort_at = UINT64_MAX;  // RST once so many were taken
  bool close_after_peer = false;   // FIN not before the peer's
  bool content = true;             // false: zeros, which nobody checks
};

class User final : public tcp::Handler {
 public:
  User(Scheduler& scheduler, const packet::Pools& pools, uint32_t sends, uint32_t expects,
       const Behaviour& behaviour, std::function<void()> poke)
      : scheduler_(scheduler),
        pools_(pools),
        sends_(sends),
        expects_(expects),
        behaviour_(behaviour),
        poke_(std::move(poke)) {}

  void on_tcp(tcp::Connection& connection, uint16_t events) override;
  void start(tcp::Connection& connection);

  tcp::Connection* connection() const { return connection_; }
  bool over() const { return over_; }
  bool aborted() const { return aborted_; }
  tcp::Failure failure() const { return failure_; }
  uint64_t taken() const { return taken_; }
  uint64_t sent() const { return sent_; }
  bool peer_closed() const { return peer_closed_; }
  bool connected() const { return connected_; }
  // Empty while every byte was the expected one.
  const std::string& error() const { return error_; }

 private:
  void pump(bool may_read);
  void write();
  void take();
  void check(const packet::Chain& bytes);

  Scheduler& scheduler_;
  const packet::Pools& pools_;
  uint32_t sends_;
  uint32_t expects_;
  Behaviour behaviour_;
  std::function<void()> poke_;
  tcp::Connection* connection_ = nullptr;
  uint64_t sent_ = 0;
  uint64_t taken_ = 0;
  bool reading_later_ = false;
  bool stalled_ = false;
  bool connected_ = false;
  bool peer_closed_ = false;
  bool shut_ = false;
  bool over_ = false;
  bool aborted_ = false;
  tcp::Failure failure_ = tcp::Failure::none;
  std::string error_;
};

class Host final : public tcp::Output {
 public:
  // Decides about a segment without connection; returns the connection that it opened, or null
  // (then the host answers with RST).
  using Listener = std::function<tcp::Connection*(const packet::Parsed&)>;

  Host(Scheduler& scheduler, Link& link, int side, const packet::Pools& pools,
       const tcp::Config& config, const tcp::Secrets& secrets);

  tcp::Engine& engine() { return *engine_; }
  void listen(Listener listener) { listener_ = std::move(listener); }
  void transmit(rte_mbuf* packet, uint32_t path) override;
  // Timers, handlers, output; then sees to the next wake-up.
  void poll();
  const stats::ReasonCounters& drops() const { return drops_; }
  // As an upgrade does: the user's connection goes on in a new engine, by way of bytes, and the old
  // engine is gone. False, and nothing changed, when it can't be exported now. Empty where bytes
  // were not taken: then `error` says so.
  bool move_to_new_engine(User& user, std::string& error);

 private:
  void receive(rte_mbuf* packet);
  void make_engine();

  Scheduler& scheduler_;
  Link& link_;
  int side_;
  packet::Pools pools_;
  tcp::Config config_;
  tcp::Secrets secrets_;
  stats::ReasonCounters drops_;
  std::unique_ptr<tcp::Engine> engine_;
  Listener listener_;
  Waker waker_;
};

}  // namespace isthmus::sim
