// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What an acknowledgment means for what was sent: RFC 6675's scoreboard, RACK-TLP (RFC 8985), PRR
// (RFC 6937), and Eifel's test of whether a recovery was needed (RFC 3522).
#include <algorithm>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

constexpr uint8_t kDupThreshold = 3;

}  // namespace

void Connection::process_ack(const Incoming& segment, bool window_changed) {
  // Nothing is out, nothing waits, and the segment says nothing new: the peer is talking.
  if (snd_una_ == snd_nxt_ && segment.acknowledgment == snd_una_ && !window_changed &&
      snd_wnd_ != 0 && unsent_ == 0 && fin_queued_ == fin_sent_ &&
      segment.options.sack_count == 0) {
    return;
  }
  AckResult result;
  result.now = core_->now;
  result.has_timestamp = timestamps_ && segment.options.has_timestamp;
  result.echo = segment.options.echo;
  result.clock_offset = ts_offset_;
  result.min_rtt = rtt_.minimum();
  const Seq before = snd_una_;
  const uint32_t acked = segment.acknowledgment - before;
  const bool was_outstanding = snd_una_ != snd_nxt_;
  const bool troubled = in_trouble(segment);

  // The cumulative part first: what it covers arrived no later than what is sacked beyond it, and
  // must not look like reordering.
  if (acked != 0) take_acknowledged(segment.acknowledgment, result);
  if (acked != 0 || snd_wnd_ == 0) progress_at_ = Moment(core_->present);
  if (window_changed && snd_wnd_ != 0) {
    if (!was_outstanding) backoff_ = 0;  // the persist timer's
    stalled_ = false;
  } else if (snd_wnd_ == 0 && !stalled_) {
    stalled_ = true;
    stalled_at_ = Moment(core_->present);
  }
  if (acked != 0 && !troubled) {
    measure(result);
    grow_window(result, acked);
  } else {
    // RFC 5681 section 2; without SACK it is all there is.
    const bool duplicate = acked == 0 && was_outstanding && !window_changed &&
                           segment.length == 0 && !segment.has(packet::Tcp::kFin);
    repair(segment, before, duplicate, result);
  }
  if (acked != 0) {
    backoff_ = 0;
    stalled_ = false;
    timeout_at_ = timer::kNever;
    if (snd_una_ != snd_nxt_) restart_timeout();
    if (want_write_ && send_room() >= room_worth_telling()) {
      want_write_ = false;
      raise(kWritable);
    }
  }
  set_loss_timer();
  on_sender_state_change();
  if (unsent_ != 0 || fin_queued_ != fin_sent_ || flight_->board.has_unsent_losses()) mark_ready();
  if (snd_una_ == snd_nxt_) release_flight();
}

// Something is to be asked beside how much has arrived: of what is out, or of what the segment
// says.
bool Connection::in_trouble(const Incoming& segment) const {
  return phase_ != Phase::open || !flight_->board.untouched() || segment.options.sack_count != 0 ||
         dup_acks_ != 0 || flight_->reno_sacked != 0 || probe_out_ || raising_mss_ ||
         (ecn_ && segment.has(packet::Tcp::kEce)) || flight_->reorder_at != timer::kNever;
}

// before: snd_una until this segment came.
void Connection::repair(const Incoming& segment, Seq before, bool duplicate, AckResult& result) {
  const uint32_t acked = snd_una_ - before;
  if (raising_mss_ && seq_leq(flight_->raise_end, snd_una_)) on_mss_raise_acknowledged();
  bool duplicate_reported = false;
  if (sack_ && segment.options.sack_count != 0) apply_sack(segment, result, duplicate_reported);
  // A needless probe says that the peer was slow to answer, not that the path reorders.
  if (duplicate_reported && !(probe_out_ && probe_was_old_)) {
    if (take_flight()) flight_->board.on_duplicate_reported(before, snd_nxt_);
  }
  measure(result);
  if (!sack_) {
    if (duplicate) {
      if (dup_acks_ < UINT8_MAX) ++dup_acks_;
      flight_->reno_sacked =
          std::min(flight_->reno_sacked + mss_, snd_nxt_ - snd_una_ - flight_->board.lost_bytes());
      result.delivered = std::max<uint32_t>(result.delivered, mss_);
    } else if (acked != 0) {
      dup_acks_ = 0;
      flight_->reno_sacked -= std::min(flight_->reno_sacked, acked > mss_ ? acked - mss_ : 0);
    }
  }
  if (probe_out_)
    on_probe_acknowledged(segment, duplicate_reported, !duplicate || result.sacked != 0);
  if (acked != 0) undo_if_spurious(segment);
  detect_losses(result);
  prr_progress_ = acked != 0;
  // With an echo the window never grows, whether it is the first or not.
  const bool echo = ecn_ && segment.has(packet::Tcp::kEce);
  if (echo) on_congestion_echo(segment);
  advance_recovery(result, echo ? 0 : acked);
}

void Connection::take_acknowledged(Seq ack, AckResult& result) {
  const uint32_t acked = ack - snd_una_;
  const bool fin_acked = fin_sent_ && ack == snd_nxt_;
  flight_->board.acknowledge(core_->records, ack, result);
  const uint32_t bytes = acked - (fin_acked ? 1 : 0);
  const uint64_t freed = send_queue_.drop_front(bytes);
  send_occupied_ -= static_cast<uint32_t>(freed);
  core_->queued -= freed;
  if (ack - iss_ < snd_una_ - iss_) ++snd_wraps_;
  snd_una_ = ack;
}

// RFC 2883: the first block may report a duplicate. RFC 2018: the others lie in the window.
void Connection::apply_sack(const Incoming& segment, AckResult& result, bool& duplicate_reported) {
  const SackBlock* blocks = segment.options.sack;
  for (unsigned i = 0; i < segment.options.sack_count; ++i) {
    const SackBlock block = blocks[i];
    if (!seq_lt(block.start, block.end) || seq_lt(snd_nxt_, block.end)) {
      core_->drop(stats::Reason::tcp_bad_sack);
      continue;
    }
    const bool below = seq_leq(block.end, snd_una_);
    const bool inside_second = i == 0 && segment.options.sack_count > 1 &&
                               seq_leq(blocks[1].start, block.start) &&
                               seq_leq(block.end, blocks[1].end);
    if (below || inside_second) {
      // Only what could have been sent in this window says something.
      if (i == 0 && seq_lt(snd_una_ - max_snd_wnd_, block.start)) duplicate_reported = true;
      continue;
    }
    if (!seq_lt(snd_una_, block.start)) continue;
    flight_->board.sack(core_->records, block, result);
  }
}

void Connection::measure(const AckResult& result) {
  if (result.longest >= timer::Duration() && (!result.retransmitted || result.sacked != 0)) {
    rtt_.sample(result.longest, core_->present.seconds);
    rtt_.note_minimum(static_cast<uint32_t>(std::max<int64_t>(result.shortest.count(), 1)),
                      core_->present.seconds);
  } else if (result.delivered != 0 && result.retransmitted && result.has_timestamp &&
             result.echo != 0) {
    // The echo tells which copy arrived (RFC 7323 section 4), in whole milliseconds.
    const uint32_t elapsed = timestamp_now() - result.echo;
    if (elapsed < 60'000) rtt_.sample(std::chrono::milliseconds(elapsed), core_->present.seconds);
  }
}

// The first thing acknowledged after a retransmission echoes a time before it: the original had
// arrived, and neither timer nor marking was right (RFC 3522).
void Connection::undo_if_spurious(const Incoming& segment) {
  if (!undo_possible_ || phase_ == Phase::open || seq_lt(snd_una_, flight_->undo_at)) return;
  undo_possible_ = false;
  if (!timestamps_ || !segment.options.has_timestamp ||
      !seq_lt(segment.options.echo, flight_->retransmitted_at)) {
    return;
  }
  count_up(spurious_);
  ++core_->stats.spurious_recoveries;
  congestion_.undo(flight_->before);
  flight_->board.unmark_losses(core_->records);
  phase_ = Phase::open;
}

void Connection::on_probe_acknowledged(const Incoming& segment, bool duplicate_reported,
                                       bool progress) {
  const Seq ack = segment.acknowledgment;
  if (!probe_was_old_) {
    if (seq_leq(flight_->probe_end, ack)) probe_out_ = false;
    return;
  }
  if (duplicate_reported && seq_leq(flight_->probe_end, ack)) {
    probe_out_ = false;  // both copies arrived
    peer_delays_acks_ = true;
  } else if (seq_lt(flight_->probe_end, ack)) {
    // More than the probe covered: it repaired a loss, which congestion control must hear of.
    probe_out_ = false;
    if (phase_ == Phase::open) {
      flight_->standing_queue.interrupt();
      congestion_.on_loss(core_->now);
      congestion_.set_window(congestion_.slow_start_threshold());
    }
  } else if (ack == flight_->probe_end && !progress) {
    probe_out_ = false;
  }
}

void Connection::detect_losses(AckResult& result) {
  if (flight_->reorder_at != timer::kNever) flight_->reorder_at = timer::kNever;
  if (snd_una_ == snd_nxt_) return;
  if (!sack_) {
    // NewReno: three duplicates; in recovery each partial acknowledgment exposes the next hole.
    const bool partial = phase_ == Phase::recovery && prr_partial(result);
    if ((phase_ == Phase::open && dup_acks_ >= kDupThreshold) || partial) {
      const uint32_t lost = flight_->board.lost_bytes();
      flight_->board.mark_front_lost(core_->records, mss_);
      result.newly_lost += flight_->board.lost_bytes() - lost;
    }
    return;
  }
  const timer::Duration window =
      flight_->board.reorder_window(rtt_.minimum(), rtt_.smoothed(), mss_, phase_ != Phase::open);
  const timer::Duration wait = flight_->board.detect_losses(core_->records, window, result);
  if (wait > timer::Duration()) flight_->reorder_at = core_->now + wait;
}

// NewReno's partial acknowledgment (RFC 6582): progress that does not end the recovery.
bool Connection::prr_partial(const AckResult& result) const {
  return result.delivered != 0 && dup_acks_ == 0 && seq_lt(snd_una_, flight_->recovery_point) &&
         flight_->board.lost_bytes() == 0;
}

// RFC 3168 section 6.1.2: as for a loss, but nothing is to be repaired, and once for each window:
// not again before the peer has had what told it of the reduction.
void Connection::on_congestion_echo(const Incoming& segment) {
  if (tell_reduced_ || phase_ != Phase::open) return;
  if (flight_->reduced && seq_leq(segment.acknowledgment, flight_->reduced_at)) return;
  if (take_flight()) flight_->standing_queue.interrupt();
  congestion_.on_loss(core_->now);
  congestion_.set_window(congestion_.slow_start_threshold());
  tell_reduced_ = true;
}

void Connection::advance_recovery(const AckResult& result, uint32_t acked) {
  if (phase_ != Phase::open && seq_leq(flight_->recovery_point, snd_una_)) {
    leave_recovery();
  } else if (phase_ == Phase::open && result.newly_lost != 0 && !only_the_raise_is_lost()) {
    enter_recovery();
  }
  if (phase_ == Phase::recovery) return reduce_proportionally(result);
  if (acked != 0) grow_window(result, acked);
}

void Connection::grow_window(const AckResult& result, uint32_t acked) {
  bool limited = cwnd_limited_ || (congestion_.in_slow_start() &&
                                   congestion_.window() < 2 * flight_->most_in_flight);
  if (options_.short_queue) limited = keep_queue_short(result, limited);
  congestion_.on_ack({.acked = acked,
                      .una = snd_una_,
                      .nxt = snd_nxt_,
                      .now = core_->now,
                      .smoothed_rtt = timer::Duration(rtt_.smoothed()),
                      .rtt = result.shortest,
                      .limited = limited});
}

// The path's queue too is a place where what is urgent waits for what is not. Whether the window
// may grow.
bool Connection::keep_queue_short(const AckResult& result, bool limited) {
  if (snd_una_ == snd_nxt_) return limited;
  StandingQueue& queue = flight_->standing_queue;
  if (congestion_.in_slow_start() || phase_ != Phase::open) {
    queue.interrupt();
    return limited;
  }
  const auto rtt =
      static_cast<uint32_t>(std::clamp<int64_t>(result.shortest.count(), 0, INT32_MAX));
  const StandingQueue::Advice advice = queue.on_ack({.una = snd_una_,
                                                     .nxt = snd_nxt_,
                                                     .rtt = rtt,
                                                     .base = rtt_.minimum(),
                                                     .window = congestion_.window(),
                                                     .limited = limited});
  if (advice.window != 0) {
    // Four segments are never too many.
    const uint32_t least = std::min<uint32_t>(congestion_.window(), 4u * mss_);
    congestion_.settle(std::max(advice.window, least));
  }
  return limited && advice.grow;
}

// That a path doesn't carry a larger size is no congestion (RFC 4821 section 7.7).
bool Connection::only_the_raise_is_lost() {
  if (!raising_mss_) return false;
  const uint32_t index = flight_->board.next_lost(core_->records);
  return index != Scoreboard::kNone && core_->records[index].start == flight_->raise_start &&
         flight_->board.lost_bytes() == flight_->raise_end - flight_->raise_start;
}

void Connection::enter_recovery() {
  phase_ = Phase::recovery;
  flight_->standing_queue.interrupt();
  flight_->recovery_point = snd_nxt_;
  undo_possible_ = false;
  flight_->retransmitted_at = 0;
  flight_->before = congestion_.on_loss(core_->now);
  tell_reduced_ = ecn_;
  flight_->prr_delivered = 0;
  flight_->prr_out = 0;
  flight_->prr_flight = std::max<uint32_t>(snd_nxt_ - snd_una_, mss_);
  probe_out_ = false;
}

void Connection::leave_recovery() {
  if (phase_ == Phase::recovery) congestion_.set_window(congestion_.slow_start_threshold());
  phase_ = Phase::open;
  undo_possible_ = false;
  dup_acks_ = 0;
  flight_->reno_sacked = 0;
  flight_->board.on_recovery_end();
}

// RFC 6937: the window falls in step with what is delivered, and never leaves the sender silent.
void Connection::reduce_proportionally(const AckResult& result) {
  flight_->prr_delivered += result.delivered;
  const uint32_t pipe = in_flight();
  const uint32_t target = congestion_.slow_start_threshold();
  int64_t allowed;
  if (pipe > target) {
    const uint64_t share = uint64_t{flight_->prr_delivered} * target + flight_->prr_flight - 1;
    allowed = static_cast<int64_t>(share / flight_->prr_flight) - flight_->prr_out;
  } else {
    int64_t bound =
        std::max<int64_t>(int64_t{flight_->prr_delivered} - flight_->prr_out, result.delivered);
    // Slow start reduction bound only while nothing more is being lost.
    if (prr_progress_ && result.newly_lost == 0) bound += mss_;
    allowed = std::min<int64_t>(target - pipe, bound);
  }
  if (flight_->prr_out == 0) allowed = std::max<int64_t>(allowed, mss_);  // the fast retransmission
  congestion_.set_window(pipe + static_cast<uint32_t>(std::max<int64_t>(allowed, 0)));
}

// Our FIN, once acknowledged, moves the state machine on.
void Connection::on_sender_state_change() {
  if (!fin_sent_ || snd_una_ != snd_nxt_) return;
  switch (state_) {
    case State::fin_wait_1:
      state_ = State::fin_wait_2;
      break;
    case State::closing:
      core_->enter_time_wait(*this);
      break;
    case State::last_ack:
      ++core_->stats.closed;
      finish();
      if (receive_queue_.empty()) raise(kClosed);
      break;
    default:
      break;
  }
}

}  // namespace isthmus::tcp
