// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/engine.h"

#include <algorithm>
#include <utility>

#include "hbone/pool.h"
#include "hbone/transport.h"

namespace isthmus::hbone {
namespace {

// Bounds of one call; what is left is done in the next.
constexpr unsigned kHandshakeResults = 64;
constexpr unsigned kExpirations = 256;
constexpr unsigned kRounds = 4;
constexpr unsigned kWaysMade = 16;
constexpr unsigned kStrangersLookedAt = 64;
// Places that are short are looked after so often.
constexpr timer::Duration kLookAgain = std::chrono::milliseconds(1);

}  // namespace

struct Engine::Handshakes final : tls::HandshakeHandler {
  explicit Handshakes(Engine& owner) : engine(owner) {}

  void on_handshake(const tls::HandshakeResult& result) override {
    Transport& transport = engine.transports_[static_cast<uint32_t>(result.token)];
    const auto generation = static_cast<uint32_t>(result.token >> 32);
    if (transport.generation_ != generation || transport.handshake_ != result.id) return;
    transport.on_handshake(result);
  }

  Engine& engine;
};

Engine::Engine(const EngineOptions& options, const EngineParts& parts, timer::Instant now)
    : options_(options),
      parts_(parts),
      h2_({.streams = options.tunnels,
           .hpack_bytes = options.hpack_bytes,
           .receive_budget = options.receive_budget,
           .send_budget = options.send_budget},
          parts.pools, parts.reasons),
      handshake_rate_(options.handshakes_per_second),
      wheel_(now, options.transports),
      now_(now),
      transports_(std::make_unique<Transport[]>(options.transports)),
      tunnels_(std::make_unique<Tunnel[]>(options.tunnels)) {
  for (uint32_t i = options.transports; i-- > 0;) {
    Transport& transport = transports_[i];
    transport.engine_ = this;
    transport.index_ = i;
    transport.timer_.transport = &transport;
    transport.next_ = std::exchange(free_transports_, &transport);
  }
  for (uint32_t i = options.tunnels; i-- > 0;) {
    tunnels_[i].next_ = std::exchange(free_tunnels_, &tunnels_[i]);
  }
}

Engine::~Engine() {
  for (uint32_t i = 0; i < options_.transports; ++i) {
    Transport& transport = transports_[i];
    wheel_.cancel(transport.timer_);
    if (transport.handshake_.valid()) parts_.executor.abandon(transport.handshake_);
    transport.abort_tcp();
    transport.h2_.reset();
  }
}

bool Engine::accept(tcp::Connection& connection, const Inbound& inbound, Service& service,
                    timer::Instant now) {
  now_ = now;
  Transport* transport = draining_ ? nullptr : take_transport();
  if (transport == nullptr) {
    parts_.reasons.count(stats::Reason::hbone_transports_full);
    return false;
  }
  ++stats_.accepted;
  transport->start_server(connection, inbound, service);
  return true;
}

void Engine::advance(timer::Instant now, tls::WallTime wall) {
  now_ = now;
  wall_ = wall;
  Handshakes handshakes(*this);
  parts_.executor.poll(handshakes, kHandshakeResults);
  wheel_.advance(now, kExpirations, [](timer::Wheel::Entry& entry) {
    static_cast<Transport::Timer&>(entry).transport->on_timer();
  });
  if (pool_ != nullptr) pool_->advance(now);
  const unsigned spare = spare_transports();
  const unsigned wanted = reserve() > spare ? reserve() - spare : 0;
  for (unsigned i = 0; i < std::min(wanted, kWaysMade) && make_way(); ++i) {
  }
}

void Engine::flush(timer::Instant now) {
  now_ = now;
  // What one side's owner does makes work for another: a few rounds settle nearly everything.
  for (unsigned round = 0; round < kRounds && busy(); ++round) {
    tell_owners();
    if (pool_ != nullptr) pool_->tell();
    Transport* transport = std::exchange(dirty_first_, nullptr);
    dirty_last_ = nullptr;
    while (transport != nullptr) {
      Transport& each = *transport;
      transport = std::exchange(each.next_, nullptr);
      each.dirty_ = false;
      if (each.finished()) {
        each.finalize();
      } else {
        each.work();
      }
    }
  }
}

bool Engine::busy() const {
  return dirty_first_ != nullptr || told_first_ != nullptr ||
         (pool_ != nullptr && pool_->has_news());
}

timer::Instant Engine::next_deadline() const {
  if (busy()) return now_;
  const timer::Instant pool = pool_ != nullptr ? pool_->next_deadline() : timer::kNever;
  return std::min({wheel_.next_deadline(), pool, patience_ends()});
}

void Engine::drain(timer::Instant now) {
  now_ = now;
  draining_ = true;
  for (uint32_t i = 0; i < options_.transports; ++i) transports_[i].drain();
}

void Engine::visit_all(Visit visit, void* context) {
  for (uint32_t i = 0; i < options_.transports; ++i) {
    Transport& transport = transports_[i];
    if (transport.in_use()) visit(context, transport, transport.info());
  }
}

uint32_t Engine::review_peers(uint32_t& next, uint32_t limit) {
  const uint32_t first = next;
  next = first + std::min(limit, options_.transports - first);
  for (uint32_t i = first; i < next; ++i) {
    Transport& transport = transports_[i];
    const tls::Failure objection = transport.objection_to_peer();
    if (objection != tls::Failure::none) transport.end(tls::reason_of(objection));
  }
  return next - first;
}

void Engine::end(Transport& transport, stats::Reason reason) {
  transport.end(reason);
}

unsigned Engine::transports() const {
  return transports_in_use_;
}
unsigned Engine::tunnels() const {
  return tunnels_in_use_;
}
h2::Usage Engine::usage() const {
  return h2_.usage();
}
const EngineStats& Engine::stats() const {
  return stats_;
}

h2::Options Engine::h2_options(h2::Role role) const {
  h2::Options options;
  options.role = role;
  options.max_streams = options_.max_streams;
  options.stream_window = options_.stream_window;
  options.connection_window = options_.connection_window;
  options.send_queue = options_.send_queue;
  options.non_connect_status = options_.profile == Profile::istio_1_18 ? 404 : 400;
  options.ping_after = options_.ping_after;
  options.ping_timeout = options_.ping_timeout;
  return options;
}

// -- strangers -----------------------------------------------------------------------------------

void Engine::await_proof(Transport& transport) {
  transport.unproven_ = true;
  transport.younger_ = nullptr;
  transport.older_ = unproven_last_;
  (unproven_last_ == nullptr ? unproven_first_ : unproven_last_->younger_) = &transport;
  unproven_last_ = &transport;
}

void Engine::await_no_more(Transport& transport) {
  if (!transport.unproven_) return;
  transport.unproven_ = false;
  Transport* older = transport.older_;
  Transport* younger = transport.younger_;
  (older == nullptr ? unproven_first_ : older->younger_) = younger;
  (younger == nullptr ? unproven_last_ : younger->older_) = older;
}

timer::Instant Engine::patience_ends() const {
  if (unproven_first_ == nullptr || spare_transports() >= reserve()) return timer::kNever;
  return std::max(unproven_first_->accepted_at() + kPatience, now_ + kLookAgain);
}

template <typename Suits>
bool Engine::make_way_by(Suits&& suits) {
  Transport* each = unproven_first_;
  for (unsigned i = 0; i < kStrangersLookedAt && each != nullptr; ++i, each = each->younger_) {
    if (each->accepted_at() + kPatience > now_) return false;
    if (!each->awaits_peer_since(now_ - kPatience) || !suits(*each)) continue;
    each->give_way();
    return true;
  }
  return false;
}

bool Engine::make_way() {
  return make_way_by([](const Transport&) { return true; });
}

bool Engine::make_way_for_handshake(const uint64_t* workload) {
  return make_way_by([workload](const Transport& each) {
    return each.handshake_.valid() && (workload == nullptr || each.workload_ == *workload);
  });
}

// -- slots ---------------------------------------------------------------------------------------

Transport* Engine::take_transport() {
  Transport* transport = free_transports_;
  if (transport == nullptr) return nullptr;
  free_transports_ = std::exchange(transport->next_, nullptr);
  ++transports_in_use_;
  return transport;
}

void Engine::give_back(Transport& transport) {
  transport.reset();
  transport.next_ = std::exchange(free_transports_, &transport);
  --transports_in_use_;
}

Tunnel* Engine::take_tunnel() {
  Tunnel* tunnel = free_tunnels_;
  if (tunnel == nullptr) return nullptr;
  free_tunnels_ = std::exchange(tunnel->next_, nullptr);
  tunnel->owned_ = true;
  ++tunnels_in_use_;
  return tunnel;
}

void Engine::give_back(Tunnel& tunnel) {
  tunnel.~Tunnel();
  new (&tunnel) Tunnel();
  tunnel.next_ = std::exchange(free_tunnels_, &tunnel);
  --tunnels_in_use_;
}

// -- events --------------------------------------------------------------------------------------

void Engine::mark_dirty(Transport& transport) {
  if (transport.dirty_) return;
  transport.dirty_ = true;
  transport.next_ = nullptr;
  (dirty_last_ == nullptr ? dirty_first_ : dirty_last_->next_) = &transport;
  dirty_last_ = &transport;
}

void Engine::tell(Tunnel& tunnel, uint8_t events) {
  tunnel.events_ |= events;
  if (tunnel.listed_) return;
  tunnel.listed_ = true;
  tunnel.next_ = nullptr;
  (told_last_ == nullptr ? told_first_ : told_last_->next_) = &tunnel;
  told_last_ = &tunnel;
}

void Engine::tell_owners() {
  Tunnel* tunnel = std::exchange(told_first_, nullptr);
  told_last_ = nullptr;
  while (tunnel != nullptr) {
    Tunnel& each = *tunnel;
    tunnel = std::exchange(each.next_, nullptr);
    // Listed until its owner has heard everything, so that a release() leaves the slot to us.
    const uint8_t events = std::exchange(each.events_, 0);
    if (each.owned_) deliver(each, events);
    each.listed_ = false;
    if (!each.owned_) {
      give_back(each);
    } else if (each.events_ != 0) {
      tell(each, 0);
    }
  }
}

void Engine::deliver(Tunnel& tunnel, uint8_t events) {
  if (!tunnel.answered_) {
    if (tunnel.role_ == h2::Role::server) {
      if ((events & Tunnel::kAborted) != 0) {
        tunnel.transport_->service_->on_connect_cancelled(tunnel, tunnel.cause_);
      }
      return;
    }
    Pool& pool = *pool_;  // which opened it. NOLINT(clang-analyzer-core.NullDereference)
    if ((events & Tunnel::kAnswer) != 0) {
      pool.on_answer(tunnel);
    } else if ((events & Tunnel::kAborted) != 0) {
      pool.on_reset(tunnel);
    }
    if (!tunnel.answered_) return;
  }
  const auto observed = [&](uint8_t event) {
    return (events & event) != 0 && tunnel.observer_ != nullptr;
  };
  if (observed(Tunnel::kReadable)) tunnel.observer_->on_readable(tunnel);
  if (observed(Tunnel::kEnded)) tunnel.observer_->on_ended(tunnel);
  if (observed(Tunnel::kWritable)) tunnel.observer_->on_writable(tunnel);
  if (observed(Tunnel::kClosed)) tunnel.observer_->on_closed(tunnel);
  if (observed(Tunnel::kAborted)) tunnel.observer_->on_aborted(tunnel, tunnel.cause_);
}

}  // namespace isthmus::hbone
