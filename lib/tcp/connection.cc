// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The life of a connection and what its user may do with it.
#include "tcp/connection.h"

#include <algorithm>

#include "packet/headers.h"
#include "packet/packed.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

// A peer that asks for less makes headers of us (CVE-2019-11479).
constexpr uint16_t kMssFloor = 216;
constexpr uint8_t kQuickAcks = 8;  // at the start the peer's window opens by our ACKs
// A long path's: for whoever has only received, and whose handshake measured nothing (a cookie, or
// a SYN-ACK that was repeated). Too short a round would see a part of what comes in one.
constexpr uint32_t kUnmeasuredRound = 100'000;  // microseconds

}  // namespace

const char* to_string(Failure failure) {
  switch (failure) {
    case Failure::none:
      return "none";
    case Failure::refused:
      return "refused";
    case Failure::reset:
      return "reset";
    case Failure::timed_out:
      return "timed out";
    case Failure::unreachable:
      return "unreachable";
    case Failure::no_memory:
      return "no memory";
  }
  return "?";
}

const char* to_string(State state) {
  switch (state) {
    case State::closed:
      return "CLOSED";
    case State::syn_sent:
      return "SYN-SENT";
    case State::syn_received:
      return "SYN-RECEIVED";
    case State::established:
      return "ESTABLISHED";
    case State::fin_wait_1:
      return "FIN-WAIT-1";
    case State::fin_wait_2:
      return "FIN-WAIT-2";
    case State::close_wait:
      return "CLOSE-WAIT";
    case State::closing:
      return "CLOSING";
    case State::last_ack:
      return "LAST-ACK";
    case State::time_wait:
      return "TIME-WAIT";
  }
  return "?";
}

void Connection::open(Core& core, uint32_t index, const packet::Endpoint& local,
                      const packet::Endpoint& remote, Handler* handler, const Options& options) {
  core_ = &core;
  index_ = index;
  local_ = local;
  remote_ = remote;
  handler_ = handler;
  options_ = Policy(options);
  patience_ = Patience(options);
  flight_ = core.flights.none();
  disorder_ = core.disorders.none();
  last_received_ = last_sent_ = progress_at_ = Moment(core.present);
  opened_at_ = core.present.seconds;
  taken_since_ = micros(core.now);
  receive_buffer_ = core.config.receive_buffer;
  receive_mss_ = mss_for(local, options.mtu);
  mss_ = peer_mss_ = default_mss(local);
  quick_acks_ = kQuickAcks;
  iss_ = core.initial_sequence(local, remote);
  ts_offset_ = core.timestamp_offset(local, remote);
  snd_una_ = snd_nxt_ = iss_;
  rcv_scale_ = core.receive_scale;
}

void Connection::start_active() {
  state_ = State::syn_sent;
  // All are offered; the SYN-ACK says which are on.
  timestamps_ = sack_ = scaling_ = true;
  syn_due_ = true;
  mark_ready();
  arm();
}

void Connection::start_passive(const Incoming& syn, bool held) {
  state_ = State::syn_received;
  passive_ = true;
  held_ = held;
  take_syn_options(syn.options);
  ecn_ = options_.ecn != Ecn::off && asks_for_ecn(syn.flags);
  irs_ = syn.sequence;
  rcv_nxt_ = rcv_edge_ = last_ack_sent_ = irs_ + 1;
  snd_wnd_ = max_snd_wnd_ = syn.window;
  snd_wl1_ = syn.sequence;
  snd_wl2_ = iss_;
  syn_due_ = !held;
  if (syn_due_) {
    count_half_open(true);
    mark_ready();
  }
  arm();
}

void Connection::prefetch_queues(bool data) const {
  __builtin_prefetch(handler_);
  if (data) return;
  if (const rte_mbuf* head = send_queue_.head()) {
    __builtin_prefetch(head, 1);
    __builtin_prefetch(&head->next, 1);
  }
  if (flight_->board.head() != Scoreboard::kNone)
    __builtin_prefetch(&core_->records[flight_->board.head()], 1);
}

// The peer's SYN decides what is on; without its offer an option stays off (RFC 7323, RFC 2018).
void Connection::take_syn_options(const SegmentOptions& options) {
  timestamps_ = options.has_timestamp;
  sack_ = options.sack_permitted;
  scaling_ = options.has_scale;
  snd_scale_ = scaling_ ? options.scale : 0;
  if (!scaling_) rcv_scale_ = 0;
  if (timestamps_) {
    ts_recent_ = options.timestamp;
    ts_recent_at_ = core_->present.seconds;
  }
  if (options.has_mss) peer_mss_ = std::max(options.mss, kMssFloor);
  // MUST-16: the peer's MSS and our path, less the options of every segment.
  const uint16_t sendable = std::min(peer_mss_, receive_mss_);
  mss_ = static_cast<uint16_t>(sendable - (timestamps_ ? kTimestampBytes : 0));
  full_mss_ = 0;  // what an ICMP error made of the assumption that this replaces
  congestion_.start(options_.congestion, mss_, core_->config.max_send_buffer);
}

void Connection::on_established() {
  state_ = State::established;
  ++core_->stats.established;
  syn_due_ = false;
  timeout_at_ = timer::kNever;
  progress_at_ = Moment(core_->present);
  count_half_open(false);
  // RFC 6298 section 2: the handshake is the first measurement, unless it was repeated.
  if (backoff_ == 0 && !by_cookie_) {
    rtt_.sample(timer::Duration(micros(core_->now) - syn_sent_at_), core_->present.seconds);
  }
  taken_since_ = micros(core_->now);
  backoff_ = 0;
  want_write_ = send_room() == 0;
  raise(kConnected);
  if (fin_queued_) state_ = State::fin_wait_1;
}

void Connection::raise(uint16_t events) {
  if (dead_ || last_event_told_) return;
  events_ |= events;
  mark_ready();
}

void Connection::mark_ready() {
  core_->mark_ready(*this);
}

// The connection is over for a reason that its user must hear.
void Connection::fail(Failure failure) {
  if (failure_ != Failure::none || state_ == State::closed) return;
  failure_ = failure;
  // Who gives up says so: the peer may still be there.
  if (failure == Failure::timed_out && synchronized()) send_reset_ = true;
  ++core_->stats.failed;
  finish();
  raise(kFailed);
}

bool Connection::take_flight() {
  if (flight_ != core_->flights.none()) return true;
  Flight* taken = core_->flights.take();
  if (taken == nullptr) return false;
  flight_ = taken;
  flight_->board.resume(reordering_);
  return true;
}

bool Connection::take_disorder() {
  if (disorder_ != core_->disorders.none()) return true;
  Disorder* taken = core_->disorders.take();
  if (taken != nullptr) disorder_ = taken;
  return taken != nullptr;
}

void Connection::release_flight() {
  if (flight_ == core_->flights.none() || phase_ != Phase::open || probe_out_) return;
  reordering_ = flight_->board.reordering();
  core_->flights.give(std::exchange(flight_, core_->flights.none()));
}

void Connection::release_disorder() {
  if (disorder_ == core_->disorders.none() || !disorder_->empty()) return;
  core_->disorders.give(std::exchange(disorder_, core_->disorders.none()));
}

void Connection::clear_recovery() {
  if (flight_ != core_->flights.none()) {
    flight_->board.clear(core_->records);
    core_->flights.give(std::exchange(flight_, core_->flights.none()));
  }
  if (disorder_ != core_->disorders.none()) {
    disorder_->gaps.clear(core_->gaps);
    core_->disorders.give(std::exchange(disorder_, core_->disorders.none()));
  }
}

// Nothing more is sent or expected; what was received stays until the user has heard.
void Connection::finish() {
  state_ = State::closed;
  count_half_open(false);
  core_->detach(*this);
  core_->wheel.cancel(*this);
  clear_recovery();
  clear_send_queue();
  ack_now_ = ack_delayed_ = syn_due_ = false;
  held_ = false;
}

void Connection::drop_queues() {
  core_->queued -= receive_occupied_;
  receive_occupied_ = 0;
  receive_queue_.clear();
  clear_recovery();
  clear_send_queue();
}

void Connection::clear_send_queue() {
  core_->queued -= send_occupied_;
  send_occupied_ = 0;
  send_queue_.clear();
  unsent_ = 0;
}

State Connection::state() const {
  return state_;
}
bool Connection::held() const {
  return held_;
}
const packet::Endpoint& Connection::local() const {
  return local_;
}
const packet::Endpoint& Connection::remote() const {
  return remote_;
}
uint32_t Connection::path() const {
  return options_.path;
}
void Connection::set_handler(Handler* handler) {
  handler_ = handler;
}
Handler* Connection::handler() const {
  return handler_;
}
void Connection::set_cookie(uint64_t cookie) {
  cookie_ = cookie;
}
uint64_t Connection::cookie() const {
  return cookie_;
}
uint32_t Connection::receive_available() const {
  return receive_queue_.size();
}
bool Connection::peer_closed() const {
  return peer_closed_;
}
uint32_t Connection::send_queued() const {
  return send_queue_.size();
}
Failure Connection::failure() const {
  return failure_;
}

packet::Chain Connection::receive(uint32_t max) {
  const uint32_t available = receive_queue_.size();
  packet::Chain taken = max >= available ? std::move(receive_queue_)
                                         : receive_queue_.split_front(max, core_->pools.clones);
  if (taken.empty()) {  // no clone for the cut: what needs none, or the reader waits for nothing
    taken = receive_queue_.split_front(receive_queue_.whole_segments(max), core_->pools.clones);
  }
  if (taken.empty()) return taken;
  account_taken(taken);
  grow_receive_buffer(taken.size());
  if (!ack_now_ && window_update_due()) request_ack(true);
  if ((state_ == State::closed || state_ == State::time_wait) && failure_ == Failure::none &&
      receive_queue_.empty()) {
    raise(kClosed);
  }
  return taken;
}

void Connection::account_received(uint64_t occupied) {
  receive_occupied_ += static_cast<uint32_t>(occupied);
  core_->queued += occupied;
}

// A segment that was cut in two stays accounted for until its rest is taken.
void Connection::account_taken(const packet::Chain& taken) {
  uint64_t freed = taken.occupied();
  if (receive_queue_.empty()) {
    freed = receive_occupied_;
  } else if (!RTE_MBUF_DIRECT(taken.tail())) {
    freed -= packet::memory_of(taken.tail());
  }
  freed = std::min<uint64_t>(freed, receive_occupied_);
  receive_occupied_ -= static_cast<uint32_t>(freed);
  core_->queued -= freed;
}

uint32_t Connection::receive_limit() const {
  const uint64_t sayable = uint64_t{UINT16_MAX} << rcv_scale_;
  return static_cast<uint32_t>(
      std::min({uint64_t{receive_buffer_}, core_->memory_share(), sayable}));
}

// Dynamic right-sizing: what the user takes in a round trip, or at once, twice, so that a sender in
// slow start isn't held back. Looked at when so much has been taken that the buffer might be short.
void Connection::grow_receive_buffer(uint32_t taken) {
  taken_ += taken;
  const auto buffer_for = [this](uint64_t bytes) { return 2 * bytes + 16ull * receive_mss_; };
  if (buffer_for(taken_) <= receive_buffer_) return;
  const uint32_t round = rtt_.smoothed() != 0 ? std::max(rtt_.smoothed(), 1000u) : kUnmeasuredRound;
  const uint32_t elapsed = micros(core_->now) - taken_since_;
  if (elapsed < round) return;
  const uint64_t wanted = buffer_for(std::max<uint64_t>(taken, uint64_t{taken_} * round / elapsed));
  if (wanted > receive_buffer_ && core_->memory_share() > receive_buffer_) {
    receive_buffer_ = static_cast<uint32_t>(
        std::min<uint64_t>(wanted, std::max(core_->config.max_receive_buffer, receive_buffer_)));
  }
  taken_ = 0;
  taken_since_ = micros(core_->now);
}

uint32_t Connection::send_limit() const {
  const Config& config = core_->config;
  const uint64_t wanted =
      std::clamp<uint64_t>(2ull * congestion_.window(), config.send_buffer,
                           std::max(config.send_buffer, config.max_send_buffer));
  return static_cast<uint32_t>(std::min(wanted, core_->memory_share()));
}

uint32_t Connection::send_room() const {
  if (fin_queued_ || dead_ || state_ == State::closed || state_ == State::time_wait) return 0;
  // Of what the windows want, and of the buffers that those bytes lie in.
  const uint32_t limit = send_limit();
  const uint64_t share = core_->memory_share();
  uint32_t room = limit - std::min(limit, send_queue_.size());
  room = static_cast<uint32_t>(
      std::min<uint64_t>(room, share - std::min<uint64_t>(share, send_occupied_)));
  if (options_.short_queue) {
    const uint32_t most = std::min(sendable() + kShortReserve, core_->config.short_queue);
    room = std::min(room, most > unsent_ ? most - unsent_ : 0);
  }
  if (room < room_worth_telling()) want_write_ = true;
  return room;
}

uint32_t Connection::room_worth_telling() const {
  const uint32_t quarter = send_limit() / 4;
  if (!options_.short_queue) return quarter;
  return std::min({quarter, kShortReserve / 2, core_->config.short_queue / 2});
}

uint32_t Connection::sendable() const {
  const uint32_t window = congestion_.window();
  const uint32_t pipe = in_flight();
  const uint32_t outstanding = snd_nxt_ - snd_una_;
  const uint32_t room =
      std::min(window - std::min(window, pipe), snd_wnd_ - std::min(snd_wnd_, outstanding));
  return is_paced() ? std::min(room, pace_allowance()) : room;
}

void Connection::send(packet::Chain&& data) {
  packet::Chain bytes = std::move(data);
  const bool open = state_ == State::syn_sent || state_ == State::syn_received || sending();
  if (bytes.empty() || fin_queued_ || dead_ || !open) return;
  if (unsent_ == 0) {
    unsent_segment_ = bytes.head();
    unsent_data_ = rte_pktmbuf_mtod(bytes.head(), const uint8_t*);
    if (synchronized() && snd_una_ == snd_nxt_) progress_at_ = Moment(core_->present);
  }
  const bool waits = unsent_ != 0;
  unsent_ += bytes.size();
  uint64_t occupied = 0;
  if (waits) {
    occupied = packet::append_packed(send_queue_, std::move(bytes), core_->pools.small);
  } else {
    occupied = bytes.occupied();
    send_queue_.append(std::move(bytes));
  }
  send_occupied_ += static_cast<uint32_t>(occupied);
  core_->queued += occupied;
  if (send_occupied_ > core_->never_too_much()) send_room();
  mark_ready();
}

void Connection::shutdown() {
  if (fin_queued_ || dead_) return;
  switch (state_) {
    case State::syn_sent:
    case State::syn_received:
      break;  // FIN follows the handshake
    case State::established:
      state_ = State::fin_wait_1;
      break;
    case State::close_wait:
      state_ = State::last_ack;
      break;
    default:
      return;
  }
  fin_queued_ = true;
  want_write_ = false;
  mark_ready();
}

void Connection::abort() {
  if (dead_) return;
  const bool silent =
      state_ == State::closed || state_ == State::time_wait || state_ == State::syn_sent || held_;
  send_reset_ = !silent;
  const State before = state_;
  if (state_ != State::closed) finish();
  state_ = before == State::time_wait ? before : State::closed;
  events_ = 0;
  dead_ = true;
  mark_ready();
}

void Connection::complete_accept() {
  if (!held_) return;
  held_ = false;
  syn_due_ = true;
  count_half_open(true);
  progress_at_ = Moment(core_->present);  // the client's ACK has its own time
  mark_ready();
  arm();
}

void Connection::refuse() {
  if (!held_) return;
  finish();
  events_ = 0;
  send_reset_ = true;
  dead_ = true;
  mark_ready();
}

bool Connection::consistent() const {
  if (state_ == State::closed || state_ == State::time_wait || !synchronized()) return true;
  const uint32_t outstanding = snd_nxt_ - snd_una_;
  const uint32_t bytes = outstanding - (fin_sent_ && outstanding != 0 ? 1 : 0);
  return seq_leq(snd_una_, snd_nxt_) && seq_leq(rcv_nxt_, rcv_edge_) &&
         flight_->board.consistent(core_->records, snd_una_, snd_nxt_) &&
         send_queue_.size() == bytes + unsent_ && congestion_.window() >= mss_ &&
         in_flight() <= outstanding && (flight_->board.empty() == (outstanding == 0));
}

}  // namespace isthmus::tcp
