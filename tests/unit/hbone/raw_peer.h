// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A peer that speaks TCP and TLS as it should and HTTP/2 as it pleases, on the client's node.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "nodes.h"
#include "tls/handshake.h"
#include "tls/session.h"

namespace isthmus::hbone::test {

using Bytes = std::vector<uint8_t>;

// A frame with its payload.
Bytes frame(uint8_t type, uint8_t flags, uint32_t stream, const Bytes& payload = {});
Bytes operator+(Bytes left, const Bytes& right);

class RawPeer final : public tcp::Handler {
 public:
  // Client: connects to the server's 15008. Server: takes a connection that accept() gave.
  RawPeer(Node& node, tls::Role role);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;
  void connect(timer::Instant now);
  void take(tcp::Connection& connection) { connection_ = &connection; }
  void send(const Bytes& plaintext);
  void send_raw(std::string_view bytes);
  bool secure() const { return session_.started(); }

  void on_tcp(tcp::Connection& connection, uint16_t events) override;

  Bytes heard;  // plaintext
  bool finished = false;
  bool failed = false;
  bool plain = false;   // no TLS at all
  bool stalls = false;  // sends its first flight and then nothing

 private:
  void step(std::span<const uint8_t> bytes);

  Node& node_;
  tls::Role role_;
  std::unique_ptr<tls::Handshake> handshake_;
  tls::Session session_;
  tcp::Connection* connection_ = nullptr;
};

}  // namespace isthmus::hbone::test
