// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Segments on their way in: RFC 9293 section 3.10.7 with RFC 5961 and RFC 7323.
#include <algorithm>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

using packet::Tcp;
using stats::Reason;

// Older than this, a remembered timestamp may have wrapped (RFC 7323 section 5.5).
constexpr uint32_t kTimestampLife = 24 * 86'400;  // seconds
constexpr unsigned kChallenges = 6;               // per period, and up to 7 more by chance

}  // namespace

Seq Incoming::end() const {
  return sequence + length + (has(Tcp::kSyn) ? 1 : 0) + (has(Tcp::kFin) ? 1 : 0);
}

bool read_segment(const packet::Parsed& parsed, Incoming& out) {
  const Tcp& tcp = *parsed.tcp();
  out.sequence = out.first = tcp.sequence.get();
  out.acknowledgment = tcp.acknowledgment.get();
  out.window = tcp.window.get();
  out.flags = tcp.flags;
  out.ecn = parsed.ecn;
  out.length = parsed.payload_length;
  return read_options(parsed, out.options);
}

bool read_options(const packet::Parsed& parsed, SegmentOptions& out) {
  const Tcp& tcp = *parsed.tcp();
  const auto* options = reinterpret_cast<const uint8_t*>(&tcp) + sizeof(Tcp);
  return parse_options({options, parsed.l4_length - sizeof(Tcp)}, (tcp.flags & Tcp::kSyn) != 0,
                       out);
}

void Connection::on_segment(Incoming& segment) {
  if (held_) {
    on_segment_held(segment);
    return;
  }
  if (state_ == State::syn_sent) return on_segment_syn_sent(segment);
  // The peer's SYN-ACK of a simultaneous open repeats the SYN that we have: only its ACK is news.
  if (state_ == State::syn_received && segment.has(Tcp::kSyn) && segment.has(Tcp::kAck) &&
      segment.sequence == irs_ && segment.length == 0) {
    segment.flags &= static_cast<uint8_t>(~Tcp::kSyn);
    ++segment.sequence;
  }
  if (!timestamp_acceptable(segment) || !sequence_acceptable(segment)) return;
  if (segment.has(Tcp::kRst)) return on_reset(segment);
  if (segment.has(Tcp::kSyn)) return challenge(Reason::tcp_unexpected_syn);
  if (!segment.has(Tcp::kAck)) return core_->drop(Reason::tcp_no_ack);
  if (!on_acknowledgment(segment)) return;
  last_received_ = Moment(core_->present);
  if (keepalives_out_ != 0) {
    keepalives_out_ = 0;
    arm();  // by the interval it may stand later than by the silence
  }
  if (segment.length != 0 || segment.has(Tcp::kFin)) on_payload(segment);
  if (state_ == State::closed || state_ == State::time_wait) return;
  if (!ready_) arm_unless_late();  // otherwise output() will
}

// A late accept has promised nothing yet: the SYN again is absorbed, its sender may give up, or
// begin anew with another sequence number.
bool Connection::on_segment_held(const Incoming& segment) {
  if (segment.has(Tcp::kRst)) {
    if (segment.sequence == rcv_nxt_) fail(Failure::reset);
    return true;
  }
  if (!segment.has(Tcp::kSyn) || segment.has(Tcp::kAck) || segment.sequence == irs_) return true;
  start_passive(segment, true);
  return true;
}

void Connection::on_segment_syn_sent(Incoming& segment) {
  const bool ack = segment.has(Tcp::kAck);
  const bool ack_good = ack && segment.acknowledgment == iss_ + 1;
  if (ack && !ack_good) {
    if (segment.has(Tcp::kRst)) return core_->drop(Reason::tcp_bad_reset);
    return answer_bad_handshake_ack(segment.acknowledgment);
  }
  if (segment.has(Tcp::kRst)) {
    ++core_->stats.resets_received;
    if (ack_good) return fail(Failure::refused);
    return core_->drop(Reason::tcp_bad_reset);
  }
  if (!segment.has(Tcp::kSyn) || segment.has(Tcp::kFin)) {
    return core_->drop(Reason::tcp_unexpected_flags);
  }
  take_syn_options(segment.options);
  irs_ = segment.sequence;
  rcv_nxt_ = rcv_edge_ = last_ack_sent_ = irs_ + 1;
  snd_wnd_ = max_snd_wnd_ = segment.window;  // never scaled on a SYN
  snd_wl1_ = segment.sequence;
  snd_wl2_ = ack ? segment.acknowledgment : iss_;
  last_received_ = Moment(core_->present);
  // The SYN-ACK that agrees has ECE alone; both flags mean a peer that reflects what it gets.
  const bool agrees =
      ack ? segment.has(Tcp::kEce) && !segment.has(Tcp::kCwr) : asks_for_ecn(segment.flags);
  ecn_ = agrees && syn_ecn_flags() != 0;
  if (!ack) {
    // MUST-10, simultaneous open.
    state_ = State::syn_received;
    syn_due_ = true;
    snd_nxt_ = snd_una_ = iss_;
    mark_ready();
    return arm();
  }
  snd_una_ = snd_nxt_ = iss_ + 1;
  on_established();
  request_ack(true);
  mark_ready();
  arm();
}

// Somebody believes in a connection that this one is not: the RST ends theirs and leaves ours.
void Connection::answer_bad_handshake_ack(Seq ack) {
  core_->drop(Reason::tcp_bad_ack);
  if (!core_->reset_allowed()) return;
  rte_mbuf* reset = header(Tcp::kRst, ack);
  if (reset == nullptr) {
    ++core_->stats.no_buffer;
    return;
  }
  core_->transmit(reset, options_.path);
  ++core_->stats.resets_sent;
}

bool Connection::timestamp_acceptable(const Incoming& segment) {
  if (!timestamps_ || segment.has(Tcp::kRst)) return true;
  if (!segment.options.has_timestamp) {
    // RFC 7323 section 3.2 would drop it, and with it the connection of everybody behind a box that
    // strips the option now and then. Sequence and acknowledgment number are checked all the same.
    ++core_->stats.missing_timestamps;
    return true;
  }
  if (!seq_lt(segment.options.timestamp, ts_recent_)) return true;
  if (core_->present.seconds - ts_recent_at_ > kTimestampLife) return true;
  core_->drop(Reason::tcp_old_timestamp);
  // Only what is really here: the sender would take the rest for received.
  note_duplicate(segment.sequence, seq_min(segment.sequence + segment.length, rcv_nxt_));
  if (segment.length != 0 || segment.has(Tcp::kFin)) {
    request_ack(true);
  } else {
    challenge(Reason::tcp_old_timestamp);
  }
  return false;
}

// RFC 9293 section 3.10.7.4, first check. The window is that which was ever offered.
bool Connection::sequence_acceptable(Incoming& segment) {
  // What is expected, and fits.
  if (segment.sequence == rcv_nxt_ && segment.length <= rcv_edge_ - rcv_nxt_ &&
      !segment.has(Tcp::kSyn)) {
    return true;
  }
  const uint32_t window = rcv_edge_ - rcv_nxt_;
  const uint32_t span = segment.end() - segment.sequence;
  bool acceptable;
  if (span == 0) {
    // The edge included: there stand the ACKs of a peer that has filled the window.
    acceptable = segment.sequence - rcv_nxt_ <= window;
  } else if (window == 0) {
    // Nothing fits, but what such a segment acknowledges must be heard (MUST-66); and a FIN alone
    // takes no room.
    acceptable = segment.sequence == rcv_nxt_;
  } else {
    acceptable = seq_lt(segment.sequence, rcv_edge_) && seq_lt(rcv_nxt_, segment.end());
  }
  if (acceptable) {
    trim_to_window(segment);
    return true;
  }
  if (segment.has(Tcp::kRst)) {
    core_->drop(Reason::tcp_bad_reset);
    return false;
  }
  // A SYN that was seen before: the SYN-ACK got lost.
  if (state_ == State::syn_received && segment.has(Tcp::kSyn) && segment.sequence == irs_) {
    ecn_ = ecn_ && asks_for_ecn(segment.flags);  // or the path ate the first
    syn_due_ = true;
    mark_ready();
    return false;
  }
  if (segment.length != 0 && seq_leq(segment.end(), rcv_nxt_)) {
    core_->drop(Reason::tcp_duplicate);
    note_duplicate(segment.sequence, segment.sequence + segment.length);
    request_ack(true);
  } else if (segment.has(Tcp::kFin) && segment.end() == rcv_nxt_) {
    request_ack(true);  // the peer's FIN again: our ACK got lost
  } else {
    // Keep-alives, window probes, and what a blind attacker or a confused peer sends: answered at a
    // bounded rate, or two confused peers would never stop.
    challenge(Reason::tcp_out_of_window);
  }
  return false;
}

void Connection::trim_to_window(Incoming& segment) {
  if (seq_lt(segment.sequence, rcv_nxt_)) {
    uint32_t old = rcv_nxt_ - segment.sequence;
    if (segment.has(Tcp::kSyn)) {
      segment.flags &= static_cast<uint8_t>(~Tcp::kSyn);
      --old;
    }
    const uint32_t cut = std::min(old, segment.length);
    if (cut != 0) note_duplicate(rcv_nxt_ - old, rcv_nxt_ - old + cut);
    segment.payload.drop_front(cut);
    segment.length -= cut;
    segment.sequence = rcv_nxt_;
  }
  const Seq end = segment.sequence + segment.length;
  if (segment.length != 0 && seq_lt(rcv_edge_, end)) {
    const uint32_t cut = std::min(end - rcv_edge_, segment.length);
    segment.payload.drop_back(cut);
    segment.length -= cut;
    segment.flags &= static_cast<uint8_t>(~Tcp::kFin);
    segment.truncated = true;
    core_->drop(Reason::tcp_beyond_window);
    request_ack(true);
  }
}

// RFC 5961 section 3: only the exact number ends a connection.
void Connection::on_reset(const Incoming& segment) {
  ++core_->stats.resets_received;
  if (segment.sequence != rcv_nxt_) return challenge(Reason::tcp_bad_reset);
  const bool refused = state_ == State::syn_received && !passive_;
  const bool over = state_ == State::closing || state_ == State::last_ack;
  if (over && unsent_ == 0 && send_queue_.empty()) {
    // Both sides had said everything.
    finish();
    if (receive_queue_.empty()) raise(kClosed);
    return;
  }
  fail(refused ? Failure::refused : Failure::reset);
}

bool Connection::on_acknowledgment(const Incoming& segment) {
  const Seq ack = segment.acknowledgment;
  if (state_ == State::syn_received) {
    if (ack != iss_ + 1) {
      answer_bad_handshake_ack(ack);
      return false;
    }
    snd_una_ = snd_nxt_ = ack;
    snd_wnd_ = segment.window << snd_scale_;
    max_snd_wnd_ = std::max(max_snd_wnd_, snd_wnd_);
    snd_wl1_ = segment.sequence;
    snd_wl2_ = ack;
    on_established();
    mark_ready();
  }
  // RFC 5961 section 5.
  if (seq_lt(snd_nxt_, ack) || seq_lt(ack, snd_una_ - max_snd_wnd_)) {
    challenge(Reason::tcp_bad_ack);
    return false;
  }
  note_timestamp(segment);
  if (seq_lt(ack, snd_una_)) return true;  // late, but its payload may be news
  bool changed = false;
  // What acknowledges more is newer than what was heard before, whatever its sequence number: the
  // window counts from the acknowledgment, and an old one at a new place would promise too much.
  if (seq_lt(snd_una_, ack) || seq_lt(snd_wl1_, segment.sequence) ||
      (snd_wl1_ == segment.sequence && seq_leq(snd_wl2_, ack))) {
    const uint32_t window = segment.window << snd_scale_;
    changed = window != snd_wnd_;
    snd_wnd_ = window;
    max_snd_wnd_ = std::max(max_snd_wnd_, window);
    snd_wl1_ = segment.sequence;
    snd_wl2_ = ack;
    if (changed) mark_ready();
  }
  process_ack(segment, changed);
  return state_ != State::closed && state_ != State::time_wait;
}

void Connection::on_payload(Incoming& segment) {
  if (!receiving()) return;  // RFC 9293: cannot occur behind the peer's FIN
  if (segment.has(Tcp::kFin)) {
    const Seq at = segment.sequence + segment.length;
    // The first FIN stands; another place for it would be a lie.
    if (!fin_seen_) {
      fin_seen_ = true;
      fin_at_ = at;
    }
    request_ack(true);
  }
  if (segment.length != 0 && !has_memory_for(segment)) {
    core_->drop(Reason::tcp_no_memory);
    return request_ack(true);
  }
  if (fin_seen_ && seq_lt(fin_at_, segment.sequence + segment.length)) {
    core_->drop(Reason::tcp_beyond_window);
    return;
  }
  if (segment.length != 0) note_congestion(segment);
  unacked_bytes_ += segment.length;
  if (segment.length != 0 && segment.sequence == rcv_nxt_) {
    take_in_order(segment);
  } else if (segment.length != 0) {
    keep_out_of_order(segment);
  }
  if (fin_seen_ && !peer_closed_ && rcv_nxt_ == fin_at_) return on_fin();
  request_ack(unacked_bytes_ >= receive_mss_ - kMaxOptionBytes || quick_acks_ > 0);
}

// Each connection may hold a little whatever the others do, or nothing would ever move.
bool Connection::has_memory_for(const Incoming& segment) {
  if (!core_->over_budget()) return true;
  if (segment.sequence != rcv_nxt_) return false;
  core_->shed_out_of_order(*this);
  return !core_->over_budget() || receive_occupied_ < core_->config.memory_floor;
}

void Connection::take_in_order(Incoming& segment) {
  const Seq before = rcv_nxt_;
  uint64_t occupied = 0;
  // A gap that is filled, wholly or in part, is acknowledged at once (RFC 5681 section 4.2).
  if (!disorder_->gaps.empty()) request_ack(true);
  rcv_nxt_ = disorder_->gaps.deliver(core_->gaps, core_->pools, rcv_nxt_,
                                     std::move(segment.payload), receive_queue_, occupied);
  account_received(occupied);
  const uint32_t gained = rcv_nxt_ - before;
  if (rcv_nxt_ - irs_ < before - irs_) ++rcv_wraps_;
  core_->stats.bytes_received += gained;
  if (gained != 0) raise(kReadable);
}

void Connection::keep_out_of_order(Incoming& segment) {
  ++core_->stats.out_of_order;
  request_ack(true);
  if (!take_disorder()) return core_->drop(Reason::tcp_too_many_gaps);
  const Reassembly::Limits limits = {core_->config.max_gaps_per_connection,
                                     2ull * receive_buffer_ + 65'536,
                                     core_->config.memory_budget / 4, index_};
  switch (disorder_->gaps.insert(core_->gaps, core_->pools, limits, segment.sequence,
                                 std::move(segment.payload))) {
    case Reassembly::Inserted::added:
      break;
    case Reassembly::Inserted::duplicate:
      core_->drop(Reason::tcp_duplicate);
      note_duplicate(segment.sequence, segment.sequence + segment.length);
      break;
    case Reassembly::Inserted::refused:
      core_->drop(Reason::tcp_too_many_gaps);
      break;
  }
}

void Connection::on_fin() {
  peer_closed_ = true;
  ++rcv_nxt_;
  rcv_edge_ = seq_max(rcv_edge_, rcv_nxt_);
  request_ack(true);
  raise(kPeerClosed);
  switch (state_) {
    case State::established:
      state_ = State::close_wait;
      break;
    // Had our FIN been acknowledged, this would be FIN-WAIT-2.
    case State::fin_wait_1:
      state_ = State::closing;
      break;
    case State::fin_wait_2:
      core_->enter_time_wait(*this);
      break;
    default:
      break;
  }
}

// RFC 7323 section 4.3, by the number that the segment came with, before it was trimmed. One that
// PAWS let through because ours had grown too old takes its place, whatever it says.
void Connection::note_timestamp(const Incoming& segment) {
  if (!timestamps_ || !segment.options.has_timestamp) return;
  if (!seq_leq(segment.first, last_ack_sent_)) return;
  const bool expired = core_->present.seconds - ts_recent_at_ > kTimestampLife;
  if (!expired && seq_lt(segment.options.timestamp, ts_recent_)) return;
  ts_recent_ = segment.options.timestamp;
  ts_recent_at_ = core_->present.seconds;
}

// An ACK that says where we are, for a segment that may come from somebody else. Limited for each
// connection by itself, and not predictably: a shared or constant limit lets an attacker off the
// path count (RFC 5961 section 7, CVE-2016-5696).
void Connection::challenge(Reason reason) {
  core_->drop(reason);
  if (challenge_second_ != core_->present.seconds) {
    challenge_second_ = core_->present.seconds;
    challenges_left_ = static_cast<uint16_t>(kChallenges + core_->random() % 8);
  }
  if (challenges_left_ == 0) return core_->drop(Reason::tcp_challenge_limit);
  --challenges_left_;
  ++core_->stats.challenge_acks;
  request_ack(true);
}

// RFC 3168 section 6.1.3, for data within the window: CWR tells that the last echo was heard, a
// mark on the same segment is a new one.
void Connection::note_congestion(const Incoming& segment) {
  if (!ecn_) return;
  if (segment.has(Tcp::kCwr)) echo_congestion_ = false;
  if (segment.ecn != kEcnCongestion) return;
  ++core_->stats.congestion_marks;
  echo_congestion_ = true;
  request_ack(true);
}

void Connection::note_duplicate(Seq start, Seq end) {
  if (sack_ && seq_lt(start, end) && take_disorder()) disorder_->duplicate = {start, end};
}

void Connection::request_ack(bool now) {
  if (now) {
    ack_now_ = true;
  } else if (!ack_delayed_) {
    ack_delayed_ = true;
    ack_at_ = micros(core_->now + core_->config.delayed_ack);
  }
  mark_ready();
}

}  // namespace isthmus::tcp
