// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/device.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace isthmus::drivers::vtap {
namespace {

std::array<std::atomic<Device*>, RTE_MAX_ETHPORTS> devices;

}  // namespace

Device* Device::of(uint16_t port) {
  return port < devices.size() ? devices[port].load(std::memory_order_acquire) : nullptr;
}

Device::Device(uint16_t port, const DeviceConfig& config)
    : port_(port),
      config_(config),
      refuse_(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)),
      taps_(config.tap.ifname.empty() ? config.queues : 1),
      endpoints_(std::make_unique<Endpoint[]>(config.queues)),
      rx_(std::make_unique<RxQueue[]>(config.queues)),
      tx_(kMaxQueues),
      baseline_(kMaxQueues) {
  devices[port].store(this, std::memory_order_release);
}

Device::~Device() {
  devices[port_].store(nullptr, std::memory_order_release);
  if (refuse_ >= 0) close(refuse_);
}

bool Device::open_interface(std::string& error) {
  if (refuse_ < 0) {
    error = "/dev/net/tun can't be opened";
    return false;
  }
  if (is_pods()) return true;
  const int fd = taps_[0].open(config_.tap, error);
  return fd >= 0 && endpoints_[0].attach(fd);
}

bool Device::open_queues(uint16_t count, std::string& error) {
  const std::lock_guard guard(mutex_);
  for (uint16_t queue = 1; queue < count && !is_pods(); ++queue) {
    const int fd = taps_[0].open_queue(error);
    if (fd < 0 || !endpoints_[queue].attach(fd)) return false;
  }
  return true;
}

void Device::close_queues() {
  const std::lock_guard guard(mutex_);
  for (uint16_t queue = 1; queue < queues() && !is_pods(); ++queue) {
    endpoints_[queue].detach(refuse_);
  }
}

bool Device::attach(uint16_t queue, const TapConfig& config, std::string& error) {
  const std::lock_guard guard(mutex_);
  if (!is_pods() || queue >= queues()) {
    error = "port has no pod queue " + std::to_string(queue);
    return false;
  }
  if (!rx_[queue].is_set_up() || tx_[queue] == nullptr) {
    error = "queue " + std::to_string(queue) + " isn't configured";
    return false;
  }
  if (taps_[queue].is_open()) {
    error = "queue " + std::to_string(queue) + " has interface " + taps_[queue].config().ifname;
    return false;
  }
  TapConfig wanted = config;
  wanted.multi_queue = false;
  if (wanted.mtu == 0) wanted.mtu = config_.tap.mtu;
  const int fd = taps_[queue].open(wanted, error);
  if (fd < 0) return false;
  if (endpoints_[queue].attach(fd)) return true;
  error = std::string("descriptor: ") + strerror(errno);
  taps_[queue].close();
  return false;
}

bool Device::detach(uint16_t queue, std::string& error) {
  const std::lock_guard guard(mutex_);
  if (!is_pods() || queue >= queues() || !taps_[queue].is_open()) {
    error = "queue " + std::to_string(queue) + " has no interface";
    return false;
  }
  endpoints_[queue].detach(refuse_);
  taps_[queue].close();
  return true;
}

bool Device::link_up() const {
  const std::lock_guard guard(mutex_);
  return is_pods() || taps_[0].running();
}

bool Device::queue_link(uint16_t queue) const {
  const std::lock_guard guard(mutex_);
  return queue < queues() && taps_[is_pods() ? queue : 0].running();
}

bool Device::set_link(bool up, std::string& error) {
  const std::lock_guard guard(mutex_);
  return std::all_of(taps_.begin(), taps_.end(),
                     [&](Tap& tap) { return !tap.is_open() || tap.set_up(up, error); });
}

uint16_t Device::mtu() const {
  const std::lock_guard guard(mutex_);
  return is_pods() ? 0 : taps_[0].mtu();
}

bool Device::set_mtu(uint16_t mtu, std::string& error) {
  const std::lock_guard guard(mutex_);
  const bool done = std::all_of(taps_.begin(), taps_.end(), [&](Tap& tap) {
    return !tap.is_open() || tap.set_mtu(mtu, error);
  });
  if (done) config_.tap.mtu = mtu;
  return done;
}

TxQueue& Device::make_tx(uint16_t queue, uint16_t receive_queues) {
  const std::lock_guard guard(mutex_);
  if (tx_[queue] == nullptr) tx_[queue] = std::make_unique<TxQueue>();
  // More transmit queues than the interface has queues share them.
  const int on = is_pods() ? queue : queue % std::max<int>(receive_queues, 1);
  tx_[queue]->setup(&endpoints_[on]);
  return *tx_[queue];
}

QueueStats Device::totals(uint16_t queue) const {
  const auto value = [](const std::atomic<uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  QueueStats out;
  if (queue < queues()) {
    const QueueCounters& rx = rx_[queue].counters();
    out.rx_packets = value(rx.packets);
    out.rx_bytes = value(rx.bytes);
    out.rx_errors = value(rx.errors);
    out.rx_nombuf = value(rx.no_mbuf);
    out.rx_missed = value(rx.missed);
  }
  if (tx_[queue] != nullptr) {
    const QueueCounters& tx = tx_[queue]->counters();
    out.tx_packets = value(tx.packets);
    out.tx_bytes = value(tx.bytes);
    out.tx_errors = value(tx.errors);
    out.tx_full = value(tx.full);
  }
  return out;
}

bool attach(uint16_t port, uint16_t queue, const TapConfig& config, std::string& error) {
  Device* device = Device::of(port);
  if (device != nullptr) return device->attach(queue, config, error);
  error = "port " + std::to_string(port) + " isn't a net_vtap port";
  return false;
}

bool detach(uint16_t port, uint16_t queue, std::string& error) {
  Device* device = Device::of(port);
  if (device != nullptr) return device->detach(queue, error);
  error = "port " + std::to_string(port) + " isn't a net_vtap port";
  return false;
}

bool queue_link(uint16_t port, uint16_t queue) {
  const Device* device = Device::of(port);
  return device != nullptr && device->queue_link(queue);
}

int rx_fd(uint16_t port, uint16_t queue) {
  Device* device = Device::of(port);
  return device != nullptr && queue < device->queues() ? device->endpoint(queue).fd() : -1;
}

bool queue_stats(uint16_t port, uint16_t queue, QueueStats& out) {
  const Device* device = Device::of(port);
  if (device == nullptr || queue >= kMaxQueues) return false;
  out = device->totals(queue);
  return true;
}

}  // namespace isthmus::drivers::vtap
