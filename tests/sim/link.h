// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A link between two ends that does to L3 packets what networks do, by a seed: a middlebox rewrites
// them, a bottleneck queues, marks and drops them, the way delays, loses, reorders, duplicates and
// corrupts them. Ends are anything that sends and takes IP packets: an engine, a whole gateway.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <rte_mbuf.h>

#include "packet/pools.h"
#include "sim/middlebox.h"
#include "sim/packet_log.h"
#include "sim/scheduler.h"

namespace isthmus::sim {

// Losses that come together (Gilbert and Elliott): a packet finds the link good or bad, and the
// state may change with each.
struct BurstLoss {
  double enter = 0;    // probability that the good state turns bad
  double leave = 0.3;  // and back
  double loss = 1;     // of a packet in the bad state
  // The bad state passes by itself; else a sender that backs off would stay in it for minutes.
  timer::Duration longest = std::chrono::milliseconds(100);
};

// Of one direction.
struct LinkModel {
  timer::Duration delay = std::chrono::milliseconds(5);  // one way
  timer::Duration jitter{};                              // added, uniform, without overtaking
  double loss = 0;                                       // each a probability per packet
  double tail_loss = 0;  // of a packet with PSH or FIN: the end of what there was to say
  BurstLoss burst;
  uint32_t lose_every = 0;     // periodically; 0: off
  double reorder = 0;          // held back by up to reorder_delay, so that others overtake
  uint32_t reorder_every = 0;  // each of these by exactly reorder_delay; 0: off
  timer::Duration reorder_delay = std::chrono::milliseconds(3);
  double duplicate = 0;
  double corrupt = 0;  // one bit flips
  // The bottleneck. 0: no limit, and then no queue.
  uint64_t bits_per_second = 0;
  uint32_t queue_bytes = 256 << 10;  // drop-tail
  uint32_t queue_packets = UINT32_MAX;
  uint32_t mark_bytes = UINT32_MAX;  // a longer queue marks what is ECN capable, and only that
  uint16_t mtu = 1500;               // large packets are cut by it, as a NIC's segmentation does
  uint16_t black_hole = UINT16_MAX;  // longer packets vanish without a word
  bool segment = true;               // false: large packets arrive large, as by LRO
};
std::string describe(const LinkModel& model);

class Link {
 public:
  // Takes ownership of a received L3 packet, with no receive flags: its checksum is not known good.
  using Deliver = std::function<void(rte_mbuf*)>;

  // Buffers of delivered packets come from pools; a packet for which there is none is lost.
  Link(Scheduler& scheduler, const packet::Pools& pools, uint64_t seed, PacketLog* log);

  LinkModel& model(int from) { return directions_[from].model; }
  Middlebox& middlebox() { return middlebox_; }
  void attach(int side, Deliver deliver) { directions_[1 - side].deliver = std::move(deliver); }
  // Side 0 or 1 sends. Takes ownership; offloads that the packet asks for are done here.
  void send(int from, rte_mbuf* packet);
  // Sees each packet of one side as it enters the link, before its fate.
  void watch(std::function<void(int from, const std::vector<uint8_t>&)> watcher) {
    watcher_ = std::move(watcher);
  }
  // Decides about single packets, by their number in this direction: true loses it.
  void lose_if(std::function<bool(int from, uint64_t number, const std::vector<uint8_t>&)> rule) {
    rule_ = std::move(rule);
  }
  uint64_t packets(int from) const { return directions_[from].count; }
  uint64_t lost(int from) const { return directions_[from].lost; }
  uint64_t marked(int from) const { return directions_[from].marked; }
  uint64_t bytes(int from) const { return directions_[from].bytes; }

 private:
  struct Direction {
    LinkModel model;
    Deliver deliver;
    timer::Instant free_at{};          // when the transmitter is idle
    timer::Instant last_at{};          // the latest regular arrival, which jitter does not overtake
    std::deque<timer::Instant> queue;  // when each waiting packet will have left
    bool bad = false;                  // of the burst model
    timer::Instant bad_since{};
    uint64_t count = 0;
    uint64_t lost = 0;
    uint64_t marked = 0;
    uint64_t bytes = 0;
  };
  void put(int from, std::vector<uint8_t> bytes);
  // False: the queue is full.
  bool pass_bottleneck(Direction& direction, std::vector<uint8_t>& bytes, timer::Instant& leaves);
  bool loses(Direction& direction, const std::vector<uint8_t>& bytes);
  timer::Instant arrival(Direction& direction, timer::Instant leaves, const char*& fate);
  void arrive(int from, timer::Instant when, std::vector<uint8_t> bytes);
  void log(int from, const char* fate, const std::vector<uint8_t>& bytes);
  bool chance(double probability) {
    return probability > 0 && std::uniform_real_distribution<>(0, 1)(random_) < probability;
  }

  Scheduler& scheduler_;
  const packet::Pools& pools_;
  std::mt19937_64 random_;
  PacketLog* log_;
  Middlebox middlebox_;
  Direction directions_[2];
  std::function<void(int, const std::vector<uint8_t>&)> watcher_;
  std::function<bool(int, uint64_t, const std::vector<uint8_t>&)> rule_;
};

}  // namespace isthmus::sim
