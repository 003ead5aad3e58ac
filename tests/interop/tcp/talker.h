// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The user of one connection: sends, takes, echoes or asks, and says at the end what it saw.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <vector>

#include "packet/chain.h"
#include "packet/pools.h"
#include "tcp/connection.h"
#include "timer/time.h"

namespace isthmus::interop {

using Json = nlohmann::ordered_json;

// What to do with a connection. Every talker takes what comes, unless it is told to wait.
struct Part {
  uint64_t send = 0;     // bytes of the pattern, then FIN
  bool echo = false;     // gives back what it takes; FIN after the peer's
  uint32_t request = 0;  // sends so many, awaits as many, rounds times; then FIN
  uint64_t rounds = 0;
  bool wait_for_fin = false;       // FIN not before the peer's
  bool keep_open = false;          // no FIN until told
  uint64_t abort_at = UINT64_MAX;  // RST once so many bytes were taken
  bool stalled = false;            // takes nothing until told
  bool digest = true;              // SHA-256 of both streams
};

class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void add(const void* bytes, size_t n);
  std::string hex();

 private:
  EVP_MD_CTX* context_;
};

class Talker final : public tcp::Handler {
 public:
  // now: the time; ended: told once, after the connection's last event.
  Talker(const Part& part, const packet::Pools& pools, std::function<timer::Instant()> now,
         std::function<void(Talker&)> ended);

  void start(tcp::Connection& connection) { connection_ = &connection; }
  void on_tcp(tcp::Connection& connection, uint16_t events) override;

  tcp::Connection* connection() const { return connection_; }
  bool ended() const { return ended_; }
  tcp::Failure failure() const { return failure_; }
  // Orders from outside.
  void resume();
  void shutdown();
  void abort();

  // What there is to say, of a living connection or at its end.
  Json report();

 private:
  void take();
  void write();
  void next_request();
  packet::Chain pattern(uint64_t offset, uint32_t n);
  void end(tcp::Failure failure);
  bool finished_sending() const;

  Part part_;
  const packet::Pools& pools_;
  std::function<timer::Instant()> now_;
  std::function<void(Talker&)> on_end_;
  tcp::Connection* connection_ = nullptr;
  tcp::Info last_;
  bool connected_ = false;
  bool peer_closed_ = false;
  bool shut_ = false;
  bool ended_ = false;
  bool aborted_ = false;
  tcp::Failure failure_ = tcp::Failure::none;
  uint64_t sent_ = 0;
  uint64_t taken_ = 0;
  uint64_t round_ = 0;
  timer::Instant asked_at_{};
  timer::Instant started_{};
  timer::Instant ended_at_{};
  std::vector<uint32_t> latencies_;
  Digest sent_digest_;
  Digest taken_digest_;
};

// As `show` prints it.
Json json_of(const tcp::Info& info);

}  // namespace isthmus::interop
