// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What time does to a connection. One wheel entry stands at the earliest of its deadlines.
#include <algorithm>

#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

// RFC 8985 section 7.2: what a peer may add by delaying its ACK of a lone segment.
constexpr timer::Duration kWorstDelayedAck = std::chrono::milliseconds(200);
// Scheduling on both ends; without it a probe overtakes the ACK on a short path.
constexpr timer::Duration kProbeSlack = std::chrono::milliseconds(4);
// RFC 6298 section 5.7: the timeout after a handshake whose SYN was repeated.
constexpr timer::Duration kRtoAfterLostSyn = std::chrono::seconds(3);

timer::Instant after(timer::Instant from, timer::Duration delay) {
  return delay == timer::Duration() ? timer::kNever : from + delay;
}

}  // namespace

timer::Duration Connection::retransmission_timeout() const {
  const Config& config = core_->config;
  const timer::Duration initial =
      syn_repeated_ && synchronized() ? kRtoAfterLostSyn : config.initial_rto;
  const timer::Duration base = rtt_.timeout(initial, config.min_rto);
  return std::min<timer::Duration>(base * (1ll << std::min<unsigned>(backoff_, 16)),
                                   config.max_rto);
}

// From now; not beyond the moment at which the user's patience ends.
void Connection::restart_timeout() {
  const timer::Instant now = core_->now;
  timeout_at_ = now + retransmission_timeout();
  if (!synchronized()) return;
  const timer::Instant patience =
      after(progress_at_.instant(core_->present), patience_.user_timeout);
  timeout_at_ = std::min(timeout_at_, std::max(patience, now));
}

timer::Instant Connection::lifetime_deadline() const {
  switch (state_) {
    case State::syn_sent:
    case State::syn_received:
      return after(progress_at_.instant(core_->present), patience_.handshake_timeout);
    case State::fin_wait_2:
      if (patience_.fin_wait_2_timeout != timer::Duration()) {
        return last_received_.instant(core_->present) + patience_.fin_wait_2_timeout;
      }
      break;
    case State::closed:
    case State::time_wait:
      return timer::kNever;
    default:
      break;
  }
  if (options_.keepalive_idle == timer::Duration() || snd_una_ != snd_nxt_) return timer::kNever;
  PolicyTime silence = options_.keepalive_idle;
  if (keepalives_out_ != 0) silence += patience_.keepalive_interval * keepalives_out_;
  return last_received_.instant(core_->present) + silence;
}

// A deadline of a few milliseconds that is kept as micros().
timer::Instant Connection::soon(uint32_t deadline) const {
  return core_->now + timer::Duration(static_cast<int32_t>(deadline - micros(core_->now)));
}

void Connection::arm() {
  if (!attached_) return;
  timer::Instant deadline = std::min(loss_at_, lifetime_deadline());
  if (ack_delayed_) deadline = std::min(deadline, soon(ack_at_));
  if (waits_for_time() && !ready_) deadline = std::min(deadline, soon(retry_at_));
  if (deadline == timer::kNever && !Entry::armed()) return;
  core_->wheel.arm(*this, deadline);
}

// Where only silence is waited for, and longer than any retransmission, the entry stands early
// enough if it stands: what has happened moves the deadline back, and it finds out when it comes.
void Connection::arm_unless_late() {
  const timer::Duration silence = options_.keepalive_idle;
  const bool later = state_ == State::established && loss_timer_ == LossTimer::none &&
                     !ack_delayed_ && !waits_for_time() && Entry::armed() &&
                     (silence == timer::Duration() || silence >= core_->config.max_rto);
  if (!later) arm();
}

// Which of the sender's timers is next: retransmission, tail loss probe, reordering or persist.
void Connection::set_loss_timer() {
  loss_timer_ = LossTimer::none;
  loss_at_ = timer::kNever;
  if (!attached_ || held_) return;
  if (snd_una_ == snd_nxt_) {
    const bool waits = synchronized() && (unsent_ != 0 || (fin_queued_ && !fin_sent_));
    if (!waits || blocked_by_buffers_) return;
    if (!stalled_) stalled_at_ = progress_at_ = Moment(core_->present);
    stalled_ = true;
    if (timeout_at_ == timer::kNever) restart_timeout();
    loss_timer_ = LossTimer::persist;
    loss_at_ = timeout_at_;
    return;
  }
  if (timeout_at_ == timer::kNever) restart_timeout();
  loss_timer_ = LossTimer::timeout;
  loss_at_ = timeout_at_;
  if (!synchronized()) return;
  if (flight_->reorder_at < loss_at_) {
    loss_timer_ = LossTimer::reorder;
    loss_at_ = flight_->reorder_at;
    return;
  }
  const bool may_probe = sack_ && phase_ == Phase::open && !probe_out_ && backoff_ == 0 &&
                         flight_->board.sacked_bytes() == 0 && rtt_.smoothed() != 0;
  if (!may_probe) return;
  // Two round trips after it was sent. The RFC counts from each ACK anew; one round trip after the
  // latest progress is enough where the rest of the burst has been answered.
  const timer::Duration round(rtt_.smoothed());
  timer::Instant at = std::max(last_sent_.instant(core_->present) + 2 * round,
                               progress_at_.instant(core_->present) + round) +
                      kProbeSlack;
  // The RFC grants a delayed ACK always; here only to a peer that has been caught delaying, until
  // that costs a timeout: most answer a burst's end at once and a lost tail should not wait for
  // nothing.
  if (peer_delays_acks_ && snd_nxt_ - snd_una_ <= mss_) at += kWorstDelayedAck;
  if (at < loss_at_) {
    loss_timer_ = LossTimer::probe;
    loss_at_ = at;
  }
}

void Connection::on_timer() {
  const timer::Instant now = core_->now;
  if (loss_at_ <= now) {
    on_loss_timer();
    if (state_ == State::closed) return;
  }
  if (ack_delayed_ && soon(ack_at_) <= now) {
    ack_delayed_ = false;
    request_ack(true);
  }
  if (waits_for_time() && soon(retry_at_) <= now) mark_ready();
  if (lifetime_deadline() <= now) {
    on_lifetime();
    if (state_ == State::closed) return;
  }
  arm();
}

void Connection::on_loss_timer() {
  switch (loss_timer_) {
    case LossTimer::timeout:
      on_retransmission_timeout();
      break;
    case LossTimer::probe:
      on_tail_probe();
      break;
    case LossTimer::persist:
      on_persist();
      break;
    case LossTimer::reorder: {
      AckResult result;
      result.now = core_->now;
      detect_losses(result);
      prr_progress_ = false;
      advance_recovery(result, 0);
      mark_ready();
      break;
    }
    case LossTimer::none:
      break;
  }
  if (state_ != State::closed) set_loss_timer();
}

bool Connection::stalled_too_long() const {
  return patience_.stall_timeout != timer::Duration() && stalled_ &&
         core_->now - stalled_at_.instant(core_->present) >= patience_.stall_timeout;
}

// RFC 6298 section 5.4 to 5.6.
void Connection::on_retransmission_timeout() {
  const timer::Instant now = core_->now;
  count_up(timeouts_);
  ++core_->stats.timeouts;
  const bool handshake = !synchronized();
  const bool silent = patience_.user_timeout != timer::Duration() &&
                      now - progress_at_.instant(core_->present) >= patience_.user_timeout;
  // A peer that shut its window on what was under way throws it away, and says so each time.
  if (!handshake && (silent || stalled_too_long())) return fail(Failure::timed_out);
  const uint32_t flight = in_flight();
  if (backoff_ < 16) ++backoff_;
  restart_timeout();
  mark_ready();
  if (handshake) {
    syn_repeated_ = true;
    syn_due_ = true;
    return;
  }
  if (phase_ != Phase::loss) {
    flight_->before = congestion_.on_timeout(flight, now);
    tell_reduced_ = ecn_;
    undo_possible_ = false;
    flight_->retransmitted_at = 0;
  } else {
    congestion_.set_window(mss_);
  }
  phase_ = Phase::loss;
  flight_->recovery_point = snd_nxt_;
  probe_out_ = false;
  peer_delays_acks_ = false;  // a probe would have been in time, had it not been put off
  dup_acks_ = 0;
  flight_->reno_sacked = 0;
  flight_->reorder_at = timer::kNever;
  flight_->board.mark_all_lost(core_->records);
  suspect_black_hole();
}

// RFC 8985 section 7.3: something at the end, so that the peer's answer shows what is missing.
void Connection::on_tail_probe() {
  count_up(tail_probes_);
  ++core_->stats.tail_probes;
  // Out even when nothing can be sent: the retransmission timer is next then, and not this again.
  probe_out_ = true;
  flight_->probe_end = snd_nxt_;
  probe_was_old_ = !send_new(true);
  // Nothing old can be repeated either: an ACK would say nothing.
  if (probe_was_old_) probe_was_old_ = repeat_tail();
  flight_->probe_end = snd_nxt_;
  restart_timeout();
}

// A FIN takes no room, and shows nothing by itself: no SACK block can name it, so the data before
// it goes along.
bool Connection::repeat_tail() {
  uint32_t index = flight_->board.tail();
  if (index == Scoreboard::kNone) return false;
  const uint32_t fin_only = core_->records[index].segment == nullptr ? index : Scoreboard::kNone;
  if (fin_only != Scoreboard::kNone && core_->records[index].previous != Scoreboard::kNone) {
    index = core_->records[index].previous;
  }
  const uint32_t most = mss_ + (fin_sent_ && fin_only == Scoreboard::kNone ? 1 : 0);
  const uint32_t length = core_->records[index].length();
  if (length > most && flight_->board.trim_record(core_->records, index, length - most)) {
    index = core_->records[index].next;
  }
  const SentRecord& record = core_->records[index];
  const uint32_t bytes = record.length() - (fin_sent_ && record.end == snd_nxt_ ? 1 : 0);
  if (bytes > mss_ ||
      !send_range(record.start, bytes, record.segment, record.data, fin_sent_, false)) {
    return false;
  }
  flight_->board.on_retransmit(core_->records, index, record.length(), core_->now);
  if (fin_only != Scoreboard::kNone && fin_only != index) {
    flight_->board.on_retransmit(core_->records, fin_only, 1, core_->now);
  }
  ++retransmissions_;
  ++core_->stats.retransmissions;
  bytes_retransmitted_ += bytes;
  return true;
}

// RFC 9293 section 3.8.6.1 (MUST-35, MUST-36): the peer's window is shut, or too small for what
// waits. An old sequence number makes it say how things stand; what fits is sent.
void Connection::on_persist() {
  const timer::Instant now = core_->now;
  const timer::Instant heard =
      std::max(last_received_.instant(core_->present), stalled_at_.instant(core_->present));
  const bool silent =
      patience_.user_timeout != timer::Duration() && now - heard >= patience_.user_timeout;
  if (silent || stalled_too_long()) return fail(Failure::timed_out);
  ++core_->stats.window_probes;
  if (backoff_ < 16) ++backoff_;
  if (snd_wnd_ == 0 || !send_new(true)) send_ack(snd_una_ - 1);
  restart_timeout();
}

void Connection::on_lifetime() {
  switch (state_) {
    case State::syn_sent:
    case State::syn_received:
      send_reset_ = held_;
      return fail(Failure::timed_out);
    case State::fin_wait_2:
      if (patience_.fin_wait_2_timeout == timer::Duration()) break;
      fail(Failure::timed_out);
      send_reset_ = false;  // everything was said and heard; who comes back later is told then
      return;
    default:
      break;
  }
  if (keepalives_out_ >= options_.keepalive_probes) return fail(Failure::timed_out);
  ++keepalives_out_;
  send_ack(snd_una_ - 1);
}

}  // namespace isthmus::tcp
