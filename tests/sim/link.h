// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A link between two ends that does to L3 packets what networks do, by a seed: it delays, loses,
// reorders, duplicates, corrupts. Ends are anything that sends and takes IP packets: an engine, a
// whole gateway.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <rte_mbuf.h>

#include "packet/pools.h"
#include "sim/scheduler.h"

namespace isthmus::sim {

struct LinkModel {
  timer::Duration delay = std::chrono::milliseconds(5);  // one way
  timer::Duration jitter{};                              // added, uniform, without overtaking
  double loss = 0;                                       // each a probability per packet
  double reorder = 0;  // held back by up to reorder_delay, so that others overtake
  double duplicate = 0;
  double corrupt = 0;  // one bit flips
  timer::Duration reorder_delay = std::chrono::milliseconds(3);
  uint64_t bits_per_second = 0;      // 0: no limit
  uint32_t queue_bytes = 256 << 10;  // drop-tail, where there is a limit
  uint16_t mtu = 1500;               // large packets are cut by it, as a NIC's segmentation does
  bool segment = true;               // false: large packets arrive large, as by LRO
};

// What befell the packets, and all of them by line: "time side fate source > destination ...".
class PacketLog {
 public:
  void add(timer::Instant now, int side, const char* fate, const std::vector<uint8_t>& packet);
  const std::string& text() const { return text_; }
  // All packets that were put on the link, as a pcap file of raw IP.
  bool write_pcap(const std::string& path) const;
  void keep_packets(bool keep) { keep_ = keep; }

 private:
  struct Kept {
    timer::Instant at;
    std::vector<uint8_t> bytes;
  };
  std::string text_;
  std::vector<Kept> kept_;
  bool keep_ = false;
};

class Link {
 public:
  // Takes ownership of a received L3 packet, with no receive flags: its checksum is not known good.
  using Deliver = std::function<void(rte_mbuf*)>;

  // Buffers of delivered packets come from pools; a packet for which there is none is lost.
  Link(Scheduler& scheduler, const packet::Pools& pools, uint64_t seed, PacketLog* log);

  LinkModel& model(int from) { return directions_[from].model; }
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

 private:
  struct Direction {
    LinkModel model;
    Deliver deliver;
    timer::Instant free_at{};  // when the transmitter is idle
    timer::Instant last_at{};  // the latest regular arrival, which jitter does not overtake
    uint64_t count = 0;
    uint64_t lost = 0;
  };
  void put(int from, std::vector<uint8_t> bytes);
  void arrive(int from, timer::Instant when, std::vector<uint8_t> bytes);
  bool chance(double probability) {
    return probability > 0 && std::uniform_real_distribution<>(0, 1)(random_) < probability;
  }

  Scheduler& scheduler_;
  const packet::Pools& pools_;
  std::mt19937_64 random_;
  PacketLog* log_;
  Direction directions_[2];
  std::function<void(int, const std::vector<uint8_t>&)> watcher_;
  std::function<bool(int, uint64_t, const std::vector<uint8_t>&)> rule_;
};

}  // namespace isthmus::sim
