// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One TCP engine behind a net_vtap port, in real time: the smallest host that the kernel can talk
// to. Its packets pass straight between port and engine, with the port's offloads, or through the
// simulator's link, which cuts them to the MTU and does to them what networks do.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "drivers/pools.h"
#include "drivers/port.h"
#include "packet/parse.h"
#include "sim/link.h"
#include "sim/scheduler.h"
#include "tcp/engine.h"

namespace isthmus::interop {

struct StationConfig {
  std::string interface;  // made in the network namespace of the caller
  bool offload = true;    // checksums, TSO and coalesced packets on the port
  uint64_t seed = 1;      // of the impaired link and of the engine's secrets
  tcp::Config tcp;
};

class Station final : public tcp::Output {
 public:
  // The kernel's side of the link, and ours.
  static constexpr int kOurs = 0;
  static constexpr int kKernels = 1;
  static constexpr packet::MacAddress kOurMac = {{0x02, 0, 0, 0, 0, 1}};
  static constexpr packet::MacAddress kKernelMac = {{0x02, 0, 0, 0, 0, 2}};

  // Answers a SYN, or leaves it to a RST.
  using Listener = std::function<bool(const packet::Parsed&)>;

  // Null with a reason.
  static std::unique_ptr<Station> open(const StationConfig& config, std::string& error);
  ~Station();

  void listen(Listener listener) { listener_ = std::move(listener); }
  tcp::Engine& engine() { return *engine_; }
  const packet::Pools& pools() const { return pools_->pools(); }
  unsigned mbufs_in_use() const { return pools_->in_use(); }

  // Puts the link between engine and port, or takes it away. Packets on it are still delivered.
  void impair(const sim::LinkModel& ours, const sim::LinkModel& kernels);
  void unimpair() { impaired_ = false; }
  // Nothing passes, either way, without a word.
  void cut(bool cut) { cut_ = cut; }
  const sim::Link& link() const { return *link_; }

  // One turn: receives, runs timers, flushes. True when there was something to do.
  bool poll();
  timer::Instant now() const;
  // When poll() must be called at the latest.
  timer::Instant next_deadline() const;
  // For epoll: readable when the port has a frame.
  int descriptor() const;

  void transmit(rte_mbuf* packet, uint32_t path) override;
  // Frames that the port did not take, and drops by reason as text.
  uint64_t not_taken() const { return not_taken_; }
  std::string drops() const;

 private:
  Station() = default;
  void receive(rte_mbuf* frame);
  void input(rte_mbuf* packet);
  void send(rte_mbuf* packet);
  bool run_link();

  StationConfig config_;
  std::unique_ptr<drivers::WorkerPools> pools_;
  std::unique_ptr<drivers::Port> port_;
  std::unique_ptr<sim::Scheduler> scheduler_;
  std::unique_ptr<sim::Link> link_;
  stats::ReasonCounters drops_;
  std::unique_ptr<tcp::Engine> engine_;
  Listener listener_;
  bool impaired_ = false;
  bool cut_ = false;
  uint64_t not_taken_ = 0;
};

}  // namespace isthmus::interop
