// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The running gateway: devices, workers, service threads, and the control thread, which is the main
// thread and the only one that calls anything here.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "access_log.h"
#include "clock.h"
#include "command_table.h"
#include "console.h"
#include "drivers/pools.h"
#include "eal.h"
#include "event_loop.h"
#include "gateway/handoff.h"
#include "gateway/plan.h"
#include "gateway/worker.h"
#include "handshake_thread.h"
#include "inputs.h"
#include "locked_memory.h"
#include "mesh/interner.h"
#include "options.h"
#include "port_io.h"
#include "ports.h"
#include "worker_stack.h"

namespace isthmus::app {

class Application {
 public:
  // After EAL has started; machine is as it was before that. Throws std::runtime_error.
  Application(const Options& options, Inputs inputs, const CommandTable& commands,
              const Machine& machine);
  ~Application();
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  // Until quit() and the drain behind it. Returns the process's exit status.
  int run();

  // For commands.
  bool forwarding() const { return forwarding_; }
  void start();
  void stop();
  void quit() { quitting_ = true; }
  bool quitting() const { return quitting_; }
  // Reads the files again; throws std::runtime_error and changes nothing when they are wrong.
  void reload();
  bool run_file(const std::string& path) { return console_.run_file(path, options_.keep_going); }
  // Calls the function on the worker, between two bursts, and waits for it. It must be short, and
  // must not allocate. Throws CommandError when the worker does not get to it.
  void on_worker(WorkerThread& worker, std::function<void(gateway::Worker&)> function);

  const CommandTable& commands() const { return commands_; }
  std::span<const std::unique_ptr<WorkerStack>> workers() const { return workers_; }
  const gateway::Plan& plan() const { return *plan_; }
  const config::Config& config() const { return inputs_.config; }
  Ports& ports() { return *ports_; }
  const Clock& clock() const { return clock_; }
  // Counts of dropped and refused, by stats::Reason, of all workers and
  // devices since they were cleared.
  std::vector<uint64_t> drops() const;
  void clear_drops();

 private:
  class Call;
  struct Retired {
    std::unique_ptr<const gateway::Plan> plan;
    uint64_t token;  // of rte_rcu_qsbr
  };

  void make_workers(const Machine& machine);
  void on_signal();
  void publish(std::unique_ptr<const gateway::Plan> plan);
  void tick();
  void free_retired();
  void write_access_log();
  void drain();
  bool all_drained();

  const Options options_;
  const CommandTable& commands_;
  const Inputs startup_;  // what the ports were opened by
  Inputs inputs_;         // what holds now
  Clock clock_;
  mesh::Names names_;
  tls::IdentityTable identities_;
  tls::CredentialSource credentials_;
  std::unique_ptr<rte_rcu_qsbr, void (*)(void*)> qsbr_;
  std::vector<std::unique_ptr<drivers::WorkerPools>> pools_;
  std::unique_ptr<Ports> ports_;
  std::unique_ptr<const gateway::Plan> plan_;
  std::vector<Retired> retired_;
  std::unique_ptr<gateway::Handoff> handoff_;
  std::unique_ptr<AccessLog> access_log_;  // null: none
  std::vector<std::unique_ptr<HandshakeThread>> handshakes_;
  std::vector<std::unique_ptr<WorkerStack>> workers_;
  std::vector<WorkerThread*> threads_;  // of workers_, for the workers to ring one another
  std::vector<std::unique_ptr<Call>> given_up_;
  std::vector<uint64_t> cleared_drops_;
  bool forwarding_ = false;
  bool quitting_ = false;
  int signals_ = -1;  // signalfd
  EventLoop loop_;
  Console console_;
};

// Blocks the signals that the application takes by signalfd, in this thread and all that it will
// start. Before EAL starts.
void block_signals();

}  // namespace isthmus::app
