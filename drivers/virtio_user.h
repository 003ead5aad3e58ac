// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Pod interfaces by vhost-user: our side is DPDK's virtio-user, the peer a vhost-user backend (a
// VM's or a container's DPDK). An ordinary Port once it is open.
//
// A vhost-user backend maps every EAL memory segment of this process, payload of all pods
// included, so the peer has to be as trusted as the gateway itself. Keys are not in EAL's memory
// (the tls room).
#pragma once

#include <memory>
#include <string>

#include "drivers/port.h"

namespace isthmus::drivers {

// DPDK has RTE_MAX_ETHPORTS = 32 ports in the distribution's build; the rest is for underlay, node,
// host and vtap ports.
inline constexpr unsigned kMaxVirtioUserPorts = 24;

struct VirtioUserConfig {
  std::string socket;    // path of the vhost-user socket; no comma
  bool server = false;   // we listen and the backend connects
  uint16_t ring = 1024;  // descriptors per queue, a power of two
  bool set_mac = false;
  rte_ether_addr mac = {};  // of our end, if set_mac
};

// Opens one more virtio-user port; `port` gives queues and pools (its device is ignored). Null with
// a reason: 24 exist, or the backend isn't there. Logs the warning above for each.
std::unique_ptr<Port> open_virtio_user(const VirtioUserConfig& config, PortConfig port,
                                       std::string& error);

// Virtio-user ports that are open in this process.
unsigned virtio_user_ports();

}  // namespace isthmus::drivers
