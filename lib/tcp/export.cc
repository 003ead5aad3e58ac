// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Connections that leave for another engine, or come from one, in mid-transfer. What depends on the
// moment is not taken along but begun anew: RACK's times (everything in flight counts as sent at
// the import), the undo of a recovery, an unanswered tail probe, CUBIC's epoch.
#include <algorithm>

#include "tcp/core.h"
#include "tcp/state.h"

namespace isthmus::tcp {
namespace {

// A record is what one packet can carry again.
constexpr uint32_t kRecordBytes = 16'384;

uint32_t milliseconds(PolicyTime time) {
  return time.count();
}

void write_bytes(StateWriter& writer, const packet::Chain& chain) {
  uint8_t* to = writer.room(chain.size());
  if (writer.fits()) chain.copy_out(0, {to, chain.size()});
}

uint64_t age(timer::Instant now, Moment then) {
  return static_cast<uint64_t>(std::max<int64_t>((now - then.instant(now)).count(), 0));
}

uint16_t counter(uint32_t saved) {
  return static_cast<uint16_t>(std::min<uint32_t>(saved, UINT16_MAX));
}

}  // namespace

void Connection::save_numbers(SavedConnection& s) const {
  const timer::Instant now = core_->now;
  const auto flag = [&s](bool set, SavedFlag bit) { s.flags |= set ? bit : 0u; };
  s.local = local_, s.remote = remote_, s.cookie = cookie_;
  s.state = static_cast<uint8_t>(state_), s.phase = static_cast<uint8_t>(phase_);
  s.events = events_;
  flag(timestamps_, kSavedTimestamps), flag(sack_, kSavedSack), flag(scaling_, kSavedScaling);
  flag(ecn_, kSavedEcn), flag(echo_congestion_, kSavedEchoCongestion);
  flag(ack_now_ || ack_delayed_, kSavedAckOwed);
  flag(fin_queued_, kSavedFinQueued), flag(fin_sent_, kSavedFinSent);
  flag(fin_seen_, kSavedFinSeen), flag(peer_closed_, kSavedPeerClosed);
  flag(want_write_, kSavedWantWrite), flag(passive_, kSavedPassive);
  flag(stalled_, kSavedStalled), flag(peer_delays_acks_, kSavedPeerDelaysAcks);
  s.iss = iss_, s.snd_una = snd_una_, s.snd_nxt = snd_nxt_, s.snd_wnd = snd_wnd_;
  s.max_snd_wnd = max_snd_wnd_, s.snd_wl1 = snd_wl1_, s.snd_wl2 = snd_wl2_;
  s.irs = irs_, s.rcv_nxt = rcv_nxt_, s.rcv_edge = rcv_edge_;
  s.last_ack_sent = last_ack_sent_, s.fin_at = fin_at_;
  s.snd_scale = snd_scale_, s.rcv_scale = rcv_scale_;
  s.mss = mss_, s.peer_mss = peer_mss_, s.receive_mss = receive_mss_;
  s.receive_buffer = receive_buffer_, s.timestamp = timestamp_now();
  s.ts_recent = ts_recent_, s.ts_recent_age = seconds(now) - ts_recent_at_;
  s.congestion_window = congestion_.window();
  s.slow_start_threshold = congestion_.slow_start_threshold();
  s.smoothed_rtt = rtt_.smoothed(), s.rtt_variance = rtt_.variance(), s.min_rtt = rtt_.minimum();
  s.recovery_point = flight_->recovery_point, s.prr_delivered = flight_->prr_delivered;
  s.prr_out = flight_->prr_out, s.prr_flight = flight_->prr_flight;
  s.reno_sacked = flight_->reno_sacked;
  s.backoff = backoff_, s.dup_acks = dup_acks_, s.quick_acks = quick_acks_;
  s.keepalives_out = keepalives_out_;
  s.last_sent_age = age(now, last_sent_), s.last_received_age = age(now, last_received_);
  s.progress_age = age(now, progress_at_);
  s.stalled_age = stalled_ ? age(now, stalled_at_) : 0;
  s.rcv_wraps = rcv_wraps_, s.snd_wraps = snd_wraps_;
  s.bytes_retransmitted = bytes_retransmitted_, s.retransmissions = retransmissions_;
  s.timeouts = timeouts_, s.tail_probes = tail_probes_, s.spurious = spurious_;
  s.send_bytes = send_queue_.size(), s.receive_bytes = receive_queue_.size();
}

void Connection::save_policy(SavedConnection& s) const {
  s.path = options_.path, s.keepalive_idle = milliseconds(options_.keepalive_idle);
  s.user_timeout = milliseconds(patience_.user_timeout);
  s.handshake_timeout = milliseconds(patience_.handshake_timeout);
  s.stall_timeout = milliseconds(patience_.stall_timeout);
  s.keepalive_interval = milliseconds(patience_.keepalive_interval);
  s.fin_wait_2_timeout = milliseconds(patience_.fin_wait_2_timeout);
  s.ttl = options_.ttl, s.keepalive_probes = options_.keepalive_probes;
  s.nagle = options_.nagle ? 1 : 0;
  s.congestion = static_cast<uint8_t>(options_.congestion);
  s.ecn = static_cast<uint8_t>(options_.ecn), s.dscp = options_.dscp;
  s.full_mss = full_mss_;
  const auto raise_in = static_cast<int32_t>(raise_at_ - core_->present.seconds);
  s.raise_in = full_mss_ != 0 ? static_cast<uint32_t>(std::max(raise_in, 0)) : 0;
}

// Sacked records that touch are one range.
template <typename Visit>
void Connection::each_sacked(Visit&& visit) const {
  SackBlock range;
  const RecordPool& records = core_->records;
  for (uint32_t i = flight_->board.head(); i != Scoreboard::kNone; i = records[i].next) {
    if ((records[i].flags & SentRecord::kSacked) == 0) continue;
    if (range.start != range.end && range.end == records[i].start) {
      range.end = records[i].end;
      continue;
    }
    if (range.start != range.end) visit(range);
    range = {records[i].start, records[i].end};
  }
  if (range.start != range.end) visit(range);
}

size_t Connection::save(std::span<uint8_t> to) const {
  if (!synchronized() || dead_ || failure_ != Failure::none) return 0;
  SavedConnection saved;
  save_numbers(saved);
  save_policy(saved);
  const Reassembly& runs = disorder_->gaps;
  each_sacked([&](SackBlock range) {
    // The peer has reneged where the first byte is: then the marks mean nothing.
    if (range.start == snd_una_ || saved.sacked_count == kMaxSavedRanges) return;
    ++saved.sacked_count;
  });
  runs.for_each(core_->gaps, [&](const Gap&) { ++saved.gap_count; });
  if (saved.gap_count > kMaxSavedRanges) return 0;
  StateWriter writer(to);
  writer.field(kStateMagic);
  writer.field(kStateVersion);
  writer.field(uint16_t{0});
  const size_t length_at = writer.size();
  writer.field(uint32_t{0});
  exchange_fields(writer, saved);
  uint32_t left = saved.sacked_count;
  each_sacked([&](SackBlock range) {
    if (range.start == snd_una_ || left == 0) return;
    --left;
    writer.field(range.start);
    writer.field(range.end);
  });
  runs.for_each(core_->gaps, [&](const Gap& gap) {
    writer.field(gap.start);
    writer.field(gap.end - gap.start);
  });
  write_bytes(writer, send_queue_);
  write_bytes(writer, receive_queue_);
  runs.for_each(core_->gaps, [&](const Gap& gap) { write_bytes(writer, gap.bytes); });
  if (writer.fits()) {
    StateWriter(to.subspan(length_at)).field(static_cast<uint32_t>(writer.size()));
  }
  return writer.size();
}

void Connection::leave() {
  finish();
  state_ = State::closed;
  events_ = 0;
  send_reset_ = false;
  dead_ = true;
  mark_ready();
}

void Connection::restore_numbers(const SavedConnection& s) {
  const timer::Instant now = core_->now;
  const auto flag = [&s](SavedFlag bit) { return (s.flags & bit) != 0; };
  const auto ago = [now](uint64_t age) { return Moment(now - timer::Duration(age)); };
  state_ = static_cast<State>(s.state), phase_ = static_cast<Phase>(s.phase);
  cookie_ = s.cookie;
  timestamps_ = flag(kSavedTimestamps), sack_ = flag(kSavedSack);
  scaling_ = flag(kSavedScaling), ecn_ = flag(kSavedEcn);
  echo_congestion_ = flag(kSavedEchoCongestion), ack_now_ = flag(kSavedAckOwed);
  fin_queued_ = flag(kSavedFinQueued), fin_sent_ = flag(kSavedFinSent);
  fin_seen_ = flag(kSavedFinSeen), peer_closed_ = flag(kSavedPeerClosed);
  want_write_ = flag(kSavedWantWrite), passive_ = flag(kSavedPassive);
  stalled_ = flag(kSavedStalled), peer_delays_acks_ = flag(kSavedPeerDelaysAcks);
  iss_ = s.iss, snd_una_ = s.snd_una, snd_nxt_ = s.snd_nxt, snd_wnd_ = s.snd_wnd;
  max_snd_wnd_ = s.max_snd_wnd, snd_wl1_ = s.snd_wl1, snd_wl2_ = s.snd_wl2;
  irs_ = s.irs, rcv_nxt_ = s.rcv_nxt, rcv_edge_ = s.rcv_edge;
  last_ack_sent_ = s.last_ack_sent, fin_at_ = s.fin_at;
  snd_scale_ = s.snd_scale, rcv_scale_ = s.rcv_scale;
  mss_ = s.mss, peer_mss_ = s.peer_mss, receive_mss_ = s.receive_mss;
  receive_buffer_ = s.receive_buffer;
  ts_offset_ = 0;
  ts_offset_ = s.timestamp - timestamp_now();
  ts_recent_ = s.ts_recent, ts_recent_at_ = seconds(now) - s.ts_recent_age;
  congestion_.start(options_.congestion, mss_, core_->config.max_send_buffer);
  congestion_.resume(s.congestion_window, s.slow_start_threshold);
  rtt_.resume(s.smoothed_rtt, s.rtt_variance, s.min_rtt, core_->present.seconds);
  backoff_ = s.backoff, dup_acks_ = s.dup_acks, quick_acks_ = s.quick_acks;
  keepalives_out_ = s.keepalives_out;
  last_sent_ = ago(s.last_sent_age), last_received_ = ago(s.last_received_age);
  progress_at_ = ago(s.progress_age), stalled_at_ = ago(s.stalled_age);
  rcv_wraps_ = s.rcv_wraps, snd_wraps_ = s.snd_wraps;
  bytes_retransmitted_ = s.bytes_retransmitted, retransmissions_ = s.retransmissions;
  timeouts_ = counter(s.timeouts), tail_probes_ = counter(s.tail_probes);
  spurious_ = counter(s.spurious);
}

void Connection::restore_policy(const SavedConnection& s) {
  const auto bounded = [](uint32_t time, PolicyTime longest = kLongestPolicyTime) {
    return std::min(PolicyTime(time), longest);
  };
  options_.path = s.path, options_.keepalive_idle = bounded(s.keepalive_idle);
  patience_.user_timeout = bounded(s.user_timeout);
  patience_.handshake_timeout = bounded(s.handshake_timeout);
  patience_.stall_timeout = bounded(s.stall_timeout);
  patience_.keepalive_interval = bounded(s.keepalive_interval, Patience::kLongestInterval);
  patience_.fin_wait_2_timeout = bounded(s.fin_wait_2_timeout);
  options_.ttl = s.ttl, options_.keepalive_probes = s.keepalive_probes;
  options_.nagle = s.nagle != 0;
  options_.congestion = static_cast<CongestionControl>(s.congestion);
  options_.ecn = static_cast<Ecn>(s.ecn), options_.dscp = s.dscp & 63u;
  full_mss_ = s.full_mss, raise_at_ = core_->present.seconds + s.raise_in;
}

// The send queue's first bytes are in flight: a record for each piece, none across the edge of a
// sacked range.
bool Connection::restore_flight(const ParsedState& parsed) {
  const SavedConnection& s = parsed.saved;
  if (!send_queue_.append_copy(parsed.send, core_->pools.large)) return false;
  send_occupied_ = static_cast<uint32_t>(send_queue_.occupied());
  core_->queued += send_occupied_;
  unsent_segment_ = send_queue_.head();
  if (unsent_segment_ != nullptr) unsent_data_ = rte_pktmbuf_mtod(unsent_segment_, uint8_t*);
  unsent_ = send_queue_.size();
  if (snd_una_ == snd_nxt_) return true;
  if (!take_flight()) return false;
  flight_->recovery_point = s.recovery_point, flight_->prr_delivered = s.prr_delivered;
  flight_->prr_out = s.prr_out, flight_->prr_flight = std::max<uint32_t>(s.prr_flight, mss_);
  flight_->reno_sacked = sack_ ? 0 : std::min(s.reno_sacked, snd_nxt_ - snd_una_);
  const Seq fin_at = snd_nxt_ - (fin_sent_ ? 1 : 0);
  for (Seq at = snd_una_; at != snd_nxt_;) {
    Seq end = seq_min(at + kRecordBytes, fin_at);
    const bool bytes = at != fin_at;
    if (end == fin_at) end = snd_nxt_;
    if (!flight_->board.push(core_->records, at, end, bytes ? unsent_segment_ : nullptr,
                             unsent_data_, core_->now)) {
      return false;
    }
    // When it was sent nobody knows any more: no round trip comes of it (Karn).
    flight_->board.on_retransmit(core_->records, flight_->board.tail(), end - at, core_->now);
    skip_unsent(seq_min(end, fin_at) - at);
    at = end;
  }
  AckResult ignored;
  ignored.now = core_->now;
  for (size_t i = 0; i < s.sacked_count; ++i) {
    const SavedRange range = range_at(parsed.sacked, i);
    flight_->board.sack(core_->records, {range.first, range.second}, ignored);
  }
  flight_->most_in_flight = snd_nxt_ - snd_una_;
  return true;
}

bool Connection::restore_received(const ParsedState& parsed) {
  if (!receive_queue_.append_copy(parsed.receive, core_->pools.large)) return false;
  account_received(receive_queue_.occupied());
  if (parsed.saved.gap_count != 0 && !take_disorder()) return false;
  std::span<const uint8_t> bytes = parsed.gap_bytes;
  const Reassembly::Limits limits = {UINT16_MAX, UINT64_MAX, UINT64_MAX, index_};
  for (size_t i = 0; i < parsed.saved.gap_count; ++i) {
    const SavedRange range = range_at(parsed.gaps, i);
    packet::Chain run;
    rte_mempool* pool = range.second > packet::kSmallRoom ? core_->pools.large : core_->pools.small;
    if (!run.append_copy(bytes.first(range.second), pool)) return false;
    bytes = bytes.subspan(range.second);
    if (disorder_->gaps.insert(core_->gaps, core_->pools, limits, range.first, std::move(run)) !=
        Reassembly::Inserted::added) {
      return false;
    }
  }
  return true;
}

bool Connection::restore(const ParsedState& parsed) {
  restore_policy(parsed.saved);
  restore_numbers(parsed.saved);
  if (!restore_flight(parsed) || !restore_received(parsed)) return false;
  const auto told = static_cast<uint16_t>(kClosed | kFailed);
  raise(static_cast<uint16_t>(parsed.saved.events & ~told));
  if (!receive_queue_.empty()) raise(kReadable);
  mark_ready();  // the next flush() acknowledges and sends what is due
  arm();
  return true;
}

Connection* Core::import_connection(std::span<const uint8_t> bytes, Handler* handler) {
  ParsedState parsed;
  if (!read_state(bytes, parsed)) {
    drop(stats::Reason::tcp_bad_state);
    return nullptr;
  }
  const packet::Endpoint& local = parsed.saved.local;
  const packet::Endpoint& remote = parsed.saved.remote;
  if (lookup(hash(local, remote), local, remote) != kNone) {
    drop(stats::Reason::tcp_tuple_taken);
    return nullptr;
  }
  Connection* connection = take(local, remote);
  if (connection == nullptr) return nullptr;
  connection->open(*this, connection->index_, local, remote, handler, Options());
  attach(*connection);
  if (connection->restore(parsed)) return connection;
  ++stats.no_buffer;
  connection->leave();
  return nullptr;
}

}  // namespace isthmus::tcp
