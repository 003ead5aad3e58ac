// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Connections that are over, but whose tuple must rest: RFC 9293 section 3.6.1 and 3.10.7.4, reuse
// by RFC 6191. All rest equally long, so a list in order of arrival is the timer.
#include <algorithm>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

using packet::Tcp;

// ACKs that an entry gives in its life: its peer's FIN again, or an attacker's noise.
constexpr uint8_t kAnswers = 32;

// RFC 6191 section 2: this SYN can't be of the old connection.
bool reopens(const TimeWait& entry, const Incoming& syn) {
  const bool higher = seq_leq(entry.rcv_nxt, syn.sequence);
  if (!syn.options.has_timestamp) return higher;
  if (!entry.timestamps) return true;
  if (syn.options.timestamp == entry.ts_recent) return higher;
  return seq_lt(entry.ts_recent, syn.options.timestamp);
}

}  // namespace

void Core::enter_time_wait(Connection& connection) {
  ++stats.closed;
  // The ACK of the peer's FIN leaves first, unless it has, as in CLOSING.
  if (connection.ack_now_) connection.send_ack(connection.snd_nxt_);
  uint32_t index = free_time_wait_;
  if (index == kNone) {
    ++stats.time_wait_recycled;
    remove_time_wait(first_time_wait_);
    index = free_time_wait_;
  }
  TimeWait& entry = time_waits_[index];
  free_time_wait_ = entry.next;
  entry = {.local = connection.local_,
           .remote = connection.remote_,
           .snd_nxt = connection.snd_nxt_,
           .rcv_nxt = connection.rcv_nxt_,
           .ts_recent = connection.ts_recent_,
           .ts_offset = connection.ts_offset_,
           .path = connection.options_.path,
           .window = static_cast<uint16_t>(std::min<uint32_t>(
               (connection.rcv_edge_ - connection.rcv_nxt_) >> connection.rcv_scale_, UINT16_MAX)),
           .ttl = connection.options_.ttl,
           .dscp = connection.options_.dscp,
           .timestamps = connection.timestamps_,
           .acks_left = kAnswers,
           .hash = hash(connection.local_, connection.remote_)};
  connection.finish();  // leaves the table
  connection.state_ = State::time_wait;
  table_.insert(entry.hash, index | kTimeWaitBit);
  ++waiting;
  entry.expires = now + config.time_wait;
  entry.previous = last_time_wait_;
  entry.next = kNone;
  (last_time_wait_ == kNone ? first_time_wait_ : time_waits_[last_time_wait_].next) = index;
  last_time_wait_ = index;
  if (connection.receive_queue_.empty()) connection.raise(kClosed);
}

void Core::remove_time_wait(uint32_t index) {
  TimeWait& entry = time_waits_[index];
  table_.erase(entry.hash, index | kTimeWaitBit);
  (entry.previous == kNone ? first_time_wait_ : time_waits_[entry.previous].next) = entry.next;
  (entry.next == kNone ? last_time_wait_ : time_waits_[entry.next].previous) = entry.previous;
  entry.next = free_time_wait_;
  free_time_wait_ = index;
  --waiting;
}

// The peer's FIN came again, so the rest begins again (RFC 9293 section 3.10.7.4).
void Core::retime_time_wait(uint32_t index) {
  TimeWait& entry = time_waits_[index];
  entry.expires = now + config.time_wait;
  if (last_time_wait_ == index) return;
  (entry.previous == kNone ? first_time_wait_ : time_waits_[entry.previous].next) = entry.next;
  time_waits_[entry.next].previous = entry.previous;
  entry.previous = last_time_wait_;
  entry.next = kNone;
  time_waits_[last_time_wait_].next = index;
  last_time_wait_ = index;
}

void Core::acknowledge_time_wait(TimeWait& entry) {
  if (entry.acks_left == 0) return drop(stats::Reason::tcp_challenge_limit);
  --entry.acks_left;
  SegmentOptions options;
  options.has_timestamp = entry.timestamps;
  options.timestamp = timestamp() + entry.ts_offset;
  options.echo = entry.ts_recent;
  SegmentHeader header{.local = entry.local, .remote = entry.remote};
  header.sequence = entry.snd_nxt;
  header.acknowledgment = entry.rcv_nxt;
  header.flags = Tcp::kAck;
  header.ttl = entry.ttl;
  header.dscp = entry.dscp;
  header.window = entry.window;
  header.id = next_id++;
  header.options = &options;
  rte_mbuf* packet = build_header(pools.small, header);
  if (packet == nullptr) {
    ++stats.no_buffer;
    return;
  }
  transmit(packet, entry.path);
}

bool Core::input_time_wait(uint32_t index, const Incoming& segment) {
  TimeWait& entry = time_waits_[index];
  if (segment.has(Tcp::kRst)) {
    // RFC 1337: what rests here is exactly what a late RST must not end.
    drop(stats::Reason::tcp_bad_reset);
    return true;
  }
  constexpr uint8_t kOthers = Tcp::kAck | Tcp::kFin;
  if (segment.has(Tcp::kSyn) && (segment.flags & kOthers) == 0 && reopens(entry, segment)) {
    reused_hash_ = entry.hash;
    reused_above_ = entry.snd_nxt + UINT16_MAX;
    remove_time_wait(index);
    return false;
  }
  if (segment.has(Tcp::kFin) && segment.end() == entry.rcv_nxt) retime_time_wait(index);
  // A pure ACK where everything stands right needs no answer.
  const bool expected = segment.sequence == entry.rcv_nxt && segment.length == 0 &&
                        !segment.has(Tcp::kFin) && !segment.has(Tcp::kSyn);
  if (!expected) acknowledge_time_wait(entry);
  return true;
}

void Core::expire_time_waits() {
  for (unsigned n = 0; n < 256 && first_time_wait_ != kNone; ++n) {
    if (time_waits_[first_time_wait_].expires > now) return;
    remove_time_wait(first_time_wait_);
  }
}

}  // namespace isthmus::tcp
