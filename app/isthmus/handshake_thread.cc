// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "handshake_thread.h"

#include <chrono>
#include <pthread.h>

namespace isthmus::app {
namespace {

constexpr unsigned kStepsPerRound = 16;

tls::WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

}  // namespace

void HandshakeThread::serve(tls::HandshakeChannel& channel) {
  channel.wake_service = &waker_;
  service_.serve(channel);
}

void HandshakeThread::start(const cpu_set_t& cpus) {
  stopping_.store(false);
  thread_ = std::thread([this] { run(); });
  pthread_setaffinity_np(thread_.native_handle(), sizeof cpus, &cpus);
  pthread_setname_np(thread_.native_handle(), "handshakes");
}

void HandshakeThread::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  sleeper_.wake();
  thread_.join();
}

void HandshakeThread::run() {
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (service_.run_once(wall_now(), kStepsPerRound) != 0) continue;
    sleeper_.announce();
    if (!service_.requests_empty() || stopping_.load(std::memory_order_relaxed)) {
      sleeper_.cancel();
    } else {
      sleeper_.block(kLongestSleep);
    }
  }
}

}  // namespace isthmus::app
