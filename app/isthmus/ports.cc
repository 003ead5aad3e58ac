// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ports.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>

#include "drivers/virtio_user.h"
#include "drivers/vtap/vtap.h"

namespace isthmus::app {
namespace {

[[noreturn]] void refuse(const std::string& port, const std::string& reason) {
  throw std::runtime_error(fmt::format("port '{}': {}", port, reason));
}

rte_ether_addr to_ether(const packet::MacAddress& mac) {
  rte_ether_addr address;
  std::memcpy(address.addr_bytes, mac.bytes.data(), mac.bytes.size());
  return address;
}

bool is_pods_vtap(const config::Port& port) {
  return port.device.driver == config::Driver::vtap && port.role == capture::PortRole::pod;
}

std::string vtap_device(const config::Port& port, unsigned number) {
  const config::Device& device = port.device;
  std::string text = fmt::format("net_vtap{}", number);
  if (is_pods_vtap(port)) {
    text += fmt::format(",pods={}", port.pods.size());
  } else {
    text += fmt::format(",iface={},queues={},offload={}", device.iface, device.queues,
                        device.offload ? 1 : 0);
    if (!device.netns.empty()) text += fmt::format(",netns={}", device.netns);
    if (device.peer_mac) text += fmt::format(",peer_mac={}", device.peer_mac->to_string());
  }
  if (port.mac) text += fmt::format(",mac={}", port.mac->to_string());
  return text;
}

drivers::PortConfig port_config(const config::Port& port, unsigned number,
                                const std::vector<packet::Pools>& pools) {
  drivers::PortConfig result;
  const config::Device& device = port.device;
  const auto workers = static_cast<uint16_t>(pools.size());
  result.rx_queues = device.queues;
  result.tx_queues = workers;  // one each, so that no lock is needed
  result.pools = pools;
  result.mtu = port.mtu;
  result.descriptors = device.descriptors;
  result.offload = device.offload;
  switch (device.driver) {
    case config::Driver::vtap:
      result.device = vtap_device(port, number);
      if (is_pods_vtap(port)) result.rx_queues = static_cast<uint16_t>(port.pods.size());
      result.tx_queues = result.rx_queues;  // lock-free, and a queue is an interface
      break;
    case config::Driver::ring:
      result.device = fmt::format("net_ring{}", number);
      result.mtu = 0;  // the driver has none to set
      break;
    case config::Driver::null:
      result.device = fmt::format("net_null{},no-rx=1", number);
      break;
    case config::Driver::devargs:
      result.device = device.devargs;
      break;
    case config::Driver::virtio_user:
      break;
  }
  return result;
}

void attach_pods(const config::Port& port, uint16_t id) {
  uint16_t queue = 0;
  for (const config::Pod& pod : port.pods) {
    drivers::vtap::TapConfig tap;
    tap.ifname = pod.iface;
    tap.netns = pod.netns;
    tap.offload = port.device.offload;
    tap.mtu = port.mtu;
    if (pod.mac) {
      tap.set_peer_mac = true;
      tap.peer_mac = to_ether(*pod.mac);
    }
    std::string error;
    if (!drivers::vtap::attach(id, queue++, tap, error)) {
      refuse(port.name, fmt::format("pod '{}': {}", pod.name, error));
    }
  }
}

}  // namespace

Ports::Ports(const std::vector<config::Port>& configured, const std::vector<packet::Pools>& pools) {
  unsigned number = 0;
  for (const auto& port : configured) open(port, number++, pools);
}

void Ports::open(const config::Port& configured, unsigned number,
                 const std::vector<packet::Pools>& pools) {
  const drivers::PortConfig wanted = port_config(configured, number, pools);
  OpenPort port;
  port.config = &configured;
  port.vtap = configured.device.driver == config::Driver::vtap;
  port.queue_per_pod = is_pods_vtap(configured);
  port.first_interface = interfaces_;
  if (port.queue_per_pod) port.interfaces = static_cast<uint16_t>(configured.pods.size());
  std::string error;
  if (configured.device.driver == config::Driver::virtio_user) {
    drivers::VirtioUserConfig virtio;
    virtio.socket = configured.device.path;
    virtio.server = configured.device.server;
    virtio.set_mac = configured.mac.has_value();
    if (configured.mac) virtio.mac = to_ether(*configured.mac);
    port.device = drivers::open_virtio_user(virtio, wanted, error);
  } else {
    port.device = drivers::Port::open(wanted, error);
  }
  if (port.device == nullptr) refuse(configured.name, error);
  if (port.queue_per_pod) attach_pods(configured, port.device->id());
  if (!port.device->start(error)) refuse(configured.name, error);
  interfaces_ = static_cast<uint16_t>(interfaces_ + port.interfaces);
  ports_.push_back(std::move(port));
}

OpenPort* Ports::find(const std::string& text) {
  const auto found = std::find_if(ports_.begin(), ports_.end(), [&text](const OpenPort& port) {
    return port.config->name == text || std::to_string(port.device->id()) == text;
  });
  return found == ports_.end() ? nullptr : &*found;
}

const OpenPort& Ports::of_interface(uint16_t interface) const {
  return *std::find_if(ports_.begin(), ports_.end(), [interface](const OpenPort& port) {
    return interface < port.first_interface + port.interfaces;
  });
}

}  // namespace isthmus::app
