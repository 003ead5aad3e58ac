// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A service thread for TLS handshakes, asleep while there are none. A handshake takes about a
// millisecond, so it runs on none of the workers' threads.
#pragma once

#include <atomic>
#include <sched.h>
#include <thread>

#include "sleeper.h"
#include "tls/service.h"

namespace isthmus::app {

// Lets the tls room ring a sleeper, that of a worker or of a service thread.
class SleeperWaker final : public tls::Waker {
 public:
  explicit SleeperWaker(Sleeper& sleeper) : sleeper_(sleeper) {}
  void wake() override { sleeper_.wake(); }

 private:
  Sleeper& sleeper_;
};

class HandshakeThread {
 public:
  // Both outlive the thread.
  HandshakeThread(tls::CredentialSource& credentials, tls::IdentityTable& identities)
      : service_(credentials, identities), waker_(sleeper_) {}
  ~HandshakeThread() { stop(); }
  HandshakeThread(const HandshakeThread&) = delete;
  HandshakeThread& operator=(const HandshakeThread&) = delete;

  // Before start(); the channel outlives the thread.
  void serve(tls::HandshakeChannel& channel);
  void start(const cpu_set_t& cpus);  // where it may run
  void stop();

 private:
  void run();

  tls::HandshakeService service_;
  Sleeper sleeper_;
  SleeperWaker waker_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace isthmus::app
