// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One connection to the listener: TCP, the handshake by service threads, the record layer, and a
// request in HTTP/1.0 or 1.1 that is answered whatever it asks for. What HBONE's transport does,
// but for HTTP/2.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "packet/chain.h"
#include "tcp/connection.h"
#include "timer/time.h"
#include "tls/executor.h"
#include "tls/session.h"

namespace isthmus::interop {

struct ServedParts {
  tls::HandshakeExecutor& executor;
  tls::RecordLayer& records;
  const packet::Pools& pools;
  tls::IdentityPtr local = nullptr;
  bool request_update = false;  // a KeyUpdate that asks for one goes ahead of each answer
};

class Served final : public tcp::Handler {
 public:
  // ended: called once, when TCP has nothing more to say.
  Served(const ServedParts& parts, uint64_t token, timer::Instant deadline,
         std::function<void()> ended)
      : parts_(parts), token_(token), deadline_(deadline), ended_(std::move(ended)) {}
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  void start(tcp::Connection& connection) { tcp_ = &connection; }
  void on_tcp(tcp::Connection& connection, uint16_t events) override;
  void on_handshake(const tls::HandshakeResult& result);
  // A handshake or a peer that is through with us takes too long.
  void advance(timer::Instant now);

 private:
  enum class State : uint8_t { handshaking, open, closing, gone };

  void feed();
  void establish(const tls::HandshakeResult& result);
  void receive();
  bool take_request();
  void answer();
  void close();
  void send(packet::Chain&& bytes);

  ServedParts parts_;
  const uint64_t token_;
  timer::Instant deadline_;
  std::function<void()> ended_;
  State state_ = State::handshaking;
  bool lingers_ = false;
  tcp::Connection* tcp_ = nullptr;
  tls::HandshakeId handshake_;
  tls::Session session_;
  packet::Chain received_;   // not yet taken by the handshake
  packet::Chain plaintext_;  // not yet read as HTTP
  std::string request_;
};

}  // namespace isthmus::interop
