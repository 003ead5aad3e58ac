// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One worker's queues of all ports: the bursts of gateway::PacketIo over ethdev.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "drivers/vtap/vtap.h"
#include "gateway/packet_io.h"
#include "ports.h"

namespace isthmus::app {

// Written by the worker only, read by others with relaxed loads.
struct alignas(64) BurstCounters {
  std::atomic<uint64_t> rx_packets{0};
  std::atomic<uint64_t> rx_bursts{0};  // that brought at least one packet
  std::atomic<uint64_t> tx_packets{0};
  std::atomic<uint64_t> tx_bursts{0};
  std::atomic<uint64_t> tx_dropped{0};  // the device did not take them
};

class PortIo final : public gateway::PacketIo {
 public:
  // Receive queue q of a port is worker q % workers'. Throws std::runtime_error.
  PortIo(const Ports& ports, unsigned worker, unsigned workers);

  uint16_t receive(rte_mbuf** frames, uint16_t n) override;
  uint16_t transmit(uint16_t interface, rte_mbuf** frames, uint16_t n) override;

  // While off, frames stay in the devices. Any thread.
  void set_receiving(bool on) { receiving_.store(on, std::memory_order_relaxed); }
  // There is a queue without a descriptor to sleep on: it has to be looked at.
  bool must_poll() const { return !polled_.empty() && receiving_.load(std::memory_order_relaxed); }
  // Readable when a queue has a frame, for those that can say so.
  std::vector<int> descriptors() const;
  const BurstCounters& counters() const { return counters_; }

 private:
  // Queues that cannot say that they have something.
  struct PolledQueue {
    const drivers::Port* device;
    uint16_t queue;
    uint16_t interface;
  };
  // A port whose poller knows the queues that have.
  struct ReadyPort {
    const drivers::Port* device;
    std::unique_ptr<drivers::vtap::Poller> poller;
    uint16_t first_interface;
    bool queue_per_pod;
    uint16_t next = 0;  // where the last round stopped, among those ready
  };
  struct Exit {
    const drivers::Port* device;
    uint16_t queue;
  };

  void add_port(const OpenPort& port, unsigned worker, unsigned workers);
  uint16_t receive_ready(ReadyPort& port, rte_mbuf** frames, uint16_t n);

  std::vector<PolledQueue> polled_;
  std::vector<ReadyPort> ready_;
  std::vector<Exit> exits_;  // by interface
  uint32_t turn_ = 0;
  std::atomic<bool> receiving_{false};
  BurstCounters counters_;
};

}  // namespace isthmus::app
