// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "worker_thread.h"

#include <algorithm>

#include <rte_launch.h>
#include <rte_pause.h>

namespace isthmus::app {
namespace {

// Ports without a descriptor are looked at so often while the worker sleeps.
constexpr timer::Duration kFirstNap{50};
constexpr timer::Duration kLongestNap{4000};

void add(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

WorkerThread::WorkerThread(unsigned index, unsigned lcore, const Parts& parts,
                           const Settings& settings)
    : index_(index), lcore_(lcore), parts_(parts), settings_(settings), nap_(kFirstNap) {}

bool WorkerThread::launch() {
  stopping_.store(false);
  return rte_rcu_qsbr_thread_register(parts_.qsbr, index_) == 0 &&
         rte_eal_remote_launch(&WorkerThread::main, this, lcore_) == 0;
}

void WorkerThread::stop() {
  stopping_.store(true);
  wake();
  rte_eal_wait_lcore(lcore_);
  rte_rcu_qsbr_thread_unregister(parts_.qsbr, index_);
}

void WorkerThread::set_forwarding(bool on) {
  parts_.io.set_receiving(on);
  parts_.sleeper.set_watching(on);
  wake();
}

int WorkerThread::main(void* self) {
  static_cast<WorkerThread*>(self)->loop();
  return 0;
}

void WorkerThread::loop() {
  rte_rcu_qsbr_thread_online(parts_.qsbr, index_);
  uint64_t start = rte_rdtsc();
  timer::Instant last_work = parts_.clock.at(start);
  while (!stopping_.load(std::memory_order_relaxed)) {
    const timer::Instant now = parts_.clock.at(start);
    const unsigned work = parts_.worker.poll(now, parts_.clock.wall());
    rte_rcu_qsbr_quiescent(parts_.qsbr, index_);
    const uint64_t end = rte_rdtsc();
    add(cycles_.iterations, 1);
    add(work != 0 ? cycles_.busy : cycles_.idle, end - start);
    start = end;
    if (work != 0) {
      last_work = now;
      nap_ = kFirstNap;
      wake_peers();
    } else if (settings_.adaptive && now - last_work >= settings_.idle_after) {
      sleep(now);
      start = rte_rdtsc();
      add(cycles_.sleep, start - end);
    }
  }
  rte_rcu_qsbr_thread_offline(parts_.qsbr, index_);
}

// Packets that this worker handed over lie in a ring; whoever sleeps there must be told.
void WorkerThread::wake_peers() {
  if (peers_.size() < 2) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (WorkerThread* peer : peers_) {
    if (peer != this && peer->parts_.sleeper.sleeping() && parts_.handoff.pending(peer->index_))
      peer->wake();
  }
}

bool WorkerThread::has_pending() const {
  return parts_.worker.has_pending() || parts_.handoff.pending(index_) ||
         !parts_.executor.results_empty() || stopping_.load(std::memory_order_relaxed);
}

void WorkerThread::sleep(timer::Instant now) {
  parts_.sleeper.announce();
  if (has_pending()) {
    parts_.sleeper.cancel();
    return;
  }
  timer::Duration longest = kLongestSleep;
  if (parts_.io.must_poll()) {
    longest = nap_;
    nap_ = std::min(nap_ * 2, kLongestNap);
  }
  const timer::Instant deadline = parts_.worker.next_deadline();
  if (deadline < now + longest) longest = deadline > now ? deadline - now : timer::Duration(0);
  rte_rcu_qsbr_thread_offline(parts_.qsbr, index_);
  parts_.sleeper.block(longest);
  rte_rcu_qsbr_thread_online(parts_.qsbr, index_);
  add(cycles_.sleeps, 1);
}

}  // namespace isthmus::app
