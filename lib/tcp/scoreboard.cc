// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/scoreboard.h"

#include <algorithm>

namespace isthmus::tcp {
namespace {

uint32_t milliseconds(timer::Instant instant) {
  return static_cast<uint32_t>(instant.time_since_epoch().count() / 1000);
}

// Moves a position in the send queue n bytes on.
void advance(SentRecord& record, uint32_t n) {
  while (record.segment != nullptr) {
    const uint8_t* end =
        rte_pktmbuf_mtod(record.segment, const uint8_t*) + record.segment->data_len;
    const auto left = static_cast<uint32_t>(end - record.data);
    if (n < left) {
      record.data += n;
      return;
    }
    n -= left;
    record.segment = record.segment->next;
    if (record.segment == nullptr) return;
    record.data = rte_pktmbuf_mtod(record.segment, const uint8_t*);
  }
}

}  // namespace

RecordPool::RecordPool(uint32_t count)
    : records_(new SentRecord[count]),
      count_(count),
      reserve_(std::clamp<uint32_t>(count / 8, 1, 256)) {
  for (uint32_t i = count; i-- > 0;) {
    records_[i].next = free_;
    free_ = i;
  }
}

uint32_t RecordPool::take() {
  const uint32_t index = free_;
  if (index == kNone) return kNone;
  free_ = records_[index].next;
  ++in_use_;
  return index;
}

void RecordPool::give(uint32_t index) {
  records_[index].next = free_;
  free_ = index;
  --in_use_;
}

void RecordPool::give(uint32_t first, uint32_t last, uint32_t count) {
  records_[last].next = free_;
  free_ = first;
  in_use_ -= count;
}

bool Scoreboard::push(RecordPool& pool, Seq start, Seq end, rte_mbuf* segment, const uint8_t* data,
                      timer::Instant now) {
  if (count_ >= kMaxRecords) return false;
  const uint32_t index = pool.take();
  if (index == kNone) return false;
  // One by one: a whole record would be put together elsewhere first.
  SentRecord& record = pool[index];
  record.start = start;
  record.end = end;
  record.segment = segment;
  record.data = data;
  record.sent = now;
  record.next = kNone;
  record.previous = tail_;
  record.flags = 0;
  (tail_ == kNone ? head_ : pool[tail_].next) = index;
  tail_ = index;
  ++count_;
  link_newest(pool, index);
  return true;
}

void Scoreboard::clear(RecordPool& pool) {
  while (head_ != kNone) {
    const uint32_t next = pool[head_].next;
    pool.give(head_);
    head_ = next;
  }
  *this = Scoreboard();
}

void Scoreboard::link_newest(RecordPool& pool, uint32_t index) {
  SentRecord& record = pool[index];
  record.older = newest_;
  record.newer = kNone;
  (newest_ == kNone ? oldest_ : pool[newest_].newer) = index;
  newest_ = index;
}

// near: a record in the list at which the search for its place begins. The search is bounded: where
// times go up and down like the teeth of a saw, as only a hostile peer makes them, the record takes
// on the time of the place that was reached.
void Scoreboard::link_by_time(RecordPool& pool, uint32_t index, uint32_t near) {
  constexpr unsigned kSteps = 16;
  SentRecord& record = pool[index];
  uint32_t after = near != kNone ? near : newest_;
  unsigned steps = 0;
  while (after != kNone && pool[after].sent > record.sent && steps++ < kSteps) {
    after = pool[after].older;
  }
  while (after != kNone && pool[after].newer != kNone &&
         pool[pool[after].newer].sent <= record.sent && steps++ < kSteps) {
    after = pool[after].newer;
  }
  if (after != kNone) {
    record.sent = std::max(record.sent, pool[after].sent);
    const uint32_t newer = pool[after].newer;
    if (newer != kNone) record.sent = std::min(record.sent, pool[newer].sent);
  }
  record.older = after;
  record.newer = after == kNone ? oldest_ : pool[after].newer;
  (after == kNone ? oldest_ : pool[after].newer) = index;
  (record.newer == kNone ? newest_ : pool[record.newer].older) = index;
}

void Scoreboard::unlink_time(RecordPool& pool, uint32_t index) {
  SentRecord& record = pool[index];
  (record.older == kNone ? oldest_ : pool[record.older].newer) = record.newer;
  (record.newer == kNone ? newest_ : pool[record.newer].older) = record.older;
}

void Scoreboard::remove(RecordPool& pool, uint32_t index) {
  SentRecord& record = pool[index];
  if (record.in_network()) unlink_time(pool, index);
  (record.previous == kNone ? head_ : pool[record.previous].next) = record.next;
  (record.next == kNone ? tail_ : pool[record.next].previous) = record.previous;
  if (lost_hint_ == index) lost_hint_ = record.next;
  if (sack_hint_ == index) sack_hint_ = kNone;
  --count_;
  pool.give(index);
}

// The record becomes [start, at), the rest a new one behind it that shares its fate.
uint32_t Scoreboard::split(RecordPool& pool, uint32_t index, Seq at) {
  if (count_ >= kMaxRecords) return kNone;
  const uint32_t rest = pool.take();
  if (rest == kNone) return kNone;
  SentRecord& front = pool[index];
  SentRecord& back = pool[rest];
  back = front;
  back.start = at;
  front.end = at;
  advance(back, at - front.start);
  back.previous = index;
  (back.next == kNone ? tail_ : pool[back.next].previous) = rest;
  front.next = rest;
  if (front.in_network()) {
    back.older = index;
    (back.newer == kNone ? newest_ : pool[back.newer].older) = rest;
    front.newer = rest;
  }
  ++count_;
  return rest;
}

// A peer could cut records until none is left for anybody.
uint32_t Scoreboard::split_for_sack(RecordPool& pool, uint32_t index, Seq at) {
  return pool.crowded() ? kNone : split(pool, index, at);
}

bool Scoreboard::trim_record(RecordPool& pool, uint32_t index, uint32_t n) {
  if (n >= pool[index].length()) return true;
  return split(pool, index, pool[index].start + n) != kNone;
}

// Bytes [record.start, end) have arrived: RTT, and RACK's steps 1 to 3.
void Scoreboard::deliver(const SentRecord& record, Seq end, AckResult& result) {
  result.delivered += end - record.start;
  const timer::Duration rtt = result.now - record.sent;
  const auto micros = static_cast<uint32_t>(std::clamp<int64_t>(rtt.count(), 0, INT32_MAX));
  const bool twice = (record.flags & SentRecord::kSentTwice) != 0;
  if (twice) {
    result.retransmitted = true;
    // It may be the original that arrived, late: then its time says nothing.
    const uint32_t sent_at = milliseconds(record.sent) + result.clock_offset;
    if (result.has_timestamp && seq_lt(result.echo, sent_at)) return;
    if (micros < result.min_rtt) return;
  } else {
    result.longest = std::max(result.longest, rtt);
    result.shortest = result.shortest < timer::Duration() ? rtt : std::min(result.shortest, rtt);
  }
  if (!has_latest_ || record.sent > latest_sent_ ||
      (record.sent == latest_sent_ && seq_lt(latest_end_, end))) {
    latest_sent_ = record.sent;
    latest_end_ = end;
    latest_rtt_ = micros;
  }
  if (!has_latest_ || seq_lt(forward_ack_, end)) {
    forward_ack_ = end;
  } else if (seq_lt(end, forward_ack_) && !twice) {
    reordering_.seen = true;
  }
  has_latest_ = true;
}

// What has been sent once and in order arrives in order: the first has taken longest, and RACK's
// latest is the last.
void Scoreboard::acknowledge_all(RecordPool& pool, AckResult& result) {
  const SentRecord& first = pool[head_];
  const SentRecord& last = pool[tail_];
  result.delivered += last.end - first.start;
  result.longest = result.now - first.sent;
  result.shortest = result.now - last.sent;
  latest_sent_ = last.sent;
  latest_end_ = forward_ack_ = last.end;
  latest_rtt_ = static_cast<uint32_t>(std::clamp<int64_t>(result.shortest.count(), 0, INT32_MAX));
  has_latest_ = true;
  pool.give(head_, tail_, count_);
  head_ = tail_ = oldest_ = newest_ = lost_hint_ = sack_hint_ = kNone;
  count_ = 0;
}

void Scoreboard::acknowledge(RecordPool& pool, Seq una, AckResult& result) {
  if (untouched_ && tail_ != kNone && pool[tail_].end == una) return acknowledge_all(pool, result);
  while (head_ != kNone) {
    SentRecord& record = pool[head_];
    if (!seq_lt(record.start, una)) break;
    const Seq end = seq_min(record.end, una);
    const uint32_t length = end - record.start;
    if ((record.flags & SentRecord::kSacked) != 0) {
      sacked_ -= length;
    } else {
      deliver(record, end, result);
    }
    if ((record.flags & SentRecord::kLost) != 0) lost_ -= length;
    if ((record.flags & SentRecord::kRetransmitted) != 0) retransmitted_ -= length;
    if (end == record.end) {
      remove(pool, head_);
      continue;
    }
    advance(record, length);
    record.start = end;
    if ((record.flags & SentRecord::kFrontOnly) != 0) mark_lost(pool, head_);
    break;
  }
  if (head_ == kNone) untouched_ = true;
}

void Scoreboard::mark_sacked(RecordPool& pool, uint32_t index, AckResult& result) {
  untouched_ = false;
  SentRecord& record = pool[index];
  const uint32_t length = record.length();
  deliver(record, record.end, result);
  result.sacked += length;
  if (record.in_network()) unlink_time(pool, index);
  if ((record.flags & SentRecord::kLost) != 0) lost_ -= length;
  if ((record.flags & SentRecord::kRetransmitted) != 0) retransmitted_ -= length;
  record.flags =
      static_cast<uint8_t>((record.flags & SentRecord::kSentTwice) | SentRecord::kSacked);
  sacked_ += length;
}

// Joins the sacked record with sacked neighbours; returns the one that remains.
uint32_t Scoreboard::merge_sacked(RecordPool& pool, uint32_t index) {
  const uint32_t next = pool[index].next;
  if (next != kNone && (pool[next].flags & SentRecord::kSacked) != 0) {
    pool[index].end = pool[next].end;
    remove(pool, next);
  }
  const uint32_t previous = pool[index].previous;
  if (previous != kNone && (pool[previous].flags & SentRecord::kSacked) != 0) {
    pool[previous].end = pool[index].end;
    remove(pool, index);
    return previous;
  }
  return index;
}

// The record that holds a byte: from the nearest of both ends and where the last block ended.
uint32_t Scoreboard::find(const RecordPool& pool, Seq at, AckResult& result) const {
  if (head_ == kNone) return kNone;
  uint32_t index = head_;
  uint32_t distance = at - pool[head_].start;
  const auto consider = [&](uint32_t other, uint32_t apart) {
    if (apart >= distance) return;
    distance = apart;
    index = other;
  };
  consider(tail_, pool[tail_].end - at);
  if (sack_hint_ != kNone) {
    const Seq start = pool[sack_hint_].start;
    consider(sack_hint_, seq_leq(start, at) ? at - start : start - at);
  }
  while (seq_lt(at, pool[index].start) || seq_leq(pool[index].end, at)) {
    if (result.steps == 0) return kNone;
    --result.steps;
    index = seq_lt(at, pool[index].start) ? pool[index].previous : pool[index].next;
    if (index == kNone) break;
  }
  return index;
}

void Scoreboard::sack(RecordPool& pool, SackBlock block, AckResult& result) {
  uint32_t index = find(pool, block.start, result);
  while (index != kNone && seq_lt(pool[index].start, block.end)) {
    if ((pool[index].flags & SentRecord::kSacked) != 0) {
      if (result.steps == 0) return;
      --result.steps;
      sack_hint_ = index;
      index = pool[index].next;
      continue;
    }
    if (seq_lt(pool[index].start, block.start)) {
      index = split_for_sack(pool, index, block.start);
      if (index == kNone) return;
    }
    if (seq_lt(block.end, pool[index].end) && split_for_sack(pool, index, block.end) == kNone) {
      return;
    }
    mark_sacked(pool, index, result);
    index = merge_sacked(pool, index);
    sack_hint_ = index;
    index = pool[index].next;
  }
}

void Scoreboard::mark_lost(RecordPool& pool, uint32_t index) {
  untouched_ = false;
  SentRecord& record = pool[index];
  if (record.in_network()) unlink_time(pool, index);
  if ((record.flags & SentRecord::kRetransmitted) != 0) retransmitted_ -= record.length();
  if ((record.flags & SentRecord::kLost) == 0) lost_ += record.length();
  record.flags = static_cast<uint8_t>((record.flags & SentRecord::kSentTwice) | SentRecord::kLost);
  if (lost_hint_ == kNone || seq_lt(record.start, pool[lost_hint_].start)) lost_hint_ = index;
}

bool Scoreboard::sent_before_latest(const SentRecord& record) const {
  return record.sent < latest_sent_ ||
         (record.sent == latest_sent_ && seq_lt(record.end, latest_end_));
}

timer::Duration Scoreboard::detect_losses(RecordPool& pool, timer::Duration reorder_window,
                                          AckResult& result) {
  if (!has_latest_) return {};
  const timer::Duration patience = timer::Duration(latest_rtt_) + reorder_window;
  while (oldest_ != kNone) {
    SentRecord& record = pool[oldest_];
    if (!sent_before_latest(record)) break;
    const timer::Duration remaining = record.sent + patience - result.now;
    if (remaining > timer::Duration()) return remaining;
    result.newly_lost += record.length();
    mark_lost(pool, oldest_);
  }
  return {};
}

timer::Duration Scoreboard::reorder_window(uint32_t min_rtt, uint32_t smoothed_rtt, uint32_t mss,
                                           bool in_recovery) const {
  if (!reordering_.seen && (in_recovery || sacked_ >= 3 * mss)) return {};
  return timer::Duration(std::min(min_rtt / 4 * reordering_.steps, smoothed_rtt));
}

void Scoreboard::on_duplicate_reported(Seq una, Seq nxt) {
  if (round_open_ && seq_lt(una, window_round_)) return;
  round_open_ = true;
  window_round_ = nxt;
  reordering_.persist = 16;
  if (reordering_.steps < 255) ++reordering_.steps;
}

void Scoreboard::on_recovery_end() {
  if (reordering_.persist == 0) return;
  if (--reordering_.persist == 0) reordering_.steps = 1;
}

void Scoreboard::mark_all_lost(RecordPool& pool) {
  const bool reneged = head_ != kNone && (pool[head_].flags & SentRecord::kSacked) != 0;
  for (uint32_t index = head_; index != kNone; index = pool[index].next) {
    SentRecord& record = pool[index];
    if ((record.flags & SentRecord::kSacked) != 0) {
      if (!reneged) continue;
      sacked_ -= record.length();
      record.flags = SentRecord::kSentTwice;
      link_newest(pool, index);
    }
    mark_lost(pool, index);
  }
  if (head_ != kNone) lost_hint_ = head_;
}

void Scoreboard::mark_front_lost(RecordPool& pool, uint32_t mss) {
  if (head_ == kNone || (pool[head_].flags & SentRecord::kLost) != 0) return;
  trim_record(pool, head_, mss);
  mark_lost(pool, head_);
}

void Scoreboard::unmark_losses(RecordPool& pool) {
  uint32_t near = kNone;
  for (uint32_t index = head_; index != kNone; index = pool[index].next) {
    SentRecord& record = pool[index];
    if ((record.flags & SentRecord::kLost) == 0) continue;
    const bool linked = record.in_network();
    if ((record.flags & SentRecord::kRetransmitted) != 0) retransmitted_ -= record.length();
    lost_ -= record.length();
    record.flags &= SentRecord::kSentTwice;
    if (!linked) link_by_time(pool, index, near);
    near = index;
  }
  lost_hint_ = kNone;
}

uint32_t Scoreboard::next_lost(const RecordPool& pool) {
  while (lost_hint_ != kNone) {
    const uint8_t fate = pool[lost_hint_].flags & (SentRecord::kLost | SentRecord::kRetransmitted);
    if (fate == SentRecord::kLost) break;
    lost_hint_ = pool[lost_hint_].next;
  }
  return lost_hint_;
}

void Scoreboard::on_retransmit(RecordPool& pool, uint32_t index, uint32_t n, timer::Instant now) {
  untouched_ = false;
  SentRecord& record = pool[index];
  if (record.in_network()) unlink_time(pool, index);
  if (record.flags & SentRecord::kLost) {
    if ((record.flags & SentRecord::kRetransmitted) == 0) retransmitted_ += record.length();
    record.flags |= SentRecord::kRetransmitted;
    if (n < record.length()) record.flags |= SentRecord::kFrontOnly;
  }
  record.flags |= SentRecord::kSentTwice;
  record.sent = now;
  link_newest(pool, index);
}

bool Scoreboard::consistent(const RecordPool& pool, Seq una, Seq nxt) const {
  uint32_t sacked = 0, lost = 0, again = 0, count = 0, linked = 0, timed = 0;
  Seq at = una;
  for (uint32_t i = head_; i != kNone; i = pool[i].next, ++count) {
    const SentRecord& record = pool[i];
    if (record.start != at || !seq_lt(record.start, record.end)) return false;
    at = record.end;
    if (record.flags & SentRecord::kSacked) sacked += record.length();
    if (record.flags & SentRecord::kLost) lost += record.length();
    if (record.flags & SentRecord::kRetransmitted) again += record.length();
    linked += record.in_network() ? 1 : 0;
  }
  timer::Instant last = timer::Instant::min();
  for (uint32_t i = oldest_; i != kNone; i = pool[i].newer, ++timed) {
    if (pool[i].sent < last || !pool[i].in_network()) return false;
    last = pool[i].sent;
  }
  return at == nxt && sacked == sacked_ && lost == lost_ && again == retransmitted_ &&
         count == count_ && linked == timed;
}

}  // namespace isthmus::tcp
