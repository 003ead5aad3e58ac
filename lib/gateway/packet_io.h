// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How a worker reaches the network: bursts of Ethernet frames in and out of interfaces. The
// application implements it over ethdev ports, the simulator over links.
#pragma once

#include <cstdint>

struct rte_mbuf;

namespace isthmus::gateway {

// One per worker, used by that worker only.
class PacketIo {
 public:
  // Up to n frames from the receive queues that are this worker's, in any order of interfaces.
  // rte_mbuf::port of each is set to the interface's index in Plan::interfaces.
  virtual uint16_t receive(rte_mbuf** frames, uint16_t n) = 0;

  // Sends frames out of an interface and takes ownership of all of them. What the device does not
  // take is freed; returns how many it took.
  virtual uint16_t transmit(uint16_t interface, rte_mbuf** frames, uint16_t n) = 0;

 protected:
  ~PacketIo() = default;
};

}  // namespace isthmus::gateway
