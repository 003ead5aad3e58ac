// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Segments on their way out: RFC 9293 sections 3.8.6 and 3.10.3.
#include <algorithm>
#include <cstring>

#include "packet/buffer.h"
#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

using packet::Tcp;

// A payload up to this length costs less to copy than to refer to.
constexpr uint32_t kCopyLimit = 256;
// Segments of one packet: what rings and devices take in one descriptor chain.
constexpr unsigned kMaxSlices = 48;
// The offered window may grow past the buffer by this much, so that rounding to the window scale
// does not take back what was offered.
constexpr uint32_t kRoundingRoom = 16 << 10;
constexpr timer::Duration kBufferRetry = std::chrono::milliseconds(1);

// How many of length bytes fit into kMaxSlices slices from this position.
uint32_t reachable(const rte_mbuf* segment, const uint8_t* data, uint32_t length) {
  uint32_t found = 0;
  for (unsigned i = 0; i < kMaxSlices && segment != nullptr && found < length; ++i) {
    const uint8_t* start = rte_pktmbuf_mtod(segment, const uint8_t*);
    found += segment->data_len - static_cast<uint32_t>(i == 0 ? data - start : 0);
    segment = segment->next;
  }
  return std::min(found, length);
}

// Moves a position n bytes on; at the end of the list the segment is null.
void skip(rte_mbuf*& segment, const uint8_t*& data, uint32_t n) {
  while (segment != nullptr) {
    const auto left =
        static_cast<uint32_t>(rte_pktmbuf_mtod(segment, const uint8_t*) + segment->data_len - data);
    if (n < left) {
      data += n;
      return;
    }
    n -= left;
    segment = segment->next;
    if (segment != nullptr) data = rte_pktmbuf_mtod(segment, const uint8_t*);
  }
}

// Puts payload behind the header: copied when short, otherwise by reference.
bool attach_payload(rte_mbuf* packet, rte_mbuf* segment, const uint8_t* data, uint32_t length,
                    rte_mempool* clones) {
  if (length <= kCopyLimit) {
    while (length != 0) {
      const auto left = static_cast<uint32_t>(rte_pktmbuf_mtod(segment, const uint8_t*) +
                                              segment->data_len - data);
      const uint32_t n = std::min(left, length);
      std::memcpy(rte_pktmbuf_mtod_offset(packet, uint8_t*, packet->data_len), data, n);
      packet->data_len = static_cast<uint16_t>(packet->data_len + n);
      packet->pkt_len += n;
      length -= n;
      segment = segment->next;
      if (segment != nullptr) data = rte_pktmbuf_mtod(segment, const uint8_t*);
    }
    return true;
  }
  rte_mbuf* tail = packet;
  while (length != 0) {
    const auto offset = static_cast<uint16_t>(data - rte_pktmbuf_mtod(segment, const uint8_t*));
    const auto n =
        static_cast<uint16_t>(std::min<uint32_t>(length, segment->data_len - uint32_t{offset}));
    if (n != 0) {
      rte_mbuf* slice = packet::share_slice(segment, offset, n, clones);
      if (slice == nullptr) return false;
      tail->next = slice;
      tail = slice;
      ++packet->nb_segs;
      packet->pkt_len += n;
      length -= n;
    }
    segment = segment->next;
    if (segment != nullptr) data = rte_pktmbuf_mtod(segment, const uint8_t*);
  }
  return true;
}

}  // namespace

uint32_t Connection::timestamp_now() const {
  return core_->timestamp() + ts_offset_;
}

void Connection::out_of_buffers() {
  ++core_->stats.no_buffer;
  blocked_by_buffers_ = true;
  retry_at_ = micros(core_->now + kBufferRetry);
}

// Called by flush(): sends what state and windows allow, then an ACK when one is still owed.
void Connection::output() {
  if (send_reset_) {
    send_reset_ = false;
    send_reset();
  }
  if (state_ == State::closed || state_ == State::time_wait) return;
  blocked_by_buffers_ = paced_ = false;
  if (syn_due_) send_syn();
  // What does not fit is answered in SYN-RECEIVED too (RFC 9293 section 3.10.7.4).
  if (state_ == State::syn_received && ack_now_ && snd_nxt_ != iss_) send_ack(snd_nxt_);
  if (synchronized()) {
    // A duplicate is reported once (RFC 2883 section 4), so not by data that will be cut.
    if (disorder_->duplicate.start != disorder_->duplicate.end && unsent_ != 0) send_ack(snd_nxt_);
    if (unsent_ != 0 || fin_queued_ != fin_sent_ || flight_->board.has_unsent_losses()) {
      output_data();
    }
    // Also when data can't leave: what it waits for may be the peer, who waits for this.
    if (ack_now_) send_ack(snd_nxt_);
    set_loss_timer();
  }
  arm_unless_late();
}

void Connection::output_data() {
  // An idle connection's window has grown old (RFC 5681 section 4.1).
  if (snd_una_ == snd_nxt_ && unsent_ != 0) {
    const timer::Duration rto = retransmission_timeout();
    const timer::Duration idle = core_->now - last_sent_.instant(core_->present);
    if (idle >= rto) congestion_.on_idle(static_cast<unsigned>(std::min<int64_t>(idle / rto, 32)));
  }
  for (;;) {
    const bool sent = flight_->board.has_unsent_losses() ? retransmit_next() : send_new(false);
    if (!sent || blocked_by_buffers_) break;
  }
  const uint32_t out = snd_nxt_ - snd_una_;
  if (out > flight_->most_in_flight) flight_->most_in_flight = out;
  if (options_.short_queue && want_write_ && send_room() >= room_worth_telling()) {
    want_write_ = false;
    raise(kWritable);
  }
}

bool Connection::retransmit_next() {
  const uint32_t index = flight_->board.next_lost(core_->records);
  if (index == Scoreboard::kNone) return false;
  const uint32_t pipe = in_flight();
  const uint32_t window = congestion_.window();
  uint32_t room = window > pipe ? window - pipe : 0;
  SentRecord& record = core_->records[index];
  if (room < std::min<uint32_t>(record.length(), mss_)) {
    if (pipe != 0) return false;
    room = mss_;
  }
  uint32_t n = std::min({record.length(), room, uint32_t{UINT16_MAX} - 120});
  if (record.segment != nullptr) {
    n = std::min(n, reachable(record.segment, record.data, record.length()) + 1);
  }
  if (n < record.length()) n = std::max<uint32_t>(n / mss_ * mss_, std::min<uint32_t>(n, mss_));
  // Without a record for the rest, the front goes alone; its acknowledgment exposes the rest again.
  if (flight_->board.trim_record(core_->records, index, n)) n = record.length();
  const bool fin = fin_sent_ && record.start + n == snd_nxt_;
  const uint32_t bytes = n - (fin ? 1 : 0);
  if (!send_range(record.start, bytes, record.segment, record.data, fin, false)) return false;
  if (!undo_possible_ && flight_->retransmitted_at == 0) {
    undo_possible_ = true;
    flight_->retransmitted_at = timestamp_now();
    flight_->undo_at = record.start + n;
  }
  if (raising_mss_ && seq_lt(record.start, flight_->raise_end) &&
      seq_lt(flight_->raise_start, record.start + n)) {
    on_mss_raise_lost();
  }
  if (index == flight_->board.head()) restart_timeout();
  flight_->board.on_retransmit(core_->records, index, n, core_->now);
  if (phase_ == Phase::recovery) flight_->prr_out += n;
  ++retransmissions_;
  ++core_->stats.retransmissions;
  bytes_retransmitted_ += bytes;
  return true;
}

// The path itself must be long: where a host or a queue makes a short one slow, ACKs come many at
// once, and what they release would wait once more.
bool Connection::is_paced() const {
  return timer::Duration(rtt_.minimum()) >= core_->config.paced_rtt;
}

Pacing::Path Connection::pace() const {
  return {congestion_.window(), rtt_.smoothed(), mss_, congestion_.in_slow_start()};
}

uint32_t Connection::pace_allowance() const {
  if (snd_una_ == snd_nxt_) return Pacing::burst(pace());
  return flight_->pacing.allowance(micros(core_->now), pace());
}

// Of new data that the windows let go: how much may leave now. Zero: it waits.
uint32_t Connection::take_pace(uint32_t length) {
  const uint32_t allowance = pace_allowance();
  if (length <= allowance) return length;
  if (allowance >= Pacing::burst(pace()) / 2) return allowance / mss_ * mss_;
  paced_ = true;
  retry_at_ = flight_->pacing.resume_at(pace());
  return 0;
}

// probe: a tail loss probe or the persist timer, which the congestion window does not hold back.
bool Connection::send_new(bool probe) {
  const bool fin_waits = fin_queued_ && !fin_sent_;
  if (unsent_ == 0 && !fin_waits) return false;
  const uint32_t outstanding = snd_nxt_ - snd_una_;
  const uint32_t offered = snd_wnd_ > outstanding ? snd_wnd_ - outstanding : 0;
  const uint32_t pipe = in_flight();
  const uint32_t window = congestion_.window();
  uint32_t room = window > pipe ? window - pipe : 0;
  if (probe) room = std::max<uint32_t>(room, mss_);
  uint32_t n = std::min(unsent_, offered);
  if (n > room) {
    n = room / mss_ * mss_;
    if (n == 0) {
      cwnd_limited_ = true;
      return false;
    }
    cwnd_limited_ = true;
  } else if (n == unsent_ && room - n >= mss_) {
    cwnd_limited_ = false;
  }
  const bool paced = is_paced();
  if (paced && n != 0 && !probe) {
    n = take_pace(n);
    if (n == 0) return false;
  }
  // Most are one segment, for which nothing needs to be divided.
  if (n > mss_) n = std::min(n, (uint32_t{UINT16_MAX} - 120) / mss_ * mss_);
  if (n != 0) n = reachable(unsent_segment_, unsent_data_, n);
  if (n < unsent_) {
    if (n > mss_) n = n / mss_ * mss_;
    // Sender's silly window avoidance (MUST-38): a short segment only when it is half of the
    // largest window, or the persist timer says so.
    const bool by_window = n == offered;
    if (n < mss_ && by_window && !probe && n < max_snd_wnd_ / 2) return false;
    if (n == 0) return false;
  } else if (n != 0 && n < mss_ && options_.nagle && outstanding != 0 && !fin_waits && !probe) {
    return false;
  }
  const bool raise = !probe && may_raise_mss(n);
  if (raise) n = full_mss_;
  const bool fin = fin_waits && n == unsent_ && (n < offered || (n == 0 && offered != 0));
  if (n == 0 && !fin) return false;
  if (!flight_->board.has_room(core_->records) || !take_flight()) {
    out_of_buffers();
    return false;
  }
  if (raise) {
    raising_mss_ = true;
    flight_->raise_start = snd_nxt_;
    flight_->raise_end = snd_nxt_ + n;
  }
  if (!send_range(snd_nxt_, n, n != 0 ? unsent_segment_ : nullptr, unsent_data_, fin,
                  n != 0 && !probe)) {
    if (raise) raising_mss_ = false;
    return false;
  }
  if (outstanding == 0) flight_->most_in_flight = 0;
  // Patience is counted from when there is something to acknowledge.
  if (outstanding == 0) progress_at_ = Moment(core_->present);
  const uint32_t span = n + (fin ? 1 : 0);
  if (outstanding == 0) restart_timeout();
  if (paced) flight_->pacing.on_sent(micros(core_->now), n, pace(), outstanding == 0);
  flight_->board.push(core_->records, snd_nxt_, snd_nxt_ + span, n != 0 ? unsent_segment_ : nullptr,
                      unsent_data_, core_->now);
  snd_nxt_ += span;
  skip_unsent(n);
  fin_sent_ |= fin;
  core_->stats.bytes_sent += n;
  if (phase_ == Phase::recovery) flight_->prr_out += span;
  return true;
}

void Connection::skip_unsent(uint32_t n) {
  unsent_ -= n;
  if (unsent_ != 0) skip(unsent_segment_, unsent_data_, n);
}

bool Connection::send_range(Seq start, uint32_t length, rte_mbuf* segment, const uint8_t* data,
                            bool fin, bool fresh) {
  uint8_t flags = Tcp::kAck;
  if (fin) flags |= Tcp::kFin;
  // PSH on the segment that empties the send queue (RFC 9293 MUST-60 and on).
  if (length != 0 && start + length == snd_nxt_ + unsent_) flags |= Tcp::kPsh;
  const bool owed = ack_now_ || ack_delayed_;
  const Seq edge = rcv_edge_;
  const bool raise = raising_mss_ && fresh && start == flight_->raise_start;
  rte_mbuf* packet = header(flags, start, length, raise ? full_mss_ : mss_, fresh);
  if (packet == nullptr) {
    rcv_edge_ = edge;
    out_of_buffers();
    return false;
  }
  if (!attach_payload(packet, segment, data, length, core_->pools.clones)) {
    rte_pktmbuf_free(packet);
    rcv_edge_ = edge;  // nobody was told
    ack_now_ = ack_now_ || owed;
    out_of_buffers();
    return false;
  }
  last_sent_ = Moment(core_->present);
  if (fresh && tell_reduced_) {
    tell_reduced_ = false;
    flight_->reduced = true;
    flight_->reduced_at = start;
  }
  core_->transmit(packet, options_.path);
  return true;
}

// The header of a segment of this connection. It carries the ACK, so none is owed any more.
rte_mbuf* Connection::header(uint8_t flags, Seq sequence, uint32_t payload, uint16_t mss,
                             bool fresh) {
  SegmentOptions options;
  fill_options(options);
  if ((flags & Tcp::kSyn) != 0) {
    options.has_mss = true;
    options.mss = receive_mss_;
    options.has_scale = scaling_;
    options.scale = rcv_scale_;
    options.sack_permitted = sack_;
    options.sack_count = 0;
  }
  const bool ack = (flags & Tcp::kAck) != 0;
  if (ack && echo_congestion_) flags |= Tcp::kEce;
  if (fresh && tell_reduced_) flags |= Tcp::kCwr;
  SegmentHeader segment{.local = local_, .remote = remote_};
  // RFC 3168 sections 6.1.4 to 6.1.6: neither pure ACKs nor retransmissions nor window probes.
  if (fresh && ecn_) segment.ecn = kEcnCapable;
  segment.sequence = sequence;
  segment.acknowledgment = ack ? rcv_nxt_ : 0;
  segment.flags = flags;
  segment.ttl = options_.ttl;
  segment.dscp = options_.dscp;
  segment.id = core_->next_id++;
  segment.options = &options;
  segment.payload = payload;
  segment.mss = mss;
  if ((flags & Tcp::kSyn) != 0) {
    // Not scaled on a SYN.
    segment.window = static_cast<uint16_t>(std::min<uint32_t>(receive_buffer_, UINT16_MAX));
    if (ack || state_ == State::syn_received) rcv_edge_ = rcv_nxt_ + segment.window;
  } else if ((flags & Tcp::kRst) == 0) {
    segment.window = window_field();
  }
  rte_mbuf* packet = build_header(core_->pools.small, segment);
  if (packet != nullptr && ack) {
    last_ack_sent_ = rcv_nxt_;
    ack_now_ = ack_delayed_ = false;
    unacked_bytes_ = 0;
    if (disorder_->duplicate.start != disorder_->duplicate.end) disorder_->duplicate = {};
    release_disorder();
    if (quick_acks_ > 0) --quick_acks_;
  }
  return packet;
}

void Connection::fill_options(SegmentOptions& options) {
  if (timestamps_) {
    options.has_timestamp = true;
    options.timestamp = timestamp_now();
    options.echo = ts_recent_;
  }
  if (!sack_) return;
  // RFC 2883: a duplicate comes first, with the run around it.
  if (disorder_->duplicate.start != disorder_->duplicate.end) {
    options.sack[options.sack_count++] = disorder_->duplicate;
    if (seq_leq(rcv_nxt_, disorder_->duplicate.start)) {
      const SackBlock around = disorder_->gaps.run_around(core_->gaps, disorder_->duplicate.start,
                                                          disorder_->duplicate.end);
      if (around.start != around.end) options.sack[options.sack_count++] = around;
    }
  }
  if (disorder_->gaps.empty()) return;
  SackBlock blocks[kMaxSackBlocks];
  const unsigned count = disorder_->gaps.blocks(core_->gaps, blocks, kMaxSackBlocks);
  for (unsigned i = 0; i < count && options.sack_count < kMaxSackBlocks; ++i) {
    if (options.sack_count == 2 && options.sack[1] == blocks[i]) continue;
    options.sack[options.sack_count++] = blocks[i];
  }
}

// RFC 9293 section 3.8.6.2.2 (MUST-39): the edge moves when a full segment or half of the buffer
// has become free, and never back (SHLD-14).
uint16_t Connection::window_field() {
  const uint32_t queued = receive_queue_.size();
  const uint32_t limit = receive_limit();
  const uint32_t space = limit > queued ? limit - queued : 0;
  const uint32_t offered = rcv_edge_ - rcv_nxt_;
  uint32_t window = offered;
  if (space > offered && space - offered >= std::min<uint32_t>(limit / 2, receive_mss_)) {
    window = space;
  }
  window = std::min<uint32_t>(window, uint32_t{UINT16_MAX} << rcv_scale_);
  // Rounded up, the edge stays where it was offered. Where that would go too far beyond the buffer
  // it is rounded down, which RFC 7323 section 2.4 allows.
  const uint32_t unit = 1u << rcv_scale_;
  uint32_t field = window >> rcv_scale_;
  if ((window & (unit - 1)) != 0 && field < UINT16_MAX &&
      (field + 1) * unit + queued <= receive_buffer_ + kRoundingRoom) {
    ++field;
  }
  rcv_edge_ = seq_max(rcv_edge_, rcv_nxt_ + field * unit);
  return static_cast<uint16_t>(field);
}

// The user has taken so much that the peer should hear of it before it has something to ask: the
// window doubles, or half of the buffer.
bool Connection::window_update_due() const {
  if (!receiving()) return false;
  const uint32_t queued = receive_queue_.size();
  const uint32_t limit = receive_limit();
  const uint32_t space = limit > queued ? limit - queued : 0;
  const uint32_t offered = rcv_edge_ - rcv_nxt_;
  if (space <= offered) return false;
  const uint32_t gain = space - offered;
  return gain >= limit / 2 ||
         (space >= 2 * offered && gain >= std::min<uint32_t>(2u * receive_mss_, limit / 2));
}

// RFC 3168 section 6.1.1. A SYN that was not answered may have met somebody who drops such SYNs.
uint8_t Connection::syn_ecn_flags() const {
  if (state_ != State::syn_sent) return ecn_ ? Tcp::kEce : 0;
  return options_.ecn == Ecn::active && !syn_repeated_ ? Tcp::kEce | Tcp::kCwr : 0;
}

void Connection::send_syn() {
  const bool ack = state_ == State::syn_received;
  if (state_ != State::syn_sent && !ack) {
    syn_due_ = false;
    return;
  }
  const auto flags = static_cast<uint8_t>(Tcp::kSyn | (ack ? Tcp::kAck : 0) | syn_ecn_flags());
  rte_mbuf* packet = header(flags, iss_);
  if (packet == nullptr) return out_of_buffers();
  syn_due_ = false;
  snd_nxt_ = iss_ + 1;
  syn_sent_at_ = micros(core_->now);
  last_sent_ = Moment(core_->present);
  if (timeout_at_ == timer::kNever) restart_timeout();
  set_loss_timer();
  core_->transmit(packet, options_.path);
}

// Without data; with an old sequence number it makes the peer answer (a window or keep-alive
// probe).
void Connection::send_ack(Seq sequence) {
  rte_mbuf* packet = header(Tcp::kAck, sequence);
  if (packet == nullptr) return out_of_buffers();
  if (!disorder_->gaps.empty()) ++core_->stats.duplicate_acks_sent;
  core_->transmit(packet, options_.path);
}

void Connection::send_reset() {
  // A SYN that is refused has seen no number of ours (RFC 9293 section 3.10.7.1).
  const Seq sequence = snd_nxt_ == iss_ ? 0 : snd_nxt_;
  rte_mbuf* packet = header(Tcp::kRst | Tcp::kAck, sequence);
  if (packet == nullptr) {
    ++core_->stats.no_buffer;
    return;
  }
  ++core_->stats.resets_sent;
  core_->transmit(packet, options_.path);
}

}  // namespace isthmus::tcp
