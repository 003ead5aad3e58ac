// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/queue.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <unistd.h>

#include <rte_branch_prediction.h>

namespace isthmus::drivers::vtap {
namespace {

// A counter with one writer.
void bump(std::atomic<uint64_t>& counter, uint64_t by) {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

// Frames that one call may drop: what a TAP's queue holds, in a few calls.
constexpr unsigned kMissedPerCall = 256;

enum class Sent { kDone, kFull, kRefused };

// The data of a frame from byte `skip` on as an iovec list. 0 when it has too many segments.
unsigned gather(const rte_mbuf& frame, uint32_t skip, iovec* iov, unsigned room) {
  unsigned count = 0;
  for (const rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
    if (segment->data_len <= skip) {
      skip -= segment->data_len;
      continue;
    }
    if (count == room) return 0;
    iov[count++] = {rte_pktmbuf_mtod_offset(segment, uint8_t*, skip), segment->data_len - skip};
    skip = 0;
  }
  return count;
}

Sent write_frame(int fd, const rte_mbuf& frame) {
  TxPreamble preamble;
  if (unlikely(!encode(frame, preamble))) return Sent::kRefused;
  iovec iov[IOV_MAX];
  iov[0] = {&preamble, kVnetHeader + preamble.headers};
  const unsigned count = gather(frame, preamble.headers, iov + 1, IOV_MAX - 1);
  if (unlikely(count == 0 && frame.pkt_len != preamble.headers)) return Sent::kRefused;
  const ssize_t written = writev(fd, iov, static_cast<int>(count + 1));
  if (likely(written >= 0)) return Sent::kDone;
  return errno == EAGAIN || errno == ENOBUFS ? Sent::kFull : Sent::kRefused;
}

}  // namespace

bool Endpoint::attach(int fd) {
  if (fd_ < 0) {
    fd_ = fd;
  } else {
    const bool replaced = dup3(fd, fd_, O_CLOEXEC) >= 0;
    ::close(fd);
    if (!replaced) return false;
  }
  attached_.store(true, std::memory_order_release);
  return true;
}

void Endpoint::detach(int refuse) {
  attached_.store(false, std::memory_order_release);
  if (fd_ >= 0) dup3(refuse, fd_, O_CLOEXEC);
}

void Endpoint::close() {
  attached_.store(false, std::memory_order_release);
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void RxQueue::setup(const Endpoint* endpoint, uint16_t port, rte_mempool* first,
                    rte_mempool* rest) {
  close();
  endpoint_ = endpoint;
  port_ = port;
  first_ = first;
  rest_ = rest;
  const uint32_t first_room = rte_pktmbuf_data_room_size(first) - RTE_PKTMBUF_HEADROOM;
  const uint32_t rest_room = rte_pktmbuf_data_room_size(rest) - RTE_PKTMBUF_HEADROOM;
  const uint32_t others =
      first_room >= kMaxFrame ? 0 : (kMaxFrame - first_room + rest_room - 1) / rest_room;
  segments_ = static_cast<uint16_t>(1 + others);
  missing_ = segments_;
  iov_[0] = {&vnet_, kVnetHeader};
}

void RxQueue::release_buffers() {
  for (uint16_t i = missing_; i < segments_; ++i) rte_pktmbuf_free_seg(buffers_[i]);
  missing_ = segments_;
}

void RxQueue::close() {
  release_buffers();
  rte_pktmbuf_free_bulk(reserve_, reserved_);
  reserved_ = 0;
}

void RxQueue::refill_reserve() {
  while (reserved_ < kReserve) {
    rte_mbuf* fresh = rte_pktmbuf_alloc(first_);
    if (unlikely(fresh == nullptr)) return;
    reserve_[reserved_++] = fresh;
  }
}

// Frames use the front of the chain, so what is missing is always a prefix. It is filled from its
// end, which keeps that so when a pool runs out.
bool RxQueue::refill() {
  while (missing_ > 0) {
    const uint16_t at = static_cast<uint16_t>(missing_ - 1);
    rte_mbuf* fresh = rte_pktmbuf_alloc(at == 0 ? first_ : rest_);
    if (unlikely(fresh == nullptr)) return false;
    buffers_[at] = fresh;
    iov_[at + 1] = {rte_pktmbuf_mtod(fresh, void*), rte_pktmbuf_tailroom(fresh)};
    missing_ = at;
  }
  return true;
}

// Makes one frame of the first `length` bytes that the chain received.
rte_mbuf* RxQueue::take(uint32_t length) {
  rte_mbuf* head = buffers_[0];
  rte_mbuf* tail = nullptr;
  head->pkt_len = length;
  uint16_t used = 0;
  do {
    rte_mbuf* segment = buffers_[used];
    const auto part = static_cast<uint16_t>(std::min<size_t>(length, iov_[used + 1].iov_len));
    segment->data_len = part;
    if (tail != nullptr) tail->next = segment;
    tail = segment;
    length -= part;
    ++used;
  } while (length > 0);
  head->nb_segs = used;
  head->port = port_;
  missing_ = used;
  return head;
}

// A read that has no complete chain. The frame is null where the read found one that is lost.
ssize_t RxQueue::read_short(int fd, rte_mbuf*& frame) {
  release_buffers();  // a part of a chain is of no use here, and may be to somebody else
  frame = rte_pktmbuf_alloc(first_);
  const bool reserved = frame == nullptr && reserved_ > 0;
  if (reserved) frame = reserve_[--reserved_];
  uint32_t room = 0;
  if (frame != nullptr) room = reserved ? kReserveFrame : rte_pktmbuf_tailroom(frame);
  uint8_t beyond = 0;  // a frame that reaches it is cut off
  const iovec iov[] = {{&vnet_, kVnetHeader},
                       {frame != nullptr ? rte_pktmbuf_mtod(frame, void*) : nullptr, room},
                       {&beyond, sizeof beyond}};
  const ssize_t got = readv(fd, iov, 3);
  if (got > ssize_t{kVnetHeader} && got <= ssize_t{kVnetHeader} + room) {
    frame->data_len = static_cast<uint16_t>(got - kVnetHeader);
    frame->pkt_len = frame->data_len;
    frame->port = port_;
    return got;
  }
  if (reserved) {
    reserve_[reserved_++] = frame;
  } else {
    rte_pktmbuf_free(frame);
  }
  frame = nullptr;
  return got;
}

uint16_t RxQueue::receive(rte_mbuf** frames, uint16_t n) {
  const int fd = endpoint_->fd();
  if (fd < 0) {
    ++empty_reads_;
    return 0;
  }
  if (unlikely(reserved_ < kReserve)) refill_reserve();
  uint16_t count = 0;
  uint64_t bytes = 0;
  unsigned missed = 0;
  while (count < n && bytes < kBurstBytes && missed < kMissedPerCall) {
    rte_mbuf* frame = nullptr;
    const bool whole = refill();
    const ssize_t got = likely(whole) ? readv(fd, iov_, segments_ + 1) : read_short(fd, frame);
    if (got <= static_cast<ssize_t>(kVnetHeader)) {
      ++empty_reads_;
      if (unlikely(got >= 0 || errno != EAGAIN)) bump(counters_.errors, 1);
      break;
    }
    empty_reads_ = 0;
    if (likely(whole)) {
      frame = take(static_cast<uint32_t>(got) - kVnetHeader);
    } else {
      bump(counters_.no_mbuf, 1);
    }
    if (unlikely(frame == nullptr)) {
      ++missed;
      continue;
    }
    if (unlikely(!decode(vnet_, *frame))) {
      rte_pktmbuf_free(frame);
      bump(counters_.errors, 1);
      continue;
    }
    bytes += frame->pkt_len;
    frames[count++] = frame;
  }
  if (unlikely(missed > 0)) bump(counters_.missed, missed);
  if (count > 0) {
    bump(counters_.packets, count);
    bump(counters_.bytes, bytes);
  }
  return count;
}

uint16_t TxQueue::send(rte_mbuf** frames, uint16_t n) {
  const int fd = endpoint_->fd();
  uint64_t packets = 0;
  uint64_t bytes = 0;
  uint16_t consumed = 0;
  for (; consumed < n; ++consumed) {
    rte_mbuf* frame = frames[consumed];
    const Sent sent = fd < 0 ? Sent::kRefused : write_frame(fd, *frame);
    if (unlikely(sent == Sent::kFull)) {
      counters_.full.fetch_add(1, std::memory_order_relaxed);
      break;
    }
    if (likely(sent == Sent::kDone)) {
      ++packets;
      bytes += frame->pkt_len;
    }
    rte_pktmbuf_free(frame);
  }
  if (packets > 0) {
    counters_.packets.fetch_add(packets, std::memory_order_relaxed);
    counters_.bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  if (unlikely(packets != consumed)) {
    counters_.errors.fetch_add(consumed - packets, std::memory_order_relaxed);
  }
  return consumed;
}

}  // namespace isthmus::drivers::vtap
