// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two TCP engines back to back in memory, each end's calls timed by the time stamp counter. The
// wire between them does what two drivers would: it gives every packet that was sent a received
// mbuf of its own, and frees what was sent. Only headers are copied; nobody reads the payload.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <rte_cycles.h>

#include "packet/parse.h"
#include "packet/pools.h"
#include "stats/reason.h"
#include "tcp/engine.h"

namespace isthmus::bench {

inline constexpr unsigned kBurst = 32;

// Cycles of many bursts. A burst in which the scheduler took the core away would spoil the mean, so
// what took more than ten times the median is left out.
class Meter {
 public:
  void add(uint64_t cycles, uint32_t items) { samples_.push_back({cycles, items}); }
  void clear() { samples_.clear(); }
  // Mean cycles for each of the items of all bursts; zero without items.
  double per_item() const;

 private:
  struct Sample {
    uint64_t cycles;
    uint32_t items;
  };
  std::vector<Sample> samples_;
};

// Time of the engines: it moves on by a step for each burst, not with the machine's clock.
struct Clock {
  timer::Instant now{std::chrono::hours(1)};
  timer::Duration step{8};
};

// Packets on their way, in order.
class Wire {
 public:
  explicit Wire(const packet::Pools& received) : pools_(received) {}
  ~Wire();

  void put(rte_mbuf* packet) { packets_.push_back(packet); }
  bool empty() const { return first_ == packets_.size(); }
  // Up to kBurst packets as their receiver's driver would give them.
  unsigned take(std::array<rte_mbuf*, kBurst>& burst);
  // Frees what goes to an IPv4 address whose first byte is this.
  void discard_to(uint8_t network);
  Meter freeing;  // of what was sent, for each packet: the transmit completion of a driver

 private:
  rte_mbuf* received_copy(const rte_mbuf* packet);

  packet::Pools pools_;
  std::vector<rte_mbuf*> packets_;
  size_t first_ = 0;
};

// One end. Cycles are kept for each step of the worker's loop.
class End : private tcp::Output {
 public:
  End(const tcp::Config& config, const packet::Pools& pools, Wire& out, Clock& clock);

  tcp::Engine& engine() { return *engine_; }
  // A SYN without connection is accepted for this handler, or answered by a cookie when too many
  // are; null: it is dropped.
  void listen(tcp::Handler* handler) { listener_ = handler; }
  // Takes a burst from the wire into the engine, runs the timers, tells the handlers, sends.
  // Returns how many packets it took. All steps go to one meter where that is given.
  unsigned turn(Wire& in, Meter* whole = nullptr);
  void flush();
  void clear_meters();

  Meter parsing;   // for each packet received: packet::parse()
  Meter input;     // for each packet received: input() and advance()
  Meter flushing;  // for each packet received: flush(), the handlers' calls included
  uint64_t received = 0;
  uint64_t sent = 0;

 private:
  void transmit(rte_mbuf* packet, uint32_t path) override;
  // True: the mbuf was taken.
  bool answer(const packet::Parsed& segment);

  Wire& out_;
  Clock& clock_;
  stats::ReasonCounters drops_;
  std::unique_ptr<tcp::Engine> engine_;
  tcp::Handler* listener_ = nullptr;
  tcp::Options options_;  // of what it accepts
};

// Mempools of a worker, on hugepages where EAL has them.
packet::Pools make_pools(const char* name, unsigned small, unsigned large, unsigned clones);
// EAL without devices. Arguments behind "--" stay: returns how many of argv EAL took.
int start_eal(int argc, char** argv);
// The machine, in one line.
void print_machine();

}  // namespace isthmus::bench
