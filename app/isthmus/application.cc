// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "application.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <thread>
#include <unistd.h>

#include <rte_lcore.h>
#include <rte_malloc.h>

#include "plan_builder.h"

namespace isthmus::app {
namespace {

constexpr int kTickMs = 500;
constexpr unsigned kHandoffPackets = 4096;
constexpr uint64_t kHandoffBytes = 16U << 20;

sigset_t taken_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

std::vector<unsigned> worker_lcores() {
  std::vector<unsigned> lcores;
  unsigned lcore = 0;
  RTE_LCORE_FOREACH_WORKER(lcore) lcores.push_back(lcore);
  return lcores;
}

// What the workers leave of the process's CPUs; all of them where they leave none.
cpu_set_t service_cpus(const Machine& machine, const std::vector<unsigned>& lcores) {
  cpu_set_t cpus = machine.affinity;
  for (const unsigned lcore : lcores) {
    const cpu_set_t worker = rte_lcore_cpuset(lcore);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &worker)) CPU_CLR(cpu, &cpus);
    }
  }
  return CPU_COUNT(&cpus) > 0 ? cpus : machine.affinity;
}

}  // namespace

void block_signals() {
  const sigset_t set = taken_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// A function that is to be called on a worker, and what became of that. Whoever takes it out of
// `posted` has it: the worker runs it, or the control thread has given it up and it never runs.
class Application::Call final : public gateway::Task {
 public:
  explicit Call(std::function<void(gateway::Worker&)> function) : function_(std::move(function)) {}

  void run(gateway::Worker& worker) override {
    State expected = State::posted;
    if (state_.compare_exchange_strong(expected, State::running)) function_(worker);
    state_.store(State::done);
  }
  bool done() const { return state_.load() == State::done; }
  bool give_up() {
    State expected = State::posted;
    return state_.compare_exchange_strong(expected, State::given_up);
  }

 private:
  enum class State { posted, running, given_up, done };
  std::function<void(gateway::Worker&)> function_;
  std::atomic<State> state_{State::posted};
};

Application::Application(const Options& options, Inputs inputs, const CommandTable& commands,
                         const Machine& machine)
    : options_(options),
      commands_(commands),
      startup_(std::move(inputs)),
      inputs_(startup_),
      qsbr_(nullptr, rte_free),
      cleared_drops_(stats::kReasonCount),
      console_(commands, *this, loop_) {
  make_workers(machine);
  const sigset_t set = taken_signals();
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  loop_.add(signals_, EPOLLIN, [this](uint32_t) { on_signal(); });
  if (!inputs_.config.console.socket.empty()) console_.open_socket(inputs_.config.console.socket);
}

Application::~Application() {
  for (const auto& worker : workers_) worker->thread().stop();
  for (const auto& handshakes : handshakes_) handshakes->stop();
  if (access_log_) write_access_log();
  workers_.clear();
  handoff_.reset();
  ports_.reset();
  if (signals_ >= 0) close(signals_);
}

void Application::make_workers(const Machine& machine) {
  const config::Config& config = startup_.config;
  const auto lcores = worker_lcores();
  if (lcores.empty()) {
    throw std::runtime_error(
        "no lcore for a worker: the main lcore never polls. Give two at least, such as -l 0,1; "
        "where gateways share CPUs, --lcores '0@0-1,1@0-1'");
  }
  const auto workers = static_cast<unsigned>(lcores.size());
  const size_t size = rte_rcu_qsbr_get_memsize(workers);
  qsbr_.reset(static_cast<rte_rcu_qsbr*>(rte_zmalloc("qsbr", size, RTE_CACHE_LINE_SIZE)));
  if (qsbr_ == nullptr || rte_rcu_qsbr_init(qsbr_.get(), workers) != 0) {
    throw std::runtime_error("no memory: give more by EAL's -m");
  }
  std::vector<packet::Pools> pools;
  for (unsigned i = 0; i < workers; ++i) {
    std::string error;
    const drivers::PoolSizes sizes{config.pools.small, config.pools.large, config.pools.clones};
    pools_.push_back(drivers::WorkerPools::create(
        fmt::format("w{}", i), sizes, static_cast<int>(rte_lcore_to_socket_id(lcores[i])), error));
    if (pools_.back() == nullptr) throw std::runtime_error("pools: " + error);
    pools.push_back(pools_.back()->pools());
  }
  ports_ = std::make_unique<Ports>(config.ports, pools);
  credentials_.publish(startup_.credentials);
  plan_ = build_plan(startup_, *ports_, names_, identities_);
  handoff_ = std::make_unique<gateway::Handoff>(workers, kHandoffPackets, kHandoffBytes);
  for (unsigned i = 0; i < std::max(config.workers.handshake_threads, 1U); ++i) {
    handshakes_.push_back(std::make_unique<HandshakeThread>(credentials_, identities_));
  }
  if (!config.access_log.file.empty()) {
    access_log_ = std::make_unique<AccessLog>(config.access_log, workers);
  }
  for (unsigned i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<WorkerStack>(
        WorkerStack::Setting{i, workers, lcores[i], config, pools[i], *ports_, *handoff_,
                             plan_.get(), clock_, qsbr_.get(), handshakes_}));
    threads_.push_back(&workers_.back()->thread());
    if (access_log_) workers_.back()->worker().flows().log_to(&access_log_->ring(i));
  }
  const cpu_set_t cpus = service_cpus(machine, lcores);
  for (const auto& handshakes : handshakes_) handshakes->start(cpus);
  for (WorkerThread* thread : threads_) {
    thread->set_peers(threads_);
    if (!thread->launch()) throw std::runtime_error("a worker's lcore does not start");
  }
}

int Application::run() {
  if (!options_.interactive || options_.auto_start) start();
  bool good = true;
  if (!options_.cmdline_file.empty()) {
    good = console_.run_file(options_.cmdline_file, options_.keep_going);
    // Nobody is there to see that the set-up failed.
    if (!good && !options_.keep_going && !options_.interactive) quit();
  }
  if (options_.interactive && !quitting_) console_.open_stdin();
  while (!quitting_) {
    loop_.run_once(kTickMs);
    tick();
  }
  drain();
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

void Application::start() {
  forwarding_ = true;
  for (WorkerThread* thread : threads_) thread->set_forwarding(true);
}

void Application::stop() {
  forwarding_ = false;
  for (WorkerThread* thread : threads_) thread->set_forwarding(false);
}

void Application::on_signal() {
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != SIGHUP) {
      if (quitting_) {  // the second one: at once
        fmt::print(stderr, "isthmus: stopped without draining\n");
        std::_Exit(128 + static_cast<int>(info.ssi_signo));
      }
      quit();
      continue;
    }
    try {
      reload();
      fmt::print(stderr, "isthmus: {}: reloaded\n", options_.config);
    } catch (const std::exception& error) {
      fmt::print(stderr, "isthmus: not reloaded: {}\n", error.what());
    }
  }
}

void Application::reload() {
  Inputs wanted = read_inputs(options_.config, clock_.wall());
  const std::string section = needs_restart(startup_.config, wanted.config);
  if (!section.empty()) {
    throw std::runtime_error(
        fmt::format("{}: '{}' cannot change while the gateway runs", options_.config, section));
  }
  auto plan = build_plan(wanted, *ports_, names_, identities_);
  credentials_.publish(wanted.credentials);
  inputs_ = std::move(wanted);
  publish(std::move(plan));
}

void Application::publish(std::unique_ptr<const gateway::Plan> plan) {
  for (const auto& worker : workers_) {
    worker->worker().publish(plan.get());
    worker->thread().wake();
  }
  // Asked for after the swap: once every worker has been quiescent, none refers to the old plan.
  const uint64_t token = rte_rcu_qsbr_start(qsbr_.get());
  retired_.push_back({std::move(plan_), token});
  plan_ = std::move(plan);
}

void Application::tick() {
  clock_.read_wall();
  free_retired();
  if (access_log_) write_access_log();
  std::erase_if(given_up_, [](const auto& call) { return call->done(); });
}

void Application::write_access_log() {
  access_log_->write(*plan_->mesh, clock_.now(), std::chrono::system_clock::now());
}

void Application::free_retired() {
  // A sleeping worker is quiescent without having taken the new plan up yet: both must hold.
  const bool taken = std::all_of(workers_.begin(), workers_.end(), [this](const auto& worker) {
    return worker->worker().plan_in_use() == plan_.get();
  });
  if (!taken) return;
  std::erase_if(retired_, [this](const Retired& retired) {
    return rte_rcu_qsbr_check(qsbr_.get(), retired.token, false) == 1;
  });
}

void Application::on_worker(WorkerThread& worker, std::function<void(gateway::Worker&)> function) {
  using Steady = std::chrono::steady_clock;
  constexpr std::chrono::microseconds kLook{20};
  const auto end = Steady::now() + std::chrono::seconds(2);
  auto call = std::make_unique<Call>(std::move(function));
  if (!worker.worker().post(call.get())) {
    throw CommandError(fmt::format("worker {} has too many tasks", worker.index()));
  }
  worker.wake();
  // The worker tells nobody, that would be a system call; it answers within a turn.
  while (!call->done()) {
    if (Steady::now() > end && call->give_up()) {
      given_up_.push_back(std::move(call));
      throw CommandError(fmt::format("worker {} does not answer", worker.index()));
    }
    std::this_thread::sleep_for(kLook);
  }
}

// New flows are refused and tunnels say GOAWAY; what is open has its time to end.
void Application::drain() {
  using Steady = std::chrono::steady_clock;
  if (!forwarding_) return;
  const auto end = Steady::now() + std::chrono::seconds(options_.drain_seconds);
  for (WorkerThread* thread : threads_) {
    on_worker(*thread, [](gateway::Worker& worker) { worker.drain(); });
  }
  while (!all_drained() && Steady::now() < end) {
    loop_.run_once(50);
    tick();
  }
  for (WorkerThread* thread : threads_) {
    on_worker(*thread, [](gateway::Worker& worker) { worker.close_all(); });
  }
}

bool Application::all_drained() {
  bool all = true;
  for (WorkerThread* thread : threads_) {
    bool drained = false;
    on_worker(*thread, [&drained](gateway::Worker& worker) { drained = worker.drained(); });
    all = all && drained;
  }
  return all;
}

std::vector<uint64_t> Application::drops() const {
  std::vector<uint64_t> sums(stats::kReasonCount);
  for (const auto& worker : workers_) {
    for (unsigned i = 0; i < stats::kReasonCount; ++i) {
      sums[i] += worker->worker().reasons().get(static_cast<stats::Reason>(i));
    }
  }
  // What devices dropped before a worker saw it.
  for (const auto& port : ports_->list()) {
    sums[static_cast<unsigned>(stats::Reason::gateway_device_missed)] += port.device->missed();
  }
  for (unsigned i = 0; i < stats::kReasonCount; ++i) sums[i] -= cleared_drops_[i];
  return sums;
}

void Application::clear_drops() {
  const auto since = drops();
  for (unsigned i = 0; i < stats::kReasonCount; ++i) cleared_drops_[i] += since[i];
}

}  // namespace isthmus::app
