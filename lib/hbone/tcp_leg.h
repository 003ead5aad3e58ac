// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A TCP connection as a leg of a relayed flow.
#pragma once

#include <cstdint>

#include "relay/leg.h"
#include "tcp/connection.h"

namespace isthmus::hbone {

class TcpLeg final : public relay::Leg, private tcp::Handler {
 public:
  TcpLeg() = default;
  TcpLeg(const TcpLeg&) = delete;
  TcpLeg& operator=(const TcpLeg&) = delete;

  // Becomes the connection's handler: in any state, a held accept included. Once per release().
  void attach(tcp::Connection& connection);
  // Null when there is none (any more).
  tcp::Connection* connection() const { return connection_; }

  uint32_t readable() const override;
  packet::Chain read(uint32_t max) override;
  bool ended() const override;
  uint32_t send_room() const override;
  uint32_t queued() const override;
  void write(packet::Chain&& bytes) override;
  void shutdown() override;
  // A held accept is refused: the client sees RST.
  void abort(relay::Cause cause) override;
  void release() override;

 private:
  void on_tcp(tcp::Connection& connection, uint16_t events) override;

  tcp::Connection* connection_ = nullptr;
  bool closed_ = false;  // TCP has finished in order, every byte was read
};

}  // namespace isthmus::hbone
