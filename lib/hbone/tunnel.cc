// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/tunnel.h"

#include <utility>

#include "hbone/transport.h"

namespace isthmus::hbone {
namespace {

// Room for bytes that nobody wants any more.
constexpr uint32_t kDropRoom = 64 * 1024;

}  // namespace

void Tunnel::touch() {
  transport_->engine_->mark_dirty(*transport_);
}

bool Tunnel::accept(std::span<const h2::Field> fields) {
  if (stream_ != nullptr && !transport_->h2_->respond(*stream_, kConnected, fields, false)) {
    return false;
  }
  answered_ = true;
  ++transport_->engine_->stats_.tunnels_opened;
  touch();
  return true;
}

void Tunnel::refuse(uint16_t status, stats::Reason reason) {
  Engine& engine = *transport_->engine_;
  if (reason != stats::Reason::count_) engine.parts_.reasons.count(reason);
  ++engine.stats_.tunnels_refused;
  if (stream_ == nullptr) return;
  if (!transport_->h2_->respond(*stream_, status, {}, true)) {
    transport_->h2_->reset(*stream_, h2::ErrorCode::internal_error);
  }
  touch();
}

tls::IdentityPtr Tunnel::peer() const {
  return transport_->peer_;
}
stats::Refusal Tunnel::transport_ended_for() const {
  const Failure& failure = transport_->failure_;
  if (failure.kind != Failure::Kind::cancelled) return std::nullopt;
  return failure.reason;
}
const packet::Tuple& Tunnel::outer() const {
  return transport_->outer_;
}
uint32_t Tunnel::stream_id() const {
  return stream_ == nullptr ? 0 : stream_->id();
}

uint32_t Tunnel::readable() const {
  return stream_ != nullptr ? stream_->readable() : rest_.size();
}

packet::Chain Tunnel::read(uint32_t max) {
  if (stream_ == nullptr) {
    rte_mempool* clones = transport_->engine_->parts_.pools.clones;
    packet::Chain bytes = rest_.split_front(std::min(max, rest_.size()), clones);
    if (bytes.empty()) bytes = rest_.split_front(rest_.whole_segments(max), clones);
    return bytes;
  }
  packet::Chain bytes = transport_->h2_->read(*stream_, max);
  touch();
  return bytes;
}

bool Tunnel::ended() const {
  return stream_ != nullptr ? stream_->end_received() && stream_->readable() == 0
                            : closed_ && rest_.empty();
}

uint32_t Tunnel::send_room() const {
  if (stopped_) return kDropRoom;
  return stream_ != nullptr ? transport_->h2_->send_room(*stream_) : 0;
}

uint32_t Tunnel::queued() const {
  return stream_ != nullptr ? stream_->queued() : 0;
}

void Tunnel::write(packet::Chain&& bytes) {
  packet::Chain taken = std::move(bytes);
  if (stream_ == nullptr || stopped_) return;
  transport_->h2_->write(*stream_, std::move(taken));
  touch();
}

void Tunnel::shutdown() {
  if (stream_ == nullptr) return;
  transport_->h2_->end(*stream_);
  touch();
}

void Tunnel::abort(relay::Cause) {
  events_ = 0;
  rest_.clear();
  if (stream_ == nullptr) return;
  // RFC 9113 section 8.5. ztunnel takes CANCEL and NO_ERROR for an orderly end.
  const bool open = role_ == h2::Role::server || answered_;
  transport_->h2_->reset(*stream_, open ? h2::ErrorCode::connect_error : h2::ErrorCode::cancel);
  touch();
}

void Tunnel::release() {
  observer_ = nullptr;
  user = nullptr;
  // A tunnel in use that is neither closed nor refused is aborted.
  if (answered_ && !closed_) abort(relay::Cause::cancelled);
  if (stream_ != nullptr) transport_->h2_->release(*std::exchange(stream_, nullptr));
  rest_.clear();
  owned_ = false;
  Engine& engine = *transport_->engine_;
  --transport_->tunnels_;
  touch();
  if (!listed_) engine.give_back(*this);
}

void Tunnel::detach() {
  h2::Connection& h2 = *transport_->h2_;
  uint8_t events = 0;
  if (closed_) {
    rest_ = h2.read(*stream_, stream_->readable());
  } else {
    events = kAborted;
    cause_ = relay::Cause::lost;
  }
  h2.release(*std::exchange(stream_, nullptr));
  if (events != 0) transport_->engine_->tell(*this, events);
}

}  // namespace isthmus::hbone
