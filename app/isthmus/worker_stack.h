// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A worker with all that belongs to it alone, from its key memory to its thread.
#pragma once

#include <memory>
#include <vector>

#include "clock.h"
#include "config/config.h"
#include "gateway/worker.h"
#include "handshake_thread.h"
#include "locked_memory.h"
#include "port_io.h"
#include "tls/record.h"
#include "tls/service.h"
#include "worker_thread.h"

namespace isthmus::app {

class WorkerStack {
 public:
  struct Setting {
    unsigned index = 0;
    unsigned workers = 1;
    unsigned lcore = 0;
    const config::Config& config;
    packet::Pools pools;
    const Ports& ports;
    gateway::Handoff& handoff;
    const gateway::Plan* plan;
    const Clock& clock;
    rte_rcu_qsbr* qsbr;
    const std::vector<std::unique_ptr<HandshakeThread>>& handshakes;
  };
  // Throws std::runtime_error.
  explicit WorkerStack(const Setting& setting);

  gateway::Worker& worker() { return *worker_; }
  WorkerThread& thread() { return *thread_; }
  const PortIo& io() const { return io_; }
  const packet::Pools& pools() const { return pools_; }
  const tls::RecordLayer& records() const { return records_; }
  bool keys_locked() const { return keys_.locked(); }

 private:
  std::vector<std::unique_ptr<tls::HandshakeChannel>> make_channels(const Setting& setting);

  packet::Pools pools_;
  Sleeper sleeper_;
  SleeperWaker waker_;
  LockedMemory keys_;
  tls::RecordLayer records_;
  std::vector<std::unique_ptr<tls::HandshakeChannel>> channels_;
  std::unique_ptr<tls::RingExecutor> executor_;
  PortIo io_;
  std::unique_ptr<gateway::Worker> worker_;
  std::unique_ptr<WorkerThread> thread_;
};

}  // namespace isthmus::app
