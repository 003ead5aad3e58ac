// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The kernel's side of a TAP interface: open its queues, read and set what an administrator would.
// For control threads; every call is a system call.
#pragma once

#include <cstdint>
#include <string>

#include <rte_ether.h>

namespace isthmus::drivers::vtap {

struct TapConfig {
  std::string ifname;  // created when the namespace has no such TAP, attached to otherwise
  std::string netns;   // as NetnsScope::enter takes it
  bool multi_queue = false;
  bool offload = true;  // the kernel may hand over partial checksums and 64 KB packets
  int sndbuf = 0;       // bytes in flight towards the kernel per queue; 0: the kernel's default
  uint16_t mtu = 0;     // 0: leave as it is
  bool set_peer_mac = false;
  rte_ether_addr peer_mac = {};  // address of the kernel's interface, if set_peer_mac
};

// One TAP interface. Holds a socket in its namespace, so that no later call has to enter it.
class Tap {
 public:
  Tap() = default;
  Tap(Tap&& other) noexcept;
  Tap& operator=(Tap&& other) noexcept;
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;
  ~Tap() { close(); }

  // Opens the first queue and applies the configuration; an interface that this call created is
  // set up. Returns the queue's descriptor (non-blocking, the caller's), or -1 with a reason.
  int open(const TapConfig& config, std::string& error);
  // Another queue of a multi-queue interface that is open.
  int open_queue(std::string& error);
  // Forgets the interface. The kernel removes it with its last queue unless it is persistent.
  void close();

  bool is_open() const { return control_ >= 0; }
  const TapConfig& config() const { return config_; }
  // Up, with carrier.
  bool running() const;
  bool set_up(bool up, std::string& error) const;
  // 0 when it can't be read.
  uint16_t mtu() const;
  bool set_mtu(uint16_t mtu, std::string& error) const;
  bool mac(rte_ether_addr& out) const;
  bool set_mac(const rte_ether_addr& mac, std::string& error) const;

 private:
  int attach_queue(std::string& error);
  bool configure(bool created, std::string& error) const;

  TapConfig config_;
  int control_ = -1;  // an AF_INET socket of the interface's namespace
};

}  // namespace isthmus::drivers::vtap
