// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How an idle worker sleeps and is woken. A producer makes its work visible (enqueues it, publishes
// it) and calls wake(); the sleeper announces itself, looks at every source once more, and only
// then blocks. A full fence on both sides means that one of the two sees the other.
#pragma once

#include <atomic>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::app {

// A thread with nothing to wait for still shows signs of life.
inline constexpr timer::Duration kLongestSleep{1'000'000};

class Sleeper {
 public:
  Sleeper();  // throws std::runtime_error
  ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  // Control threads. A descriptor that becomes readable when a port has a frame.
  bool watch(int fd);
  void unwatch(int fd);
  // Whether the watched descriptors wake; they don't while forwarding is stopped, or a frame that
  // nobody takes would wake for ever.
  void set_watching(bool on);

  // Any thread, after its work is visible. A system call only when the worker sleeps.
  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_relaxed)) ring();
  }
  bool sleeping() const { return sleeping_.load(std::memory_order_relaxed); }

  // The worker: announce(), then look at every source, then block() or cancel().
  void announce() {
    sleeping_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  void cancel() { sleeping_.store(false, std::memory_order_relaxed); }
  // Returns when woken, when a watched descriptor is readable, or after that time.
  void block(timer::Duration at_most);

 private:
  void ring();

  std::atomic<bool> sleeping_{false};
  int event_;  // eventfd
  int ports_;  // epoll over the watched descriptors
  int epoll_;  // over event_ and, while watching, ports_
  bool watching_ = false;
};

}  // namespace isthmus::app
