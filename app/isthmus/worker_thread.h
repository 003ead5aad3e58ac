// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The loop that drives one gateway::Worker on one lcore: the clock, cycle accounting, quiescence,
// and sleep when there is nothing to do.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include <rte_rcu_qsbr.h>

#include "clock.h"
#include "gateway/handoff.h"
#include "gateway/worker.h"
#include "port_io.h"
#include "sleeper.h"
#include "tls/service.h"

namespace isthmus::app {

// Written by the worker only, read by others with relaxed loads.
struct alignas(64) WorkerCycles {
  std::atomic<uint64_t> iterations{0};
  std::atomic<uint64_t> busy{0};   // cycles of iterations that found work
  std::atomic<uint64_t> idle{0};   // cycles of iterations that found none
  std::atomic<uint64_t> sleep{0};  // cycles asleep
  std::atomic<uint64_t> sleeps{0};
};

class WorkerThread {
 public:
  struct Settings {
    bool adaptive = true;
    timer::Duration idle_after{100};  // without work before it sleeps
  };

  // What the loop drives; all of it outlives the thread.
  struct Parts {
    gateway::Worker& worker;
    PortIo& io;
    gateway::Handoff& handoff;
    const tls::RingExecutor& executor;
    Sleeper& sleeper;
    const Clock& clock;
    rte_rcu_qsbr* qsbr;  // one for all workers; a worker's index is its thread id in it
  };

  WorkerThread(unsigned index, unsigned lcore, const Parts& parts, const Settings& settings);
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // All of them, before any is launched: a worker rings the one to which it handed packets.
  void set_peers(std::span<WorkerThread* const> peers) { peers_ = peers; }
  bool launch();  // on its lcore
  void stop();    // asks the loop to end and waits for it

  void wake() { parts_.sleeper.wake(); }
  void set_forwarding(bool on);

  unsigned index() const { return index_; }
  unsigned lcore() const { return lcore_; }
  gateway::Worker& worker() { return parts_.worker; }
  PortIo& io() { return parts_.io; }
  const WorkerCycles& cycles() const { return cycles_; }

 private:
  static int main(void* self);
  void loop();
  void wake_peers();
  bool has_pending() const;
  void sleep(timer::Instant now);

  const unsigned index_;
  const unsigned lcore_;
  const Parts parts_;
  const Settings settings_;
  std::span<WorkerThread* const> peers_;
  std::atomic<bool> stopping_{false};
  timer::Duration nap_;
  WorkerCycles cycles_;
};

}  // namespace isthmus::app
