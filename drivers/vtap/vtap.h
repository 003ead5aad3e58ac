// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// net_vtap: TAP interfaces behind an ethdev (a DPDK vdev), with the kernel's virtio-net header:
// checksum offload, TSO and large receive both ways.
//
//   --vdev=net_vtap0,iface=tap0[,netns=NAME|PATH][,queues=N][,mac=MAC][,peer_mac=MAC][,mtu=N]
//                    [,offload=0|1][,sndbuf=BYTES]
//     One interface, existing or created, with N queues; the kernel spreads flows over them.
//   --vdev=net_vtap1,pods=N[,mac=MAC]
//     N queues with nothing behind them; attach() gives a queue an interface of its own while the
//     port runs, in the network namespace of a pod. Queue number = pod.
//
// mac is the address of our end of the wire, the gateway's (locally administered and random unless
// given); peer_mac sets the address of the kernel's interface, which is another station.
// offload=0 is for a peer that reads the interface by AF_PACKET (Open vSwitch's userspace
// datapath) and understands neither partial checksums nor GSO: no offload is announced either way.
// An MTU configured through ethdev is the kernel interface's; coalesced packets exceed it.
//
// Any number of workers may transmit on one queue (MT_LOCKFREE); a receive queue has one worker.
// With two mempools on a receive queue (rte_eth_rxconf::rx_mempools: small, large) a frame starts
// in a small buffer and goes on in large ones; with one it is a chain of that pool's.
//
// The functions below are for control threads, Poller::ready() for the worker.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drivers/vtap/tap.h"

namespace isthmus::drivers::vtap {

class Device;

// Gives a queue of a pods port its interface. The port is configured; it may be running. False with
// a reason when the port is none of ours, the queue is in use, or the interface can't be had.
bool attach(uint16_t port, uint16_t queue, const TapConfig& config, std::string& error);

// Takes it away again. Workers may still be in a burst on that queue: they find it empty, and what
// they send is counted as an error. A pod interface that isn't persistent disappears.
bool detach(uint16_t port, uint16_t queue, std::string& error);

// The interface of a queue has carrier and is up.
bool queue_link(uint16_t port, uint16_t queue);

// A descriptor that becomes readable when the queue has a frame; -1 while nothing is attached. For
// epoll only.
int rx_fd(uint16_t port, uint16_t queue);

struct QueueStats {
  uint64_t rx_packets = 0, rx_bytes = 0, rx_errors = 0, rx_nombuf = 0, rx_missed = 0;
  uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0, tx_full = 0;
};
// Counts since the queue's first attach (rte_eth_stats_get has the port's totals, and only the
// first 16 queues). False for a port that is none of ours.
bool queue_stats(uint16_t port, uint16_t queue, QueueStats& out);

// Which of a worker's queues are worth a read. A port of a hundred pods has a few that are busy:
// those are read in every round, the others come back through one epoll instance. One per worker
// and port; a queue belongs to the poller that watches it for as long as the device lives.
class Poller {
 public:
  // Null with a reason when the port is none of ours or epoll can't be had.
  static std::unique_ptr<Poller> create(uint16_t port, std::string& error);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Control thread, after attach() and before detach().
  bool watch(uint16_t queue, std::string& error);
  void unwatch(uint16_t queue);

  // Worker, once per round; then one rte_eth_rx_burst on each. Valid until the next call.
  std::span<const uint16_t> ready();

  // For the worker's own epoll: readable (level-triggered) when a watched queue received a frame
  // since ready() last asked. A worker may sleep on it after a round that received nothing.
  int fd() const { return epoll_; }

 private:
  Poller(Device& device, int epoll);
  void collect();
  void retire();

  Device& device_;
  int epoll_;
  unsigned rounds_ = 0;
  std::vector<uint16_t> active_;  // capacity for every queue from the start
  std::vector<bool> is_active_;
};

}  // namespace isthmus::drivers::vtap
