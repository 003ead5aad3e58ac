// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/reassembly.h"

#include <algorithm>
#include <array>

#include "packet/buffer.h"

namespace isthmus::tcp {
namespace {

// A buffer of which less than a quarter is payload is not worth holding.
bool wasteful(const rte_mbuf* segment) {
  return segment->data_len * 4u < segment->buf_len;
}

bool copy_to_tail(packet::Chain& queue, const rte_mbuf* segment, rte_mempool* small) {
  rte_mbuf* tail = queue.tail();
  if (tail == nullptr) return false;
  const bool room = packet::is_exclusive(tail) && rte_pktmbuf_tailroom(tail) >= segment->data_len;
  if (!room && segment->data_len > packet::kSmallRoom) return false;
  return queue.append_copy({rte_pktmbuf_mtod(segment, const uint8_t*), segment->data_len},
                           room ? tail->pool : small);
}

// Moves the first n bytes by copying, so that no buffer becomes shared: a segment that covers whole
// runs is rare, or hostile.
bool copy_front(packet::Chain& from, uint32_t n, rte_mempool* small, packet::Chain& to) {
  std::array<uint8_t, 512> bytes;
  for (uint32_t done = 0; done < n;) {
    const uint32_t now = std::min<uint32_t>(n - done, bytes.size());
    from.copy_out(done, {bytes.data(), now});
    if (!to.append_copy({bytes.data(), now}, small)) return false;
    done += now;
  }
  from.drop_front(n);
  return true;
}

}  // namespace

uint64_t append_received(packet::Chain& queue, packet::Chain&& payload, rte_mempool* small) {
  const rte_mbuf* only = payload.head();
  const rte_mbuf* tail = queue.tail();
  if (only != nullptr && only->next == nullptr && wasteful(only) &&
      copy_to_tail(queue, only, small)) {
    payload.clear();
    return queue.tail() == tail ? 0 : packet::memory_of(queue.tail());
  }
  const uint64_t weight = payload.occupied();
  queue.append(std::move(payload));
  return weight;
}

GapPool::GapPool(uint32_t count) : gaps_(new Gap[count]), count_(count) {
  for (uint32_t i = count; i-- > 0;) {
    gaps_[i].next = free_;
    free_ = i;
  }
}

uint32_t GapPool::take(uint32_t owner) {
  const uint32_t index = free_;
  if (index == kNone) return kNone;
  free_ = gaps_[index].next;
  gaps_[index].owner = owner;
  ++in_use_;
  return index;
}

void GapPool::give(uint32_t index) {
  gaps_[index].bytes.clear();
  gaps_[index].next = free_;
  free_ = index;
  --in_use_;
}

uint32_t GapPool::another_owner(uint32_t than) {
  constexpr unsigned kLooks = 32;
  for (unsigned i = 0; i < kLooks && in_use_ != 0; ++i) {
    const Gap& gap = gaps_[hand_];
    hand_ = hand_ + 1 == count_ ? 0 : hand_ + 1;
    if (!gap.bytes.empty() && gap.owner != than) return gap.owner;
  }
  return kNone;
}

void Reassembly::note_recent(uint32_t index) {
  auto* found = std::find(std::begin(recent_), std::end(recent_) - 1, index);
  std::move_backward(std::begin(recent_), found, found + 1);
  recent_[0] = index;
}

void Reassembly::remove(GapPool& pool, uint32_t index) {
  Gap& gap = pool[index];
  (gap.previous == kNone ? head_ : pool[gap.previous].next) = gap.next;
  (gap.next == kNone ? tail_ : pool[gap.next].previous) = gap.previous;
  auto* found = std::find(std::begin(recent_), std::end(recent_), index);
  if (found != std::end(recent_)) {
    std::move(found + 1, std::end(recent_), found);
    recent_[kMaxSackBlocks - 1] = kNone;
  }
  --runs_;
  pool.give(index);
}

// A piece that fits before the run `before` (kNone: behind all): joined to its neighbours when it
// touches them.
bool Reassembly::add_run(GapPool& pool, const packet::Pools& buffers, const Limits& limits,
                         uint32_t before, Seq start, packet::Chain&& bytes) {
  const uint32_t length = bytes.size();
  const Seq end = start + length;
  const uint32_t after = before == kNone ? tail_ : pool[before].previous;
  uint64_t weight = bytes.occupied();
  if (occupied_ + weight > limits.occupied) return false;
  if (pool.occupied() + weight > limits.occupied_by_all) return false;
  uint32_t index = after;
  if (after != kNone && pool[after].end == start) {
    weight = append_received(pool[after].bytes, std::move(bytes), buffers.small);
    pool[after].end = end;
  } else {
    index = runs_ < limits.runs ? pool.take(limits.owner) : kNone;
    if (index == kNone) return false;
    Gap& gap = pool[index];
    gap.start = start;
    gap.end = end;
    gap.bytes = std::move(bytes);
    gap.previous = after;
    gap.next = before;
    (after == kNone ? head_ : pool[after].next) = index;
    (before == kNone ? tail_ : pool[before].previous) = index;
    ++runs_;
  }
  occupied_ += weight;
  pool.occupy(weight);
  bytes_ += length;
  if (before != kNone && pool[before].start == end) {
    pool[index].bytes.append(std::move(pool[before].bytes));
    pool[index].end = pool[before].end;
    remove(pool, before);
  }
  note_recent(index);
  return true;
}

Reassembly::Inserted Reassembly::insert(GapPool& pool, const packet::Pools& buffers,
                                        const Limits& limits, Seq start, packet::Chain&& payload) {
  packet::Chain rest = std::move(payload);
  Seq at = start;
  const Seq end = start + rest.size();
  // Most segments belong at the end.
  uint32_t next = kNone;
  while ((next == kNone ? tail_ : pool[next].previous) != kNone) {
    const uint32_t previous = next == kNone ? tail_ : pool[next].previous;
    if (seq_leq(pool[previous].end, at)) break;
    next = previous;
  }
  bool added = false;
  while (seq_lt(at, end)) {
    const Seq limit = next == kNone ? end : seq_min(end, pool[next].start);
    if (seq_lt(at, limit)) {
      if (limit == end || seq_leq(end, pool[next].end)) {
        // Nothing new follows: the segment ends here, or in a run that is there already.
        rest.drop_back(end - limit);
        added |= add_run(pool, buffers, limits, next, at, std::move(rest));
        return added ? Inserted::added : Inserted::refused;
      }
      packet::Chain piece;
      if (!copy_front(rest, limit - at, buffers.small, piece) ||
          !add_run(pool, buffers, limits, next, at, std::move(piece))) {
        return added ? Inserted::added : Inserted::refused;
      }
      added = true;
      // Joining may have swallowed the run that stood next; find it again.
      next = recent_[0];
      at = limit;
    }
    if (next == kNone) break;
    const Seq covered = pool[next].end;
    if (seq_lt(at, covered)) {
      if (seq_leq(end, covered)) break;
      rest.drop_front(covered - at);
      at = covered;
    }
    next = pool[next].next;
  }
  return added ? Inserted::added : Inserted::duplicate;
}

Seq Reassembly::deliver(GapPool& pool, const packet::Pools& buffers, Seq next,
                        packet::Chain&& payload, packet::Chain& queue, uint64_t& added) {
  packet::Chain rest = std::move(payload);
  while (head_ != kNone && seq_leq(pool[head_].start, next + rest.size())) {
    const Seq start = pool[head_].start;
    const Seq end = pool[head_].end;
    const Seq beyond = next + rest.size();
    packet::Chain front;
    if (seq_lt(end, beyond) && copy_front(rest, start - next, buffers.small, front)) {
      rest.drop_front(end - start);
    } else {
      rest.drop_back(beyond - start);
      std::swap(front, rest);
    }
    if (!front.empty()) added += append_received(queue, std::move(front), buffers.small);
    take_first(pool, buffers, queue, added);
    next = end;
  }
  next += rest.size();
  if (!rest.empty()) added += append_received(queue, std::move(rest), buffers.small);
  return next;
}

void Reassembly::take_first(GapPool& pool, const packet::Pools& buffers, packet::Chain& queue,
                            uint64_t& added) {
  Gap& gap = pool[head_];
  const uint64_t weight = gap.bytes.occupied();
  bytes_ -= gap.end - gap.start;
  occupied_ -= weight;
  pool.vacate(weight);
  added += append_received(queue, std::move(gap.bytes), buffers.small);
  remove(pool, head_);
}

SackBlock Reassembly::run_around(const GapPool& pool, Seq start, Seq end) const {
  for (uint32_t i = tail_; i != kNone; i = pool[i].previous) {
    if (seq_leq(pool[i].start, start)) {
      return seq_leq(end, pool[i].end) ? SackBlock{pool[i].start, pool[i].end} : SackBlock{};
    }
  }
  return {};
}

unsigned Reassembly::blocks(const GapPool& pool, SackBlock* to, unsigned max) const {
  unsigned count = 0;
  for (const uint32_t index : recent_) {
    if (index == kNone || count == max) break;
    to[count++] = {pool[index].start, pool[index].end};
  }
  return count;
}

void Reassembly::clear(GapPool& pool) {
  pool.vacate(occupied_);
  while (head_ != kNone) remove(pool, head_);
  *this = Reassembly();
}

}  // namespace isthmus::tcp
