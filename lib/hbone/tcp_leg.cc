// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/tcp_leg.h"

#include <utility>

namespace isthmus::hbone {
namespace {

relay::Cause cause_of(tcp::Failure failure) {
  switch (failure) {
    case tcp::Failure::refused:
      return relay::Cause::refused;
    case tcp::Failure::timed_out:
      return relay::Cause::timed_out;
    case tcp::Failure::unreachable:
      return relay::Cause::lost;
    case tcp::Failure::no_memory:
      return relay::Cause::no_memory;
    default:
      return relay::Cause::reset;
  }
}

}  // namespace

void TcpLeg::attach(tcp::Connection& connection) {
  connection_ = &connection;
  closed_ = false;
  connection.set_handler(this);
}

uint32_t TcpLeg::readable() const {
  return connection_ != nullptr ? connection_->receive_available() : 0;
}

packet::Chain TcpLeg::read(uint32_t max) {
  return connection_ != nullptr ? connection_->receive(max) : packet::Chain();
}

bool TcpLeg::ended() const {
  if (connection_ == nullptr) return closed_;
  return connection_->peer_closed() && connection_->receive_available() == 0;
}

uint32_t TcpLeg::send_room() const {
  return connection_ != nullptr ? connection_->send_room() : 0;
}

uint32_t TcpLeg::queued() const {
  return connection_ != nullptr ? connection_->send_queued() : 0;
}

void TcpLeg::write(packet::Chain&& bytes) {
  packet::Chain taken = std::move(bytes);
  if (connection_ != nullptr) connection_->send(std::move(taken));
}

void TcpLeg::shutdown() {
  if (connection_ != nullptr) connection_->shutdown();
}

void TcpLeg::abort(relay::Cause) {
  tcp::Connection* connection = std::exchange(connection_, nullptr);
  if (connection == nullptr) return;
  if (connection->held()) {
    connection->refuse();
  } else {
    connection->abort();
  }
}

void TcpLeg::release() {
  observer_ = nullptr;
  abort(relay::Cause::cancelled);
}

void TcpLeg::on_tcp(tcp::Connection& connection, uint16_t events) {
  const bool closed = (events & tcp::kClosed) != 0;
  const bool failed = (events & tcp::kFailed) != 0;
  if (closed || failed) connection_ = nullptr;
  closed_ = closed;
  if (observer_ != nullptr && failed) {
    observer_->on_aborted(*this, cause_of(connection.failure()));
    return;
  }
  // An observer may leave in any of its calls.
  if (observer_ != nullptr && (events & tcp::kReadable) != 0) observer_->on_readable(*this);
  if (observer_ != nullptr && (events & tcp::kPeerClosed) != 0) observer_->on_ended(*this);
  if (observer_ != nullptr && (events & (tcp::kWritable | tcp::kConnected)) != 0) {
    observer_->on_writable(*this);
  }
  if (observer_ != nullptr && closed) observer_->on_closed(*this);
}

}  // namespace isthmus::hbone
