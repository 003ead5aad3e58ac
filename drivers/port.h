// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// An Ethernet port: any ethdev, opened by its device string, configured by what it says it can do
// and never by its driver's name. Control thread, but for the two burst functions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rte_ethdev.h>

#include "packet/pools.h"

namespace isthmus::drivers {

struct PortConfig {
  // A vdev or PCI device with its arguments ("net_vtap0,iface=tap0"), or the name of a port that
  // exists already (EAL's --vdev, rte_eth_from_rings); closing removes only what open() made.
  std::string device;
  uint16_t rx_queues = 1;
  uint16_t tx_queues = 1;
  // Receive queue q takes its buffers from pools[q % pools.size()]: the pools of the worker that
  // polls it.
  std::vector<packet::Pools> pools;
  uint16_t mtu = 0;  // 0: as the device has it
  // Per queue, both ways; 0: the driver's default. Every receive descriptor holds a buffer: of the
  // large pool where the device coalesces or its MTU asks for it, but for net_vtap.
  uint16_t descriptors = 0;
  bool offload = true;  // use the checksum and segmentation offloads that the device has
};

// What a worker and the console have to know. True only where the device can and open() asked.
struct PortInfo {
  uint16_t id = 0;
  std::string name;
  std::string driver;
  rte_ether_addr mac = {};
  uint16_t mtu = 0;
  uint16_t rx_queues = 0;
  uint16_t tx_queues = 0;
  bool tx_ip_checksum = false;   // fills IPv4 header checksums
  bool tx_tcp_checksum = false;  // completes TCP pseudo-header sums
  bool tx_udp_checksum = false;
  bool tx_tso = false;           // cuts TCP packets of up to 64 KB
  bool tx_segments = false;      // sends multi-segment mbufs
  bool tx_lock_free = false;     // several workers may share a transmit queue
  bool rx_tcp_checksum = false;  // reports TCP checksums as good, none or bad
  bool rx_lro = false;           // hands over coalesced TCP packets of up to 64 KB
};

// testpmd's counters.
struct PortStats {
  uint64_t rx_packets = 0, rx_missed = 0, rx_bytes = 0, rx_errors = 0, rx_nombuf = 0;
  uint64_t tx_packets = 0, tx_errors = 0, tx_bytes = 0;
};

class Port {
 public:
  // Opens, configures and leaves the port stopped. Null with a reason.
  static std::unique_ptr<Port> open(const PortConfig& config, std::string& error);
  // Stops and closes. No worker may be in a burst.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  const PortInfo& info() const { return info_; }
  uint16_t id() const { return info_.id; }

  bool start(std::string& error);
  bool stop(std::string& error);
  bool set_mtu(uint16_t mtu, std::string& error);
  bool link_up() const;
  PortStats stats() const;
  void clear_stats();
  // Frames that the device lost for want of buffers since it was opened; nothing clears this one.
  uint64_t missed() const { return missed_before_ + stats().rx_missed; }
  // testpmd's `show port stats` block. Rates are since the last call; now_ns is any steady clock.
  std::string show_stats(uint64_t now_ns);

  // Worker: up to n frames of one receive queue.
  uint16_t rx_burst(uint16_t queue, rte_mbuf** frames, uint16_t n) const {
    return rte_eth_rx_burst(info_.id, queue, frames, n);
  }
  // Worker: returns how many frames were taken; the rest is still the caller's.
  uint16_t tx_burst(uint16_t queue, rte_mbuf** frames, uint16_t n) const {
    return rte_eth_tx_burst(info_.id, queue, frames, n);
  }

 private:
  Port() = default;
  bool find_or_probe(const std::string& device, std::string& error);
  bool configure(const PortConfig& config, std::string& error);
  bool set_up_queues(const PortConfig& config, std::string& error);
  bool set_up_rx_queue(uint16_t queue, const PortConfig& config, std::string& error);
  void read_info();

  PortInfo info_;
  rte_eth_dev_info device_ = {};
  rte_eth_conf conf_ = {};
  bool open_ = false;    // there is an ethdev to close
  bool probed_ = false;  // and it is ours to remove
  bool started_ = false;
  PortStats shown_;
  uint64_t missed_before_ = 0;  // clear_stats()
  uint64_t shown_ns_ = 0;
};

}  // namespace isthmus::drivers
