// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A network namespace without a name, and what the kernel's side of a test does in it.
#pragma once

#include <cstdint>
#include <string>

#include "drivers/vtap/vnet_header.h"
#include "frames.h"

namespace isthmus::test {

class Namespace {
 public:
  Namespace() = default;
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;
  ~Namespace();

  // False without the privilege.
  bool make();
  // As NetnsScope::enter and the netns argument take it.
  std::string path() const;

  // address: in host byte order; the prefix is /24.
  void set_address(const std::string& ifname, uint32_t address) const;
  void set_up(const std::string& ifname, bool up) const;
  int mtu(const std::string& ifname) const;
  bool exists(const std::string& ifname) const;
  bool make_persistent_tap(const std::string& ifname) const;

 private:
  int fd_ = -1;
  int control_ = -1;
};

// AF_PACKET with the virtio-net header: sends through an interface as the kernel's own stack does,
// and sees what arrives as that stack sees it.
class PacketSocket {
 public:
  PacketSocket(const Namespace& space, const std::string& ifname);
  PacketSocket(const PacketSocket&) = delete;
  PacketSocket& operator=(const PacketSocket&) = delete;
  ~PacketSocket();

  void send(const drivers::vtap::VnetHeader& vnet, const Bytes& frame) const;
  // The next IPv4 TCP frame that came in; empty after two seconds.
  Bytes receive_tcp(drivers::vtap::VnetHeader& vnet) const;

 private:
  int fd_ = -1;
};

// From kOurMac; addresses in host byte order.
Bytes arp_request(uint32_t from, uint32_t to);
Bytes echo_request(uint32_t from, uint32_t to);

}  // namespace isthmus::test
