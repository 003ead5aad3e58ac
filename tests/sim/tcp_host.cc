// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/tcp_host.h"

#include <algorithm>
#include <fmt/format.h>

#include "packet/parse.h"

namespace isthmus::sim {

void User::start(tcp::Connection& connection) {
  connection_ = &connection;
}

void User::on_tcp(tcp::Connection& connection, uint16_t events) {
  connection_ = &connection;
  if (over_) error_ = "an event after the last one";
  if ((events & tcp::kConnected) != 0) connected_ = true;
  if ((events & tcp::kPeerClosed) != 0) peer_closed_ = true;
  if ((events & (tcp::kClosed | tcp::kFailed)) != 0) {
    check(connection.receive());
    failure_ = connection.failure();
    over_ = true;
    connection_ = nullptr;
    return;
  }
  pump(true);
}

void User::pump(bool may_read) {
  if (over_) return;
  if (may_read) take();
  if (!over_ && connected_) write();
}

void User::write() {
  while (sent_ < behaviour_.bytes) {
    const uint32_t room = connection_->send_room();
    const auto n = static_cast<uint32_t>(
        std::min<uint64_t>({room, behaviour_.chunk, behaviour_.bytes - sent_}));
    // Little room is not worth a call, but a little rest is.
    if (n == 0 || (n < behaviour_.chunk && n < behaviour_.bytes - sent_ && room < 512)) return;
    std::vector<uint8_t> bytes(n);
    for (uint32_t i = 0; i < n && behaviour_.content; ++i) {
      bytes[i] = stream_byte(sends_, sent_ + i);
    }
    packet::Chain chain;
    if (!chain.append_copy(bytes, n > packet::kSmallRoom ? pools_.large : pools_.small)) return;
    sent_ += n;
    connection_->send(std::move(chain));
  }
  if (!shut_ && (!behaviour_.close_after_peer || peer_closed_)) {
    shut_ = true;
    connection_->shutdown();
  }
}

void User::take() {
  if (reading_later_ || stalled_) return;
  while (connection_->receive_available() != 0) {
    packet::Chain bytes = connection_->receive(behaviour_.read);
    if (bytes.empty()) break;
    check(bytes);
    if (taken_ >= behaviour_.abort_at) {
      aborted_ = over_ = true;
      connection_->abort();
      connection_ = nullptr;
      return;
    }
    timer::Duration pause = behaviour_.read_pause;
    if (taken_ >= behaviour_.stall_at) {
      behaviour_.stall_at = UINT64_MAX;
      pause = behaviour_.stall_for;
    }
    if (pause != timer::Duration()) {
      reading_later_ = true;
      scheduler_.after(pause, [this] {
        reading_later_ = false;
        pump(true);
        poke_();
      });
      return;
    }
  }
}

void User::check(const packet::Chain& bytes) {
  if (!behaviour_.content) {
    taken_ += bytes.size();
    return;
  }
  std::vector<uint8_t> copy(bytes.size());
  bytes.copy_out(0, copy);
  for (const uint8_t byte : copy) {
    if (byte != stream_byte(expects_, taken_) && error_.empty()) {
      error_ = fmt::format("stream {}: wrong byte at {}", expects_, taken_);
    }
    ++taken_;
  }
}

Host::Host(Scheduler& scheduler, Link& link, int side, const packet::Pools& pools,
           const tcp::Config& config, const tcp::Secrets& secrets)
    : scheduler_(scheduler),
      link_(link),
      side_(side),
      pools_(pools),
      config_(config),
      secrets_(secrets),
      waker_(scheduler, [this] { poll(); }) {
  make_engine();
  link.attach(side, [this](rte_mbuf* packet) { receive(packet); });
}

void Host::make_engine() {
  engine_ = std::make_unique<tcp::Engine>(config_, pools_, static_cast<tcp::Output&>(*this), drops_,
                                          secrets_, scheduler_.now());
}

bool Host::move_to_new_engine(User& user, std::string& error) {
  const timer::Instant now = scheduler_.now();
  if (user.connection() == nullptr || engine_->time_waits() != 0) return false;
  const size_t size = engine_->export_connection(*user.connection(), {}, now);
  if (size == 0) return false;
  std::vector<uint8_t> bytes(size);
  if (engine_->export_connection(*user.connection(), bytes, now) != size) {
    error = "the size of an exported connection changed";
  }
  make_engine();
  tcp::Connection* connection = engine_->import_connection(bytes, &user, now);
  if (connection == nullptr) {
    error = "an exported connection was not imported";
    return true;
  }
  user.start(*connection);
  std::vector<uint8_t> again(size);
  if (engine_->export_connection(*connection, again, now) != size) {
    error = "an imported connection is exported as something else";
  }
  poll();
  return true;
}

void Host::transmit(rte_mbuf* packet, uint32_t /*path*/) {
  link_.send(side_, packet);
}

void Host::receive(rte_mbuf* packet) {
  packet::Parsed parsed;
  if (const auto reason = packet::parse(packet, parsed)) {
    drops_.count(*reason);
    rte_pktmbuf_free(packet);
    return;
  }
  const bool tcp = parsed.protocol == packet::kProtoTcp && !parsed.is_fragment;
  if (!tcp || !engine_->input(parsed, scheduler_.now())) {
    if (tcp && (!listener_ || listener_(parsed) == nullptr)) {
      engine_->send_reset(parsed, 0, scheduler_.now());
    }
    rte_pktmbuf_free(packet);
  }
  poll();
}

void Host::poll() {
  engine_->advance(scheduler_.now());
  engine_->flush(scheduler_.now());
  waker_.set(engine_->next_deadline());
}

}  // namespace isthmus::sim
