// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The state of one net_vtap port, and what its control operations do. pmd.cc puts ethdev in front.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <rte_ethdev.h>

#include "drivers/vtap/queue.h"
#include "drivers/vtap/tap.h"
#include "drivers/vtap/vtap.h"

namespace isthmus::drivers::vtap {

inline constexpr uint16_t kMaxQueues = RTE_MAX_QUEUES_PER_PORT;
// TAP limits (the kernel's MIN/MAX for an Ethernet TAP).
inline constexpr uint16_t kMinMtu = 68;
inline constexpr uint16_t kMaxMtu = 65535 - RTE_ETHER_HDR_LEN;

struct DeviceConfig {
  TapConfig tap;        // ifname empty: a pods port
  uint16_t queues = 1;  // receive queues at most
  rte_ether_addr mac = {};
};

// Reads the vdev's arguments. False with a reason that names the argument.
bool parse_arguments(const char* arguments, DeviceConfig& out, std::string& error);

class Device {
 public:
  Device(uint16_t port, const DeviceConfig& config);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // The device of an ethdev port; null for a port of another driver.
  static Device* of(uint16_t port);

  uint16_t port() const { return port_; }
  const DeviceConfig& config() const { return config_; }
  bool is_pods() const { return config_.tap.ifname.empty(); }
  uint16_t queues() const { return config_.queues; }
  uint16_t max_tx_queues() const { return is_pods() ? config_.queues : kMaxQueues; }
  rte_ether_addr& mac() { return config_.mac; }

  // The single interface of a port that isn't for pods.
  bool open_interface(std::string& error);
  // Its queues from the second on: attached while the port runs, because the kernel spreads flows
  // over every queue that is.
  bool open_queues(uint16_t count, std::string& error);
  void close_queues();

  bool attach(uint16_t queue, const TapConfig& config, std::string& error);
  bool detach(uint16_t queue, std::string& error);

  // For a pods port: true; links are per queue.
  bool link_up() const;
  bool queue_link(uint16_t queue) const;
  bool set_link(bool up, std::string& error);
  // 0 for a pods port.
  uint16_t mtu() const;
  // On a pods port, of every attached interface and of those attached later.
  bool set_mtu(uint16_t mtu, std::string& error);

  Endpoint& endpoint(uint16_t queue) { return endpoints_[queue]; }
  RxQueue& rx(uint16_t queue) { return rx_[queue]; }
  // Made by the first setup of the queue.
  TxQueue& make_tx(uint16_t queue, uint16_t receive_queues);
  const TxQueue* tx(uint16_t queue) const { return tx_[queue].get(); }
  QueueStats totals(uint16_t queue) const;
  // What rte_eth_stats_get subtracts.
  std::vector<QueueStats>& baseline() { return baseline_; }

 private:
  const uint16_t port_;
  DeviceConfig config_;
  mutable std::mutex mutex_;  // control threads only
  int refuse_ = -1;           // an unattached TAP descriptor: reads and writes fail with EBADFD
  std::vector<Tap> taps_;     // pods: one per queue; otherwise one
  std::unique_ptr<Endpoint[]> endpoints_;
  std::unique_ptr<RxQueue[]> rx_;
  std::vector<std::unique_ptr<TxQueue>> tx_;
  std::vector<QueueStats> baseline_;
};

}  // namespace isthmus::drivers::vtap
