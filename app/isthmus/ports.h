// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The devices that the configuration names, opened; and how they map to the interfaces of a plan: a
// port is one interface, except that a vtap port with pods is one for each pod, queue by queue.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "drivers/port.h"
#include "packet/pools.h"

namespace isthmus::app {

struct OpenPort {
  const config::Port* config = nullptr;
  std::unique_ptr<drivers::Port> device;
  uint16_t first_interface = 0;
  uint16_t interfaces = 1;
  bool vtap = false;           // has a drivers::vtap::Poller
  bool queue_per_pod = false;  // queue q is interface first_interface + q
};

class Ports {
 public:
  // Opens and starts all of them. pools: of each worker. The configuration must outlive the ports.
  // Throws std::runtime_error with the port's name and the reason.
  Ports(const std::vector<config::Port>& configured, const std::vector<packet::Pools>& pools);

  const std::vector<OpenPort>& list() const { return ports_; }
  uint16_t interfaces() const { return interfaces_; }
  // By name or number; null when there is none.
  OpenPort* find(const std::string& text);
  const OpenPort& of_interface(uint16_t interface) const;

 private:
  void open(const config::Port& configured, unsigned number,
            const std::vector<packet::Pools>& pools);

  std::vector<OpenPort> ports_;
  uint16_t interfaces_ = 0;
};

}  // namespace isthmus::app
