// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "port_io.h"

#include <fmt/format.h>
#include <stdexcept>

#include <rte_mbuf.h>

namespace isthmus::app {
namespace {

void add(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

void mark(rte_mbuf** frames, uint16_t n, uint16_t interface) {
  for (uint16_t i = 0; i < n; ++i) frames[i]->port = interface;
}

}  // namespace

PortIo::PortIo(const Ports& ports, unsigned worker, unsigned workers) {
  for (const auto& port : ports.list()) add_port(port, worker, workers);
}

void PortIo::add_port(const OpenPort& port, unsigned worker, unsigned workers) {
  const drivers::Port* device = port.device.get();
  const uint16_t queues = device->info().rx_queues;
  std::string error;
  if (port.vtap) {
    ReadyPort ready{device, drivers::vtap::Poller::create(device->id(), error),
                    port.first_interface, port.queue_per_pod};
    bool good = ready.poller != nullptr;
    for (uint16_t queue = 0; good && queue < queues; ++queue) {
      if (queue % workers == worker) good = ready.poller->watch(queue, error);
    }
    if (!good) throw std::runtime_error(fmt::format("port '{}': {}", port.config->name, error));
    ready_.push_back(std::move(ready));
  } else {
    for (uint16_t queue = 0; queue < queues; ++queue) {
      if (queue % workers == worker) polled_.push_back({device, queue, port.first_interface});
    }
  }
  for (uint16_t i = 0; i < port.interfaces; ++i) {
    const unsigned queue = port.queue_per_pod ? i : worker % device->info().tx_queues;
    exits_.push_back({device, static_cast<uint16_t>(queue)});
  }
}

std::vector<int> PortIo::descriptors() const {
  std::vector<int> result;
  for (const auto& port : ready_) result.push_back(port.poller->fd());
  return result;
}

// Every queue gets its turn: the one that fills the burst is not the first of the next.
uint16_t PortIo::receive(rte_mbuf** frames, uint16_t n) {
  if (!receiving_.load(std::memory_order_relaxed)) return 0;
  uint16_t got = 0;
  const size_t sources = polled_.size() + ready_.size();
  for (size_t i = 0; i < sources && got < n; ++i) {
    const size_t source = (turn_ + i) % sources;
    const auto room = static_cast<uint16_t>(n - got);
    if (source < polled_.size()) {
      const PolledQueue& queue = polled_[source];
      const uint16_t count = queue.device->rx_burst(queue.queue, frames + got, room);
      mark(frames + got, count, queue.interface);
      got = static_cast<uint16_t>(got + count);
    } else {
      got = static_cast<uint16_t>(
          got + receive_ready(ready_[source - polled_.size()], frames + got, room));
    }
  }
  ++turn_;
  if (got != 0) {
    add(counters_.rx_packets, got);
    add(counters_.rx_bursts, 1);
  }
  return got;
}

uint16_t PortIo::receive_ready(ReadyPort& port, rte_mbuf** frames, uint16_t n) {
  const auto queues = port.poller->ready();
  uint16_t got = 0;
  for (size_t i = 0; i < queues.size() && got < n; ++i) {
    const uint16_t queue = queues[(port.next + i) % queues.size()];
    const uint16_t count =
        port.device->rx_burst(queue, frames + got, static_cast<uint16_t>(n - got));
    const unsigned interface = port.first_interface + (port.queue_per_pod ? queue : 0U);
    mark(frames + got, count, static_cast<uint16_t>(interface));
    got = static_cast<uint16_t>(got + count);
  }
  ++port.next;
  return got;
}

uint16_t PortIo::transmit(uint16_t interface, rte_mbuf** frames, uint16_t n) {
  const Exit& exit = exits_[interface];
  uint16_t sent = 0;
  while (sent < n) {
    const uint16_t count =
        exit.device->tx_burst(exit.queue, frames + sent, static_cast<uint16_t>(n - sent));
    if (count == 0) break;
    sent = static_cast<uint16_t>(sent + count);
  }
  if (sent < n) {
    rte_pktmbuf_free_bulk(frames + sent, n - sent);
    add(counters_.tx_dropped, n - sent);
  }
  add(counters_.tx_packets, sent);
  add(counters_.tx_bursts, 1);
  return sent;
}

}  // namespace isthmus::app
