// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "served.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace isthmus::interop {
namespace {

// A connection that we have closed waits so long for its peer.
constexpr timer::Duration kLinger = std::chrono::seconds(5);
constexpr size_t kLongestRequest = 1u << 20;
constexpr std::string_view kBody = "Isthmus\n";
constexpr std::string_view kAnswer =
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
    "Isthmus\n";
static_assert(kAnswer.ends_with(kBody) && kBody.size() == 8);

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

Served::~Served() {
  if (handshake_.valid()) parts_.executor.abandon(handshake_);
  if (tcp_ != nullptr) tcp_->abort();
}

void Served::on_tcp(tcp::Connection& connection, uint16_t events) {
  tcp_ = &connection;
  if ((events & tcp::kReadable) != 0) received_.append(connection.receive());
  if ((events & (tcp::kFailed | tcp::kClosed)) != 0) {
    tcp_ = nullptr;
    state_ = State::gone;
    return ended_();
  }
  if (state_ == State::handshaking) feed();
  if (state_ == State::open) receive();
  // A peer that goes without close_notify has cut something off: nobody is left to be told.
  if ((events & tcp::kPeerClosed) != 0) close();
  if (state_ == State::closing) received_.clear();
}

void Served::feed() {
  if (received_.empty()) return;
  if (!handshake_.valid()) {
    tls::HandshakeRequest request;
    request.local = parts_.local;
    request.token = token_;
    if (parts_.executor.start(request, handshake_) != tls::StartStatus::ok) return close();
  }
  parts_.executor.feed(handshake_, received_);
}

void Served::on_handshake(const tls::HandshakeResult& result) {
  if (result.id != handshake_) return;
  if (!result.to_send.empty()) {
    packet::Chain flight;
    if (flight.append_copy(result.to_send, parts_.pools.small)) send(std::move(flight));
  }
  if (result.state == tls::HandshakeState::in_progress) return feed();
  handshake_ = {};
  if (result.state == tls::HandshakeState::failed) return close();
  establish(result);
}

void Served::establish(const tls::HandshakeResult& result) {
  const tls::Established& established = *result.established;
  packet::Chain first;
  if (!session_.start(parts_.records, established.secrets) ||
      !first.append_copy(established.leftover, parts_.pools.small)) {
    return close();
  }
  first.append(std::move(received_));
  received_ = std::move(first);
  state_ = State::open;
  receive();
}

void Served::receive() {
  const tls::OpenStatus status = session_.open(std::move(received_), plaintext_);
  const bool complete = take_request();
  if (status == tls::OpenStatus::error) {
    packet::Chain alert;
    if (session_.failure().failure != tls::Failure::peer_alert) {
      session_.send_alert(session_.failure().alert, alert);
    }
    send(std::move(alert));
    return close();
  }
  packet::Chain update;
  if (session_.wants_flush()) session_.flush(update);
  send(std::move(update));
  if (complete) return answer();
  if (status == tls::OpenStatus::closed) close();
}

// True when a whole request is there.
bool Served::take_request() {
  std::vector<uint8_t> bytes(plaintext_.size());
  plaintext_.copy_out(0, bytes);
  plaintext_.clear();
  request_.append(bytes.begin(), bytes.end());
  if (request_.size() > kLongestRequest) close();
  return request_.find("\r\n\r\n") != std::string::npos ||
         request_.find("\n\n") != std::string::npos;
}

void Served::answer() {
  packet::Chain out;
  if (parts_.request_update) session_.update_key(true, out);
  session_.seal(bytes_of(kAnswer), out);
  send(std::move(out));
  close();
}

// In order: close_notify, unless an alert has been sent or there are no keys, then FIN.
void Served::close() {
  if (state_ == State::closing || state_ == State::gone) return;
  state_ = State::closing;
  if (handshake_.valid()) parts_.executor.abandon(std::exchange(handshake_, {}));
  packet::Chain notify;
  if (session_.started()) session_.send_close_notify(notify);
  send(std::move(notify));
  received_.clear();
  if (tcp_ != nullptr) tcp_->shutdown();
}

void Served::send(packet::Chain&& bytes) {
  packet::Chain taken = std::move(bytes);
  if (tcp_ != nullptr && !taken.empty()) tcp_->send(std::move(taken));
}

void Served::advance(timer::Instant now) {
  if (state_ == State::closing && !lingers_) {
    lingers_ = true;
    deadline_ = std::min(deadline_, now + kLinger);
  }
  if (now < deadline_ || state_ == State::gone) return;
  if (tcp_ != nullptr) std::exchange(tcp_, nullptr)->abort();
  state_ = State::gone;
  ended_();
}

}  // namespace isthmus::interop
