// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The data path of net_vtap: frames read from and written to a TAP queue's descriptor, one system
// call each. Nothing here knows ethdev or the TAP's control side, so it runs over a socket pair in
// tests.
#pragma once

#include <atomic>
#include <cstdint>
#include <sys/uio.h>

#include <rte_mbuf.h>

#include "drivers/vtap/vnet_header.h"

namespace isthmus::drivers::vtap {

// The largest frame a TAP delivers: 65,535 bytes of IPv6 payload behind its header and Ethernet
// with a VLAN tag.
inline constexpr uint32_t kMaxFrame = 65535 + 40 + 18;
inline constexpr unsigned kMaxRxSegments = 64;
// The smallest buffer (without headroom) with which kMaxRxSegments hold kMaxFrame.
inline constexpr uint16_t kMinRxRoom = kMaxFrame / kMaxRxSegments + 1;

// A descriptor that control threads attach and detach while workers use it. The number stays the
// same from the first attach until the device closes: attach and detach replace what it refers to
// (dup3), so a worker between its check and its system call can at worst reach a descriptor that
// refuses, never one that something else has opened meanwhile.
class Endpoint {
 public:
  Endpoint() = default;
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;
  ~Endpoint() { close(); }

  // Takes ownership of fd.
  bool attach(int fd);
  // refuse: a descriptor whose reads and writes fail; it takes the place of what was attached.
  void detach(int refuse);
  void close();

  // The descriptor, or -1 while nothing is attached.
  int fd() const { return attached_.load(std::memory_order_acquire) ? fd_ : -1; }
  // The same number, attached or not; -1 before the first attach.
  int number() const { return fd_; }

 private:
  int fd_ = -1;
  std::atomic<bool> attached_ = false;
};

// Counts since the device was made. Written by workers, read by anyone.
struct QueueCounters {
  std::atomic<uint64_t> packets = 0;
  std::atomic<uint64_t> bytes = 0;
  std::atomic<uint64_t> errors = 0;   // rx: unusable virtio-net header; tx: refused by the kernel
  std::atomic<uint64_t> no_mbuf = 0;  // rx only: reads without buffers for the largest frame
  std::atomic<uint64_t> missed = 0;   // rx only: frames lost, for want of buffers that hold them
  std::atomic<uint64_t> full = 0;  // tx only: bursts cut short because the kernel's queue is full
};

// One receive queue: used by one worker at a time.
//
// Every read offers the kernel a chain of buffers that holds the largest frame: first one of the
// small pool, then as many of the large pool as needed. A frame keeps the buffers it filled and
// the rest serve the next one, so a short frame costs one small buffer and never pins a large one,
// and nothing is copied.
//
// A frame that stays in the kernel for want of buffers may stand before the acknowledgment that
// would set buffers free, so none stays. Without large buffers a read offers a small one; without
// those one of the queue's own reserve, for what an acknowledgment needs (kReserveFrame), so that
// payload cannot use it up; and what does not fit is lost, as on a device whose descriptors have
// run out.
class alignas(64) RxQueue {
 public:
  RxQueue() = default;
  RxQueue(const RxQueue&) = delete;
  RxQueue& operator=(const RxQueue&) = delete;
  ~RxQueue() { close(); }

  // first and rest may be the same pool.
  void setup(const Endpoint* endpoint, uint16_t port, rte_mempool* first, rte_mempool* rest);
  bool is_set_up() const { return first_ != nullptr; }

  // Up to n frames, and no more bytes than fit a core's cache (kBurstBytes).
  uint16_t receive(rte_mbuf** frames, uint16_t n);
  // Returns the buffers that wait for a frame to their pools; the next receive() takes new ones.
  void release_buffers();
  // Returns the reserve, too. The next receive() takes a new one.
  void close();

  // Reads in a row that found the queue empty.
  uint32_t empty_reads() const { return empty_reads_; }
  void forget_empty_reads() { empty_reads_ = 0; }
  const QueueCounters& counters() const { return counters_; }

  static constexpr uint32_t kBurstBytes = 256 * 1024;
  static constexpr unsigned kReserve = 4;
  // Ethernet with a VLAN tag, IPv6 and TCP with all the options that there can be.
  static constexpr uint32_t kReserveFrame = 18 + 40 + 60;

 private:
  bool refill();
  void refill_reserve();
  rte_mbuf* take(uint32_t length);
  ssize_t read_short(int fd, rte_mbuf*& frame);

  const Endpoint* endpoint_ = nullptr;
  rte_mempool* first_ = nullptr;
  rte_mempool* rest_ = nullptr;
  uint16_t port_ = 0;
  uint16_t segments_ = 0;  // buffers of a complete chain
  uint16_t missing_ = 0;   // buffers to refill at its front
  uint32_t empty_reads_ = 0;
  VnetHeader vnet_;
  unsigned reserved_ = 0;  // buffers in reserve_
  rte_mbuf* reserve_[kReserve] = {};
  rte_mbuf* buffers_[kMaxRxSegments] = {};
  iovec iov_[1 + kMaxRxSegments] = {};
  QueueCounters counters_;
};

// One transmit queue: any number of workers at once (RTE_ETH_TX_OFFLOAD_MT_LOCKFREE).
class alignas(64) TxQueue {
 public:
  void setup(const Endpoint* endpoint) { endpoint_ = endpoint; }

  // Sends frames in order and frees them. A frame that can't be sent at all is freed and counted
  // as an error; when the kernel's queue is full the rest is left to the caller. Returns how many
  // were consumed.
  uint16_t send(rte_mbuf** frames, uint16_t n);
  const QueueCounters& counters() const { return counters_; }

 private:
  const Endpoint* endpoint_ = nullptr;
  QueueCounters counters_;
};

}  // namespace isthmus::drivers::vtap
