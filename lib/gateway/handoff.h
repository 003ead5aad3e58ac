// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Packets from the worker that received them to the worker that owns their flow. One bounded
// single-producer single-consumer ring for each ordered pair of workers, bounded in packets and in
// bytes; what does not fit is the sender's to drop and count.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

struct rte_mbuf;
struct rte_ring;

namespace isthmus::gateway {

class Handoff {
 public:
  // bytes_per_ring bounds the payload that may wait between one pair of workers.
  Handoff(unsigned workers, unsigned packets_per_ring, uint64_t bytes_per_ring);
  ~Handoff();
  Handoff(const Handoff&) = delete;
  Handoff& operator=(const Handoff&) = delete;

  unsigned workers() const { return workers_; }
  // Called by worker `from` only. False: full, the packet still belongs to the caller.
  bool push(unsigned from, unsigned to, rte_mbuf* packet);
  // Called by worker `to` only. Packets of all senders, up to n: an equal share of each first, then
  // what is left, and each time another sender comes first.
  uint16_t pop(unsigned to, rte_mbuf** packets, uint16_t n);
  // Whether anything waits for the worker; for the recheck before sleep.
  bool pending(unsigned to) const;

 private:
  struct Lane {
    struct Free {
      void operator()(rte_ring* ring) const;
    };
    std::unique_ptr<rte_ring, Free> ring;
    alignas(64) std::atomic<uint64_t> pushed_bytes{0};  // written by the producer
    alignas(64) std::atomic<uint64_t> popped_bytes{0};  // written by the consumer
  };
  // Where a consumer's round begins.
  struct alignas(64) Turn {
    unsigned first = 0;
  };
  uint16_t pop(Lane& in, rte_mbuf** packets, uint16_t n);
  Lane& lane(unsigned from, unsigned to) { return lanes_[from * workers_ + to]; }
  const Lane& lane(unsigned from, unsigned to) const { return lanes_[from * workers_ + to]; }

  unsigned workers_;
  uint64_t bytes_per_ring_;
  std::vector<Lane> lanes_;
  std::vector<Turn> turns_;
};

}  // namespace isthmus::gateway
