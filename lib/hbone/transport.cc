// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/transport.h"

#include <algorithm>
#include <utility>

namespace isthmus::hbone {
namespace {

using stats::Reason;

// When a mempool was empty, work is tried again after this.
constexpr timer::Duration kRetry = std::chrono::milliseconds(1);
// Taken from TCP at once.
constexpr uint32_t kReceivePiece = 256 * 1024;

Failure tcp_failure(tcp::Failure failure) {
  using Kind = Failure::Kind;
  switch (failure) {
    case tcp::Failure::refused:
      return {Kind::tcp_refused, 0, true, Reason::hbone_tcp_refused};
    case tcp::Failure::timed_out:
      return {Kind::tcp_timed_out, 0, true, Reason::hbone_tcp_timed_out};
    default:
      return {Kind::tcp_lost, 0, true, Reason::hbone_tcp_lost};
  }
}

Failure tls_failure(const tls::FailureInfo& info) {
  const bool identity = info.failure == tls::Failure::wrong_identity ||
                        info.failure == tls::Failure::wrong_trust_domain;
  return {identity ? Failure::Kind::identity : Failure::Kind::tls,
          static_cast<uint32_t>(info.failure), true, tls::reason_of(info.failure)};
}

}  // namespace

void Transport::start_server(tcp::Connection& connection, const Inbound& inbound,
                             Service& service) {
  state_ = State::connecting;
  role_ = h2::Role::server;
  tcp_ = &connection;
  local_ = inbound.local;
  workload_ = inbound.workload;
  cookie_ = inbound.cookie;
  service_ = &service;
  outer_ = {connection.remote(), connection.local()};
  deadline_ = engine_->now_ + engine_->options_.handshake_timeout;
  connection.set_handler(this);
  connection.set_short_queue(true);
  waits_since_ = engine_->now_;
  engine_->await_proof(*this);
  arm();
}

void Transport::attach(tcp::Connection& connection, uint64_t cookie) {
  tcp_ = &connection;
  cookie_ = cookie;
  connection.set_short_queue(true);
}

void Transport::start_client(const PoolKey& key, uint64_t workload) {
  state_ = State::connecting;
  role_ = h2::Role::client;
  local_ = key.source;
  workload_ = workload;
  key_ = key;
  outer_ = {{key.source_address, 0}, key.destination};
  deadline_ = engine_->now_ + engine_->options_.handshake_timeout;
  arm();
}

TransportInfo Transport::info() const {
  return {role_,
          outer_,
          local_,
          peer_,
          workload_,
          h2_ ? static_cast<unsigned>(h2_->streams().size()) : 0,
          state_ == State::open,
          h2_ && h2_->draining(),
          expires_};
}

bool Transport::leaf_expired() const {
  return expires_ <= engine_->wall_;
}

// -- TCP -----------------------------------------------------------------------------------------

void Transport::on_tcp(tcp::Connection& connection, uint16_t events) {
  if ((events & tcp::kPeerClosed) != 0) peer_gone_ = true;
  if ((events & tcp::kFailed) != 0) {
    tcp_ = nullptr;
    return fail(tcp_failure(connection.failure()));
  }
  if ((events & tcp::kConnected) != 0 && state_ == State::connecting) {
    if (role_ == h2::Role::client) outer_ = {connection.local(), connection.remote()};
    state_ = State::handshaking;
    // A server waits for the first bytes: a silent peer takes no place in the executor.
    if (role_ == h2::Role::client) begin_handshake();
  }
  if ((events & tcp::kClosed) != 0) {
    tcp_ = nullptr;
    if (state_ != State::closing) {
      return fail({Failure::Kind::tcp_lost, 0, true, Reason::hbone_truncated});
    }
    return retire();
  }
  // What is sent is chosen by flush(), once in a turn, when tunnels' owners have answered what has
  // come: their few bytes shall not wait for a turn of others' bulk.
  if (state_ == State::open) {
    if ((events & (tcp::kReadable | tcp::kPeerClosed)) != 0) receive();
    return engine_->mark_dirty(*this);
  }
  work();
}

void Transport::work() {
  if (state_ == State::handshaking) feed_handshake();
  if (state_ == State::open) receive();
  if (state_ == State::open) transmit();
  // Answers that blocked the peer's frames have made room; those that TCP can't take hold them up.
  if (state_ == State::open && !plaintext_.empty() && !retry_ && !h2_->blocked()) {
    engine_->mark_dirty(*this);
  }
  if (state_ == State::closing && tcp_ != nullptr) tcp_->receive();
}

// -- TLS -----------------------------------------------------------------------------------------

// Each role has its own: whoever connects to a pod does not keep it from connecting to others.
uint64_t Transport::handshake_account() const {
  constexpr uint64_t kDials = uint64_t{1} << 63;
  return role_ == h2::Role::client ? workload_ ^ kDials : workload_;
}

void Transport::begin_handshake() {
  if (!rated_ && !engine_->handshake_rate_.take(handshake_account(), engine_->now_)) {
    return fail({Failure::Kind::full, 0, false, Reason::hbone_workload_handshakes});
  }
  rated_ = true;
  tls::HandshakeRequest request;
  request.role = role_ == h2::Role::client ? tls::Role::client : tls::Role::server;
  request.local = local_;
  const auto* last = std::find(key_.destinations.begin(), key_.destinations.end(), nullptr);
  if (role_ == h2::Role::client) request.expected = {key_.destinations.begin(), last};
  request.workload = handshake_account();
  request.token = uint64_t{generation_} << 32 | index_;
  const tls::StartStatus status = engine_->parts_.executor.start(request, handshake_);
  if (status == tls::StartStatus::ok) return;
  handshake_ = {};
  // A place is free as soon as the executor has let go of what made way.
  const bool any = status == tls::StartStatus::full;
  const bool waits = (any || role_ == h2::Role::server) &&
                     engine_->make_way_for_handshake(any ? nullptr : &workload_);
  if (!waits) return fail({Failure::Kind::full, 0, true, tls::reason_of(status)});
  retry_ = true;
  arm();
}

void Transport::feed_handshake() {
  if (!handshake_.valid() && retry_) return;  // for a place of the executor
  if (role_ == h2::Role::client && !handshake_.valid()) return begin_handshake();
  if (ciphertext_.empty()) ciphertext_ = tcp_->receive(kReceivePiece);
  if (ciphertext_.empty()) {
    if (peer_gone_) fail({Failure::Kind::tcp_lost, 0, true, Reason::hbone_truncated});
    return;
  }
  if (!handshake_.valid()) begin_handshake();
  if (handshake_.valid() && engine_->parts_.executor.feed(handshake_, ciphertext_) != 0) {
    with_executor_ = true;
  }
}

void Transport::on_handshake(const tls::HandshakeResult& result) {
  with_executor_ = false;
  packet::Chain flight;
  if (!result.to_send.empty()) {
    if (!flight.append_copy(result.to_send, engine_->parts_.pools.small)) {
      if (result.state == tls::HandshakeState::in_progress) {
        engine_->parts_.executor.abandon(handshake_);
      }
      handshake_ = {};
      return fail({Failure::Kind::full, 0, true, Reason::packet_no_buffer});
    }
    tcp_->send(std::move(flight));
    waits_since_ = engine_->now_;
  }
  switch (result.state) {
    case tls::HandshakeState::in_progress:
      return feed_handshake();
    case tls::HandshakeState::established:
      return establish(result);
    case tls::HandshakeState::failed:
      handshake_ = {};
      return fail(tls_failure(result.failure));
  }
}

void Transport::establish(const tls::HandshakeResult& result) {
  handshake_ = {};
  const tls::Established& established = *result.established;
  if (!session_.start(engine_->parts_.records, established.secrets)) {
    return fail({Failure::Kind::full, 0, true, Reason::tls_no_keys});
  }
  peer_ = established.peer;
  peer_chain_ = established.peer_chain;
  // The handshake may have begun before what we trust now.
  if (const tls::Failure objection = objection_to_peer(); objection != tls::Failure::none) {
    // No failure of the session's, so close() would say goodbye as if all were well.
    packet::Chain alert;
    session_.send_alert(tls::alert_of(objection), alert);
    if (!alert.empty()) tcp_->send(std::move(alert));
    return fail(tls_failure({objection, tls::alert_of(objection)}));
  }
  expires_ = std::min(established.own_not_after, established.peer_not_after);
  h2_.emplace(engine_->h2_, engine_->h2_options(role_), static_cast<h2::Handler&>(*this));
  if (!h2_->start(engine_->now_)) {
    h2_.reset();
    return fail({Failure::Kind::full, 0, true, Reason::h2_no_hpack_memory});
  }
  state_ = State::open;
  engine_->await_no_more(*this);
  deadline_ = timer::kNever;
  idle_since_ = engine_->now_;
  ++engine_->stats_.established;
  // What came behind the handshake: first what the executor had, then what it did not take.
  packet::Chain behind;
  if (!behind.append_copy(established.leftover, engine_->parts_.pools.small)) {
    return fail({Failure::Kind::full, 0, true, Reason::packet_no_buffer});
  }
  behind.append(std::move(ciphertext_));
  ciphertext_ = std::move(behind);
  if (role_ == h2::Role::server) {
    if (const auto refused = service_->on_proven(cookie_)) return end(*refused);
  }
  if (engine_->draining_) h2_->drain(engine_->now_);
  if (role_ == h2::Role::client) engine_->pool_->on_open(*this);
  engine_->mark_dirty(*this);
}

// -- bytes up ------------------------------------------------------------------------------------

void Transport::receive() {
  // Streams bound what HTTP/2 keeps; as long as it takes everything, so do we.
  while (state_ == State::open && receive_h2()) {
    // Readers hold it up; TCP's window closes next. Anybody's reading may end that.
    if (h2_->overfull()) {
      retry_ = true;
      break;
    }
    packet::Chain taken =
        ciphertext_.empty() ? tcp_->receive(kReceivePiece) : std::move(ciphertext_);
    // Without new bytes there may still be whole records that found no buffer before, or an end
    // that waited for HTTP/2 to take what was in front of it.
    const bool nothing = taken.empty();
    const tls::OpenStatus status = session_.open(std::move(taken), plaintext_);
    if (status == tls::OpenStatus::need_more) {
      if (!nothing || !plaintext_.empty()) continue;
      // A FIN without close_notify may have been cut off by anybody.
      if (peer_gone_) fail({Failure::Kind::tcp_lost, 0, true, Reason::hbone_truncated});
      break;
    }
    if (status == tls::OpenStatus::no_buffer) {
      retry_ = true;
      break;
    }
    if (!receive_h2()) break;
    if (status == tls::OpenStatus::error) {
      fail(tls_failure(session_.failure()));
    } else {
      close();
    }
    break;
  }
  arm();
}

// False when HTTP/2 does not take everything.
bool Transport::receive_h2() {
  if (plaintext_.empty()) return true;
  h2_->set_round_trip(tcp_->round_trip());
  switch (h2_->receive(plaintext_, engine_->now_)) {
    case h2::ReceiveStatus::ok:
      // The peer's SETTINGS may be what they wait for.
      if (first_waiter_ != nullptr && h2_->peer_ready()) engine_->pool_->on_open(*this);
      return true;
    case h2::ReceiveStatus::blocked:
      return false;  // its answers go first: work() goes on when they have
    case h2::ReceiveStatus::no_buffer:
      retry_ = true;
      return false;
    case h2::ReceiveStatus::closed:
      break;
  }
  fail({Failure::Kind::protocol, static_cast<uint32_t>(h2_->error()), true, h2_->reason()});
  return false;
}

// -- bytes down ----------------------------------------------------------------------------------

void Transport::transmit() {
  packet::Chain sealed;
  tls::SealStatus status = tls::SealStatus::ok;
  const uint32_t room = tcp_->send_room();
  while (status == tls::SealStatus::ok && room > sealed.size()) {
    if (!h2_->prepare(session_.max_plaintext())) {
      retry_ = retry_ || h2_->starved();
      break;
    }
    status = seal(sealed);
  }
  if (status == tls::SealStatus::ok && session_.wants_flush()) status = session_.flush(sealed);
  if (!sealed.empty()) tcp_->send(std::move(sealed));
  if (status == tls::SealStatus::no_buffer) retry_ = true;
  if (status == tls::SealStatus::key_exhausted) {
    return fail({Failure::Kind::tls, static_cast<uint32_t>(tls::Failure::key_exhausted), true,
                 Reason::tls_key_exhausted});
  }
  if (h2_->drained()) return close();
  arm();
}

// One piece of HTTP/2 as one record, or more where the peer takes small ones only.
tls::SealStatus Transport::seal(packet::Chain& out) {
  packet::Chain& payload = h2_->payload();
  tls::SealStatus status = tls::SealStatus::ok;
  do {
    const std::span<const uint8_t> head = h2_->head();
    const auto room = static_cast<uint32_t>(session_.max_plaintext() - head.size());
    status = session_.seal(head, payload, std::min(room, payload.size()), out);
    if (status != tls::SealStatus::ok) break;
    h2_->head_sent();
  } while (!payload.empty());
  return status;
}

// -- the end -------------------------------------------------------------------------------------

void Transport::drain() {
  if (state_ != State::open) return;
  h2_->drain(engine_->now_);
  engine_->mark_dirty(*this);
}

timer::Instant Transport::accepted_at() const {
  return deadline_ - engine_->options_.handshake_timeout;
}

tls::Failure Transport::objection_to_peer() const {
  if (engine_->trust_ == nullptr) return tls::Failure::none;
  const tls::Role role = role_ == h2::Role::client ? tls::Role::client : tls::Role::server;
  return engine_->trust_->objection(role, peer_chain_, peer_);
}

void Transport::give_way() {
  abort_tcp();
  fail({Failure::Kind::tcp_timed_out, 0, true, Reason::hbone_made_way});
}

void Transport::end(Reason reason) {
  if (state_ == State::idle || state_ == State::dead || state_ == State::closing) return;
  if (h2_) {
    h2_->close(h2::ErrorCode::no_error, reason);
  } else {
    engine_->parts_.reasons.count(reason);
  }
  fail({Failure::Kind::cancelled, 0, true, reason});
}

void Transport::fail(const Failure& failure) {
  if (state_ == State::closing) {
    if (tcp_ == nullptr) retire();
    return;
  }
  if (state_ == State::dead) return;
  failure_ = failure;
  ++engine_->stats_.failed;
  // HTTP/2 counts its own reasons, and end() what it was given.
  if (failure.kind != Failure::Kind::protocol && failure.kind != Failure::Kind::cancelled) {
    engine_->parts_.reasons.count(failure.reason);
  }
  close();
}

// In order: what HTTP/2 still has to say, close_notify or the alert, FIN.
void Transport::close() {
  state_ = State::closing;
  engine_->await_no_more(*this);
  if (tcp_ != nullptr) {
    packet::Chain sealed;
    if (session_.started()) say_goodbye(sealed);
    if (!sealed.empty()) tcp_->send(std::move(sealed));
    tcp_->shutdown();
    tcp_->receive();
  }
  ciphertext_.clear();
  plaintext_.clear();
  if (handshake_.valid()) engine_->parts_.executor.abandon(std::exchange(handshake_, {}));
  stop_tunnels();
  if (role_ == h2::Role::client) {
    using Kind = Failure::Kind;
    const Failure in_order = {Kind::tcp_lost, 0, true, Reason::hbone_closed_by_peer};
    engine_->pool_->on_dead(*this, failure_.kind == Kind::none ? in_order : failure_);
  }
  deadline_ = engine_->now_ + engine_->options_.linger;
  if (tcp_ == nullptr) return retire();
  arm();
}

void Transport::say_goodbye(packet::Chain& out) {
  if (h2_ && (h2_->closed() || h2_->drained())) {
    while (h2_->prepare(session_.max_plaintext()) && seal(out) == tls::SealStatus::ok) {
    }
  }
  const tls::FailureInfo& broken = session_.failure();
  if (broken.failure == tls::Failure::none || broken.failure == tls::Failure::peer_alert) {
    session_.send_close_notify(out);
  } else {
    session_.send_alert(broken.alert, out);
  }
}

void Transport::abort_tcp() {
  if (tcp_ != nullptr) std::exchange(tcp_, nullptr)->abort();
}

// Those that have not finished are lost.
void Transport::stop_tunnels() {
  if (!h2_) return;
  for (size_t i = h2_->streams().size(); i-- > 0;) {
    h2::Stream& stream = *h2_->streams()[i];
    if (stream.user != nullptr) static_cast<Tunnel*>(stream.user)->detach();
  }
}

void Transport::retire() {
  state_ = State::dead;
  engine_->wheel_.cancel(timer_);
  // The owner is told by the next flush(), after the last tunnel's release.
  engine_->mark_dirty(*this);
}

void Transport::finalize() {
  const Failure failure = failure_;
  Service* service = service_;
  const uint64_t cookie = cookie_;
  engine_->give_back(*this);
  if (service == nullptr) return engine_->pool_->on_gone(cookie);
  service->on_inbound_ended(cookie, failure);
}

void Transport::reset() {
  engine_->wheel_.cancel(timer_);
  h2_.reset();
  session_.stop();
  ciphertext_.clear();
  plaintext_.clear();
  state_ = State::idle;
  ++generation_;
  tcp_ = nullptr;
  peer_gone_ = retry_ = rated_ = with_executor_ = false;
  deadline_ = idle_since_ = timer::kNever;
  local_ = peer_ = nullptr;
  peer_chain_ = {};
  expires_ = {};
  service_ = nullptr;
  key_ = {};
  bucket_next_ = nullptr;
  failure_ = {};
}

// -- time ----------------------------------------------------------------------------------------

void Transport::arm() {
  timer::Instant first = deadline_;
  if (retry_) first = std::min(first, engine_->now_ + kRetry);
  if (state_ == State::open) {
    first = std::min(first, h2_->deadline());
    if (role_ == h2::Role::server || !h2_->streams().empty()) {
      idle_since_ = timer::kNever;
    } else {
      if (idle_since_ == timer::kNever) idle_since_ = engine_->now_;
      first = std::min(first, idle_since_ + engine_->options_.idle_release);
    }
  }
  engine_->wheel_.arm(timer_, first);
}

void Transport::on_timer() {
  const timer::Instant now = engine_->now_;
  retry_ = false;
  if (now >= deadline_) {
    // An orderly end waits for what the peer has not acknowledged; TCP's own limits bound that.
    if (state_ == State::closing && failure_.kind == Failure::Kind::none && tcp_ != nullptr &&
        tcp_->send_queued() != 0) {
      deadline_ = now + engine_->options_.linger;
      return arm();
    }
    abort_tcp();
    return fail({Failure::Kind::tcp_timed_out, 0, true, Reason::hbone_handshake_timeout});
  }
  if (state_ == State::open) {
    h2_->advance(now);
    if (h2_->closed()) {
      return fail(
          {Failure::Kind::protocol, static_cast<uint32_t>(h2_->error()), true, h2_->reason()});
    }
    if (idle_since_ != timer::kNever && now >= idle_since_ + engine_->options_.idle_release) {
      h2_->drain(now);
    }
  }
  engine_->mark_dirty(*this);
  arm();
}

}  // namespace isthmus::hbone
