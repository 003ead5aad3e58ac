// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What HTTP/2 reports of its streams becomes events of tunnels.
#include <array>

#include "hbone/transport.h"

namespace isthmus::hbone {

using stats::Reason;

namespace {
constexpr uint16_t kUnavailable = 503;
}  // namespace

bool Transport::opens_more() const {
  return state_ == State::open && h2_->can_open() && !leaf_expired();
}

bool Transport::open(const ConnectRequest& request, Tunnel& tunnel) {
  if (!opens_more()) return false;
  std::array<h2::Field, 3> storage;
  h2::Stream* stream = h2_->open(request.authority.view(), request.fields(storage));
  if (stream == nullptr) return false;
  stream->user = &tunnel;
  tunnel.role_ = h2::Role::client;
  tunnel.transport_ = this;
  tunnel.stream_ = stream;
  ++tunnels_;
  engine_->mark_dirty(*this);
  return true;
}

void Transport::on_request(h2::Stream& stream, const h2::Request& request) {
  if (leaf_expired()) {
    // The peer may ask again on a connection whose certificates are good.
    engine_->parts_.reasons.count(Reason::hbone_expired);
    h2_->drain(engine_->now_);
    h2_->reset(stream, h2::ErrorCode::refused_stream);
    h2_->release(stream);
    return;
  }
  Tunnel* tunnel = engine_->take_tunnel();
  if (tunnel == nullptr) {
    engine_->parts_.reasons.count(Reason::hbone_tunnels_full);
    h2_->respond(stream, kUnavailable, {}, true);
    h2_->release(stream);
    return;
  }
  stream.user = tunnel;
  tunnel->role_ = h2::Role::server;
  tunnel->transport_ = this;
  tunnel->stream_ = &stream;
  ++tunnels_;
  Connect connect;
  connect.authority = request.authority;
  connect.baggage = request.find("baggage");
  connect.forwarded = request.find("forwarded");
  connect.traceparent = request.find("traceparent");
  connect.peer = peer_;
  connect.local = local_;
  connect.outer = outer_;
  connect.cookie = cookie_;
  service_->on_connect(*tunnel, connect);
}

void Transport::on_response(h2::Stream& stream, const h2::Response& response) {
  static_cast<Tunnel*>(stream.user)->answer_ = response.status;
  tell(stream, Tunnel::kAnswer);
}

void Transport::tell(h2::Stream& stream, uint8_t events) {
  auto& tunnel = *static_cast<Tunnel*>(stream.user);
  tunnel.transport_->engine_->tell(tunnel, events);
}

void Transport::on_readable(h2::Stream& stream) {
  tell(stream, Tunnel::kReadable);
}

void Transport::on_writable(h2::Stream& stream) {
  tell(stream, Tunnel::kWritable);
}

void Transport::on_end_received(h2::Stream& stream) {
  uint8_t events = Tunnel::kEnded;
  if (stream.end_sent()) {
    static_cast<Tunnel*>(stream.user)->closed_ = true;
    events |= Tunnel::kClosed;
  }
  tell(stream, events);
}

void Transport::on_end_sent(h2::Stream& stream) {
  if (!stream.end_received()) return;
  static_cast<Tunnel*>(stream.user)->closed_ = true;
  tell(stream, Tunnel::kClosed);
}

void Transport::on_reset(h2::Stream& stream, h2::ErrorCode code, bool refused) {
  auto& tunnel = *static_cast<Tunnel*>(stream.user);
  if (tunnel.closed_) return;
  const bool agreed = tunnel.answered_ || tunnel.answer_ == kConnected;
  // Envoy as the server ends a stream with END_STREAM and RST_STREAM(NO_ERROR) at once: an orderly
  // end that takes no more bytes. Whatever else is reset becomes a TCP RST.
  if (code == h2::ErrorCode::no_error && stream.end_received() && agreed) {
    tunnel.stopped_ = true;
    tunnel.closed_ = true;
    tell(stream, Tunnel::kWritable | Tunnel::kClosed);
    return;
  }
  tunnel.reset_code_ = static_cast<uint32_t>(code);
  tunnel.cause_ = refused ? relay::Cause::refused : relay::Cause::reset;
  tell(stream, Tunnel::kAborted);
}

void Transport::on_goaway() {
  // New tunnels go elsewhere; transmit() closes the transport after the last stream.
}

}  // namespace isthmus::hbone
