// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/pool.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "hbone/transport.h"
#include "hbone/waiter.h"

namespace isthmus::hbone {
namespace {

using Kind = Failure::Kind;
using stats::Reason;

constexpr unsigned kExpiredWaiters = 256;  // of waiters in one call

// splitmix64's finalizer over the words of a key.
uint64_t mix(uint64_t seed, uint64_t word) {
  uint64_t x = seed + word + 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t mix(uint64_t seed, const packet::IpAddress& address) {
  uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  return mix(mix(seed, words[0]), words[1]);
}

uint64_t hash(const PoolKey& key) {
  uint64_t value = mix(0, reinterpret_cast<uintptr_t>(key.source));
  for (tls::IdentityPtr identity : key.destinations) {
    value = mix(value, reinterpret_cast<uintptr_t>(identity));
  }
  value = mix(mix(value, key.destination.address), key.destination.port);
  return mix(value, key.source_address);
}

// What a peer's answer says about another try: a refusal by policy is final.
Failure http_failure(uint16_t status) {
  constexpr uint16_t kServerErrors = 500;
  return {Kind::http, status, status >= kServerErrors, Reason::hbone_refused_by_peer};
}

}  // namespace

bool PoolKey::set_destinations(std::span<const tls::IdentityPtr> identities) {
  if (identities.empty() || identities.size() > destinations.size()) return false;
  destinations = {};
  std::copy(identities.begin(), identities.end(), destinations.begin());
  std::sort(destinations.begin(), destinations.begin() + identities.size());
  return true;
}

Pool::Pool(Engine& engine, const PoolOptions& options, Dialer& dialer)
    : engine_(engine),
      options_(options),
      dialer_(dialer),
      wheel_(engine.now_, options.waiters),
      waiters_(std::make_unique<Waiter[]>(options.waiters)),
      buckets_(std::bit_ceil(std::max<size_t>(engine.options_.transports, 2))) {
  for (uint32_t i = options.waiters; i-- > 0;) {
    waiters_[i].index = i;
    waiters_[i].next = std::exchange(free_, &waiters_[i]);
  }
  engine_.pool_ = this;
}

Pool::~Pool() {
  for (uint32_t i = 0; i < options_.waiters; ++i) wheel_.cancel(waiters_[i]);
  engine_.pool_ = nullptr;
}

// -- requests ------------------------------------------------------------------------------------

Ticket Pool::open(const PoolKey& key, const ConnectRequest& request, uint64_t workload,
                  OpenHandler& handler, uint64_t cookie, timer::Instant now) {
  engine_.now_ = now;
  Waiter* waiter = free_;
  if (waiter == nullptr) {
    engine_.parts_.reasons.count(Reason::hbone_waiters_full);
    return {};
  }
  free_ = std::exchange(waiter->next, nullptr);
  ++in_use_;
  waiter->key = key;
  waiter->request = request;
  waiter->workload = workload;
  waiter->handler = &handler;
  waiter->cookie = cookie;
  wheel_.arm(*waiter, now + options_.answer_timeout);
  place(*waiter);
  return {waiter->index, waiter->generation};
}

void Pool::cancel(Ticket ticket) {
  if (!ticket.valid()) return;
  Waiter& waiter = waiters_[ticket.slot];
  if (waiter.generation == ticket.generation) give_back(waiter);
}

// Asks on a pooled transport, or waits for one that is being dialled.
void Pool::place(Waiter& waiter) {
  Transport* dialling = nullptr;
  Transport* usable = find_usable(waiter, dialling);
  if (usable != nullptr) {
    if (!ask(waiter, *usable)) {
      fail(waiter, {Kind::full, 0, false, Reason::hbone_tunnels_full});
    }
    return;
  }
  if (dialling == nullptr) dialling = dial(waiter);
  if (dialling == nullptr) return;
  waiter.transport = dialling;
  WaiterList{dialling->first_waiter_, dialling->last_waiter_}.push(waiter);
}

Transport* Pool::find_usable(const Waiter& waiter, Transport*& dialling) {
  Transport* transport = buckets_[hash(waiter.key) & (buckets_.size() - 1)];
  for (; transport != nullptr; transport = transport->bucket_next_) {
    if (!(transport->key_ == waiter.key) || transport == waiter.refused_by) continue;
    // Whoever was refused once asks within the limit that the peer's SETTINGS say.
    const bool unknown = waiter.refused_by != nullptr && !transport->peer_ready();
    if (transport->opens_more() && !unknown) return transport;
    if (transport->dialling() || (transport->opens_more() && unknown)) dialling = transport;
  }
  return nullptr;
}

// Null when it cannot be tried: the request has failed.
Transport* Pool::dial(Waiter& waiter) {
  Transport* transport = engine_.draining_ ? nullptr : engine_.take_transport();
  if (transport == nullptr) {
    engine_.parts_.reasons.count(Reason::hbone_transports_full);
    fail(waiter, {Kind::full, 0, false, Reason::hbone_transports_full});
    return nullptr;
  }
  transport->start_client(waiter.key, waiter.workload);
  const Dialled dialled =
      dialer_.dial(waiter.key, transport->handler(), options_.connect_timeout, engine_.now_);
  if (dialled.connection == nullptr) {
    engine_.give_back(*transport);
    engine_.parts_.reasons.count(dialled.why);
    fail(waiter, {Kind::no_route, 0, false, dialled.why});
    return nullptr;
  }
  transport->attach(*dialled.connection, dialled.cookie);
  ++engine_.stats_.dialled;
  Transport*& bucket = buckets_[hash(waiter.key) & (buckets_.size() - 1)];
  transport->bucket_next_ = std::exchange(bucket, transport);
  return transport;
}

bool Pool::ask(Waiter& waiter, Transport& transport) {
  Tunnel* tunnel = engine_.take_tunnel();
  if (tunnel == nullptr) {
    engine_.parts_.reasons.count(Reason::hbone_tunnels_full);
    return false;
  }
  if (!transport.open(waiter.request, *tunnel)) {
    engine_.give_back(*tunnel);
    return false;
  }
  waiter.transport = nullptr;
  waiter.tunnel = tunnel;
  tunnel->waiter_ = &waiter;
  return true;
}

// Its handler is told by the next flush().
void Pool::fail(Waiter& waiter, const Failure& failure) {
  unlink(waiter);
  wheel_.cancel(waiter);
  ++engine_.stats_.tunnels_refused;
  waiter.failure = failure;
  waiter.failed = true;
  WaiterList{failed_first_, failed_last_}.push(waiter);
}

void Pool::unlink(Waiter& waiter) {
  if (waiter.transport != nullptr) {
    Transport& transport = *std::exchange(waiter.transport, nullptr);
    WaiterList{transport.first_waiter_, transport.last_waiter_}.remove(waiter);
  }
  if (waiter.failed) WaiterList{failed_first_, failed_last_}.remove(waiter);
  if (Tunnel* tunnel = std::exchange(waiter.tunnel, nullptr); tunnel != nullptr) {
    tunnel->waiter_ = nullptr;
    tunnel->release();
  }
}

void Pool::give_back(Waiter& waiter) {
  unlink(waiter);
  wheel_.cancel(waiter);
  waiter.failed = false;
  waiter.refused_by = nullptr;
  waiter.handler = nullptr;
  ++waiter.generation;
  waiter.next = std::exchange(free_, &waiter);
  --in_use_;
}

// -- news ----------------------------------------------------------------------------------------

void Pool::on_open(Transport& transport) {
  WaiterList waiters{transport.first_waiter_, transport.last_waiter_};
  // Some may go on waiting here, behind those.
  const Waiter* last = transport.last_waiter_;
  for (bool more = last != nullptr; more;) {
    more = transport.first_waiter_ != last;
    // Another connection would show the same certificates.
    if (transport.leaf_expired()) {
      engine_.parts_.reasons.count(Reason::hbone_expired);
      fail(*transport.first_waiter_, {Kind::tls, 0, true, Reason::hbone_expired});
      continue;
    }
    Waiter& waiter = *transport.first_waiter_;
    waiters.remove(waiter);
    waiter.transport = nullptr;
    place(waiter);
  }
}

void Pool::on_dead(Transport& transport, const Failure& failure) {
  Transport** at = &buckets_[hash(transport.key_) & (buckets_.size() - 1)];
  while (*at != nullptr && *at != &transport) at = &(*at)->bucket_next_;
  if (*at != nullptr) *at = transport.bucket_next_;
  while (transport.first_waiter_ != nullptr) fail(*transport.first_waiter_, failure);
}

void Pool::on_answer(Tunnel& tunnel) {
  auto& waiter = *static_cast<Waiter*>(tunnel.waiter_);
  if (tunnel.answer_ != kConnected) {
    engine_.parts_.reasons.count(Reason::hbone_refused_by_peer);
    return fail(waiter, http_failure(tunnel.answer_));
  }
  waiter.tunnel = nullptr;
  tunnel.waiter_ = nullptr;
  tunnel.answered_ = true;
  ++engine_.stats_.tunnels_opened;
  OpenHandler& handler = *waiter.handler;
  const uint64_t cookie = waiter.cookie;
  give_back(waiter);
  handler.on_tunnel_open(cookie, tunnel);
}

void Pool::on_reset(Tunnel& tunnel) {
  auto& waiter = *static_cast<Waiter*>(tunnel.waiter_);
  if (tunnel.cause_ == relay::Cause::refused && ask_again(waiter)) return;
  Failure failure = {Kind::reset, tunnel.reset_code_, true, Reason::hbone_reset_by_peer};
  if (tunnel.cause_ == relay::Cause::lost) {
    failure = tunnel.transport_->failure_;
    if (failure.kind == Kind::none) {
      failure = {Kind::tcp_lost, 0, true, Reason::hbone_closed_by_peer};
    }
  } else {
    engine_.parts_.reasons.count(Reason::hbone_reset_by_peer);
  }
  fail(waiter, failure);
}

// The peer did nothing with the request (RFC 9113 section 8.7): its connection has no place, or it
// closes. Once, so that a peer that refuses always is found out.
bool Pool::ask_again(Waiter& waiter) {
  if (waiter.refused_by != nullptr) return false;
  waiter.refused_by = waiter.tunnel->transport_;
  unlink(waiter);
  ++engine_.stats_.tunnels_retried;
  place(waiter);
  return true;
}

void Pool::tell() {
  while (failed_first_ != nullptr) {
    Waiter& waiter = *failed_first_;
    OpenHandler& handler = *waiter.handler;
    const uint64_t cookie = waiter.cookie;
    const Failure failure = waiter.failure;
    give_back(waiter);
    handler.on_tunnel_failed(cookie, failure);
  }
}

void Pool::advance(timer::Instant now) {
  wheel_.advance(now, kExpiredWaiters, [this](timer::Wheel::Entry& entry) {
    engine_.parts_.reasons.count(Reason::hbone_answer_timeout);
    fail(static_cast<Waiter&>(entry), {Kind::tcp_timed_out, 0, true, Reason::hbone_answer_timeout});
  });
}

}  // namespace isthmus::hbone
