// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/virtio_user.h"

#include <algorithm>
#include <cstring>

#include <rte_log.h>

namespace isthmus::drivers {
namespace {

RTE_LOG_REGISTER(log_type, isthmus.port, NOTICE)

const char* const kDriver = "net_virtio_user";

std::string free_name() {
  uint16_t unused = 0;
  for (unsigned i = 0;; ++i) {
    std::string name = kDriver + std::to_string(i);
    if (rte_eth_dev_get_port_by_name(name.c_str(), &unused) != 0) return name;
  }
}

}  // namespace

unsigned virtio_user_ports() {
  unsigned count = 0;
  uint16_t port = 0;
  RTE_ETH_FOREACH_DEV(port) {
    rte_eth_dev_info info = {};
    if (rte_eth_dev_info_get(port, &info) != 0 || info.driver_name == nullptr) continue;
    if (strcmp(info.driver_name, kDriver) == 0) ++count;
  }
  return count;
}

std::unique_ptr<Port> open_virtio_user(const VirtioUserConfig& config, PortConfig port,
                                       std::string& error) {
  if (config.socket.empty() || config.socket.find(',') != std::string::npos) {
    error = "vhost-user socket '" + config.socket + "': a path without commas is needed";
    return nullptr;
  }
  if (virtio_user_ports() >= kMaxVirtioUserPorts) {
    error = "vhost-user socket " + config.socket + ": at most " +
            std::to_string(kMaxVirtioUserPorts) +
            " virtio-user pod ports in one process; use a vtap queue for this pod";
    return nullptr;
  }
  const uint16_t queues = std::max(port.rx_queues, port.tx_queues);
  port.device = free_name() + ",path=" + config.socket + ",queues=" + std::to_string(queues) +
                ",queue_size=" + std::to_string(config.ring);
  if (config.server) port.device += ",server=1";
  if (config.set_mac) {
    char mac[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_format_addr(mac, sizeof(mac), &config.mac);
    port.device += std::string(",mac=") + mac;
  }
  if (port.descriptors == 0) port.descriptors = config.ring;
  std::unique_ptr<Port> made = Port::open(port, error);
  if (made == nullptr) return nullptr;
  rte_log(RTE_LOG_WARNING, static_cast<uint32_t>(log_type),
          "%s: the vhost-user backend at %s can map all of this process's DPDK memory; "
          "attach trusted backends only\n",
          made->info().name.c_str(), config.socket.c_str());
  return made;
}

}  // namespace isthmus::drivers
