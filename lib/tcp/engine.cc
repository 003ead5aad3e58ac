// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/engine.h"

#include <algorithm>
#include <cassert>

#include "packet/headers.h"
#include "packet/siphash.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

using packet::Tcp;
using stats::Reason;

constexpr unsigned kTimersPerCall = 1024;

uint8_t scale_for(uint32_t buffer) {
  uint8_t scale = 0;
  while (scale < kMaxWindowScale && (buffer >> scale) > UINT16_MAX) ++scale;
  return scale;
}

}  // namespace

Core::Core(const Config& settings, const packet::Pools& mempools, Output& out,
           stats::ReasonCounters& counters, const Secrets& keys, timer::Instant start)
    : config(settings),
      pools(mempools),
      output(out),
      drops(counters),
      secrets(keys),
      now(start),
      present(start),
      wheel(start, settings.max_connections),
      records(settings.max_sent_records),
      gaps(settings.max_gaps),
      flights(settings.max_connections),
      disorders(settings.max_connections),
      receive_scale(scale_for(settings.max_receive_buffer)),
      hash_(keys.table),
      timestamp_hash_(keys.timestamp),
      never_too_much_(std::min({settings.send_buffer, settings.memory_floor, settings.short_queue,
                                Connection::kShortReserve}) /
                      2),
      table_(settings.max_connections + settings.max_time_wait),
      connections_(new Connection[settings.max_connections]),
      time_waits_(new TimeWait[std::max(settings.max_time_wait, 1u)]),
      cookies_(keys.cookie),
      half_open_by_source_(new uint16_t[kSources]()),
      resets_left_(settings.resets_per_second),
      resets_since_(start) {
  for (uint32_t i = settings.max_connections; i-- > 0;) {
    connections_[i].next_ready_ = free_connection_;
    free_connection_ = i;
  }
  for (uint32_t i = std::max(settings.max_time_wait, 1u); i-- > 0;) {
    time_waits_[i].next = free_time_wait_;
    free_time_wait_ = i;
  }
}

Core::~Core() {
  for (uint32_t i = 0; i < config.max_connections; ++i) {
    Connection& c = connections_[i];
    if (c.core_ == nullptr) continue;
    wheel.cancel(c);
    c.drop_queues();
  }
}

uint32_t Core::lookup(uint64_t hash, const packet::Endpoint& local,
                      const packet::Endpoint& remote) const {
  return table_.find(hash, [&](uint32_t entry) {
    if ((entry & kTimeWaitBit) != 0) {
      const TimeWait& wait = time_waits_[entry & ~kTimeWaitBit];
      return wait.local == local && wait.remote == remote;
    }
    const Connection& connection = connections_[entry];
    return connection.local_ == local && connection.remote_ == remote;
  });
}

void Core::attach(Connection& connection) {
  table_.insert(hash(connection.local_, connection.remote_), connection.index_);
  connection.attached_ = true;
}

void Core::detach(Connection& connection) {
  if (!connection.attached_) return;
  table_.erase(hash(connection.local_, connection.remote_), connection.index_);
  connection.attached_ = false;
}

Connection* Core::take(const packet::Endpoint& local, const packet::Endpoint& remote) {
  const uint32_t index = free_connection_;
  if (index == kNone) {
    drop(Reason::tcp_table_full);
    return nullptr;
  }
  Connection& connection = connections_[index];
  free_connection_ = connection.next_ready_;
  connection.~Connection();
  new (&connection) Connection();
  connection.index_ = index;
  connection.local_ = local;
  connection.remote_ = remote;
  ++living;
  return &connection;
}

void Core::release(Connection& connection) {
  detach(connection);
  wheel.cancel(connection);
  connection.drop_queues();
  connection.core_ = nullptr;
  connection.next_ready_ = free_connection_;
  free_connection_ = connection.index_;
  --living;
}

void Core::mark_ready(Connection& connection) {
  if (connection.ready_) return;
  connection.ready_ = true;
  connection.next_ready_ = kNone;
  (last_ready_ == kNone ? first_ready_ : connections_[last_ready_].next_ready_) = connection.index_;
  last_ready_ = connection.index_;
}

void Core::shed_out_of_order(Connection& connection) {
  uint32_t victim = connection.index_;
  for (unsigned i = 0; i < 8 && over_budget() && victim != kNone; ++i) {
    Connection& loser = connections_[victim];
    if (!loser.disorder_->gaps.empty()) {
      loser.disorder_->gaps.clear(gaps);
      loser.release_disorder();
      ++stats.reneged;
    }
    victim = gaps.another_owner(connection.index_);
  }
}

void Core::transmit(rte_mbuf* packet, uint32_t path) {
  ++stats.segments_sent;
  output.transmit(packet, path);
}

uint64_t Core::random() {
  packet::SipHash hash(secrets.random);
  return hash.finish(random_count_++);
}

// RFC 6528: a clock of 4 microseconds, and what an outsider can't compute.
Seq Core::initial_sequence(const packet::Endpoint& local, const packet::Endpoint& remote) {
  const auto clock = static_cast<uint64_t>(now.time_since_epoch().count() / 4);
  Seq sequence =
      static_cast<Seq>(clock + packet::siphash(secrets.sequence, packet::Tuple{local, remote}));
  if (reused_hash_ == hash(local, remote) && seq_lt(sequence, reused_above_)) {
    sequence = reused_above_;  // a tuple out of TIME-WAIT goes on above what it was
  }
  reused_hash_ = 0;
  return sequence;
}

uint32_t Core::timestamp_offset(const packet::Endpoint& local,
                                const packet::Endpoint& remote) const {
  // An offset is no secret that guards anything: it keeps hosts apart (RFC 7323 section 5.4).
  return static_cast<uint32_t>(timestamp_hash_(local, remote));
}

uint32_t Core::fetch_connection(uint64_t key, bool data) const {
  const uint32_t candidate = table_.candidate(key);
  if (candidate == kNone) return kNone;
  if ((candidate & kTimeWaitBit) != 0) {
    __builtin_prefetch(&time_waits_[candidate & ~kTimeWaitBit]);
  } else {
    connections_[candidate].prefetch_for(data);
  }
  return candidate;
}

void Core::fetch_queues(uint32_t candidate, bool data) const {
  if ((candidate & kTimeWaitBit) == 0) connections_[candidate].prefetch_queues(data);
}

bool Core::input(const packet::Parsed& parsed, uint64_t key) {
  const packet::Tuple& tuple = parsed.tuple;
  const uint32_t entry = lookup(key, tuple.destination, tuple.source);
  if (entry == kNone) return false;
  ++stats.segments_received;
  Incoming segment;
  if (!read_segment(parsed, segment)) {
    drop(Reason::tcp_bad_options);
    rte_pktmbuf_free(parsed.mbuf);
    return true;
  }
  if ((entry & kTimeWaitBit) != 0) {
    if (!input_time_wait(entry & ~kTimeWaitBit, segment)) return false;
    rte_pktmbuf_free(parsed.mbuf);
    return true;
  }
  if (segment.length == 0) {
    rte_pktmbuf_free(parsed.mbuf);
  } else {
    rte_pktmbuf_adj(parsed.mbuf, static_cast<uint16_t>(parsed.l3_length + parsed.l4_length));
    segment.payload.append(parsed.mbuf);
  }
  connections_[entry].on_segment(segment);
  return true;
}

Connection* Core::connect(const packet::Endpoint& local, const packet::Endpoint& remote,
                          Handler* handler, const Options& options) {
  if (!connectable(local, remote)) {
    drop(Reason::tcp_bad_address);  // MUST-46
    return nullptr;
  }
  const uint64_t key = hash(local, remote);
  const uint32_t entry = lookup(key, local, remote);
  if (entry != kNone && (entry & kTimeWaitBit) != 0 &&
      time_waits_[entry & ~kTimeWaitBit].timestamps) {
    // RFC 6191 from the other side: our clock has moved on, and the number does too.
    reused_hash_ = key;
    reused_above_ = time_waits_[entry & ~kTimeWaitBit].snd_nxt + UINT16_MAX;
    remove_time_wait(entry & ~kTimeWaitBit);
  } else if (entry != kNone) {
    drop(Reason::tcp_tuple_taken);
    return nullptr;
  }
  Connection* connection = take(local, remote);
  if (connection == nullptr) return nullptr;
  connection->open(*this, connection->index_, local, remote, handler, options);
  attach(*connection);
  ++stats.active_opens;
  connection->start_active();
  return connection;
}

bool Core::reset_allowed() {
  if (now - resets_since_ >= std::chrono::seconds(1)) {
    resets_since_ = now;
    resets_left_ = config.resets_per_second;
  }
  if (resets_left_ == 0) {
    drop(Reason::tcp_reset_limit);
    return false;
  }
  --resets_left_;
  return true;
}

bool Core::send_reset(const packet::Parsed& parsed, uint32_t path) {
  const Tcp& tcp = *parsed.tcp();
  if ((tcp.flags & Tcp::kRst) != 0 || !reset_allowed()) return false;
  const bool ack = (tcp.flags & Tcp::kAck) != 0;
  SegmentHeader header{.local = parsed.tuple.destination, .remote = parsed.tuple.source};
  header.flags = ack ? Tcp::kRst : Tcp::kRst | Tcp::kAck;
  header.sequence = ack ? tcp.acknowledgment.get() : 0;
  if (!ack) {
    header.acknowledgment = tcp.sequence.get() + parsed.payload_length +
                            ((tcp.flags & Tcp::kSyn) != 0 ? 1 : 0) +
                            ((tcp.flags & Tcp::kFin) != 0 ? 1 : 0);
  }
  header.id = next_id++;
  rte_mbuf* packet = build_header(pools.small, header);
  if (packet == nullptr) {
    ++stats.no_buffer;
    return false;
  }
  ++stats.resets_sent;
  transmit(packet, path);
  return true;
}

bool Core::icmp_error(const IcmpError& error) {
  const packet::Tuple& tuple = error.tuple;
  const uint32_t entry =
      lookup(hash(tuple.source, tuple.destination), tuple.source, tuple.destination);
  if (entry == kNone) return false;
  if ((entry & kTimeWaitBit) == 0) connections_[entry].on_icmp(error);
  return true;
}

void Core::advance() {
  wheel.advance(now, kTimersPerCall,
                [](timer::Wheel::Entry& entry) { static_cast<Connection&>(entry).on_timer(); });
  expire_time_waits();
}

// Handlers may mark more connections, also those that have had their turn.
void Core::flush() {
  while (first_ready_ != kNone) {
    Connection& connection = connections_[first_ready_];
    first_ready_ = connection.next_ready_;
    if (first_ready_ == kNone) last_ready_ = kNone;
    connection.ready_ = false;
    const uint16_t events = std::exchange(connection.events_, uint16_t{0});
    const bool last = (events & (kClosed | kFailed)) != 0;
    if (last) connection.last_event_told_ = true;
    if (events != 0 && connection.handler_ != nullptr && !connection.dead_) {
      connection.handler_->on_tcp(connection, events);
    }
    connection.output();
    if (!last && !connection.dead_) continue;
    // Its own calls may have put it back into the list: it leaves on its next turn.
    if (connection.ready_) {
      connection.dead_ = true;
      continue;
    }
    release(connection);
  }
}

timer::Instant Core::next_deadline() const {
  if (first_ready_ != kNone) return now;
  const timer::Instant timers = wheel.next_deadline();
  if (first_time_wait_ == kNone) return timers;
  return std::min(timers, time_waits_[first_time_wait_].expires);
}

bool Core::consistent() const {
  uint64_t queues = 0;
  uint64_t out_of_order = 0;
  uint32_t half_open = 0;
  uint32_t count = 0;
  uint32_t sent = 0;
  uint32_t in_flight = 0;
  uint32_t disordered = 0;
  for (uint32_t i = 0; i < config.max_connections; ++i) {
    const Connection& each = connections_[i];
    if (each.core_ == nullptr) continue;
    ++count;
    queues += each.send_occupied_ + each.receive_occupied_;
    out_of_order += each.disorder_->gaps.occupied();
    half_open += each.half_open_ ? 1 : 0;
    sent += each.flight_->board.records();
    in_flight += each.flight_ != flights.none() ? 1 : 0;
    disordered += each.disorder_ != disorders.none() ? 1 : 0;
    if (!each.consistent()) return false;
    if (each.send_queue_.occupied() != each.send_occupied_) return false;
    if (each.receive_queue_.empty() && each.receive_occupied_ != 0) return false;
  }
  return queues == queued && out_of_order == gaps.occupied() && half_open == half_open_ &&
         count == living && sent == records.in_use() && in_flight == flights.in_use() &&
         disordered == disorders.in_use();
}

Engine::Engine(const Config& config, const packet::Pools& pools, Output& output,
               stats::ReasonCounters& drops, const Secrets& secrets, timer::Instant now)
    : core_(new Core(config, pools, output, drops, secrets, now)) {}

Engine::~Engine() = default;

Connection* Engine::find(const packet::Endpoint& local, const packet::Endpoint& remote) {
  const uint32_t entry = core_->lookup(core_->hash(local, remote), local, remote);
  if (entry == Core::kNone || (entry & Core::kTimeWaitBit) != 0) return nullptr;
  return &core_->connection(entry);
}

bool Engine::in_use(const packet::Endpoint& local, const packet::Endpoint& remote) const {
  return core_->lookup(core_->hash(local, remote), local, remote) != Core::kNone;
}

bool Engine::input(const packet::Parsed& segment, timer::Instant now) {
  core_->set_now(now);
  const packet::Tuple& tuple = segment.tuple;
  return core_->input(segment, core_->hash(tuple.destination, tuple.source));
}

Engine::Burst::Burst(Engine& engine, std::span<const packet::Parsed> segments)
    : core_(*engine.core_), segments_(segments) {
  assert(segments.size() <= kMost);
  for (size_t i = 0; i < segments.size(); ++i) {
    keys_[i] = core_.hash(segments[i].tuple.destination, segments[i].tuple.source);
    core_.fetch_slot(keys_[i]);
  }
  for (size_t i = 0; i < std::min(kFar, segments.size()); ++i) fetch_connection(i);
  for (size_t i = 0; i < std::min(kNear, segments.size()); ++i) fetch_queues(i);
}

void Engine::Burst::fetch_connection(size_t i) {
  candidates_[i] = core_.fetch_connection(keys_[i], segments_[i].payload_length != 0);
}

void Engine::Burst::fetch_queues(size_t i) const {
  core_.fetch_queues(candidates_[i], segments_[i].payload_length != 0);
}

bool Engine::Burst::input(size_t i, timer::Instant now) {
  if (i + kFar < segments_.size()) fetch_connection(i + kFar);
  if (i + kNear < segments_.size()) fetch_queues(i + kNear);
  core_.set_now(now);
  return core_.input(segments_[i], keys_[i]);
}

Connection* Engine::accept(const packet::Parsed& syn, Handler* handler, const Options& options,
                           timer::Instant now, AcceptMode mode) {
  core_->set_now(now);
  return core_->accept(syn, handler, options, mode);
}

bool Engine::crowded(const packet::Parsed& syn) const {
  return core_->crowded(syn);
}

bool Engine::send_cookie(const packet::Parsed& syn, const Options& options, uint8_t tag,
                         timer::Instant now) {
  core_->set_now(now);
  return core_->send_cookie(syn, options, tag);
}

std::optional<uint8_t> Engine::cookie_tag(const packet::Parsed& segment, timer::Instant now) {
  core_->set_now(now);
  const std::optional<Cookie> cookie = core_->cookie_of(segment);
  if (!cookie) return std::nullopt;
  return cookie->tag;
}

Connection* Engine::connect(const packet::Endpoint& local, const packet::Endpoint& remote,
                            Handler* handler, const Options& options, timer::Instant now) {
  core_->set_now(now);
  return core_->connect(local, remote, handler, options);
}

bool Engine::send_reset(const packet::Parsed& segment, uint32_t path, timer::Instant now) {
  core_->set_now(now);
  return core_->send_reset(segment, path);
}

bool Engine::icmp_error(const IcmpError& error, timer::Instant now) {
  core_->set_now(now);
  return core_->icmp_error(error);
}

size_t Engine::export_connection(const Connection& connection, std::span<uint8_t> to,
                                 timer::Instant now) {
  core_->set_now(now);
  return connection.save(to);
}

void Engine::release(Connection& connection) {
  connection.leave();
}

Connection* Engine::import_connection(std::span<const uint8_t> bytes, Handler* handler,
                                      timer::Instant now) {
  core_->set_now(now);
  return core_->import_connection(bytes, handler);
}

void Engine::advance(timer::Instant now) {
  core_->set_now(now);
  core_->advance();
}

void Engine::flush(timer::Instant now) {
  core_->set_now(now);
  core_->flush();
}

timer::Instant Engine::next_deadline() const {
  return core_->next_deadline();
}
const EngineStats& Engine::stats() const {
  return core_->stats;
}
uint32_t Engine::connections() const {
  return core_->living;
}
bool Engine::consistent() const {
  return core_->consistent();
}
uint32_t Engine::time_waits() const {
  return core_->waiting;
}

const Connection* Engine::at(uint32_t place) const {
  if (place >= places()) return nullptr;
  const Connection& connection = core_->connection(place);
  return connection.core_ != nullptr && !connection.dead_ ? &connection : nullptr;
}

uint32_t Engine::places() const {
  return core_->config.max_connections;
}

}  // namespace isthmus::tcp
