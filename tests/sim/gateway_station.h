// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A computer beside a gateway: one address, one TCP engine. Who links it to the network sees whole
// packets.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "sim/gateway_wire.h"
#include "sim/scheduler.h"
#include "stats/reason.h"
#include "tcp/engine.h"

namespace isthmus::sim {

class Station final : public tcp::Output {
 public:
  // Decides about a SYN; null refuses it.
  using Listener = std::function<tcp::Connection*(const packet::Parsed&)>;
  using Send = std::function<void(Carried&&)>;

  Station(Scheduler& scheduler, const packet::IpAddress& address, const tcp::Secrets& secrets,
          Send send);

  const packet::IpAddress& address() const { return address_; }
  tcp::Engine& engine() { return *engine_; }
  void listen(Listener listener) { listener_ = std::move(listener); }
  // Says nothing about SYNs to this port.
  void ignore(uint16_t port) { ignored_.insert(port); }
  void receive(const Carried& packet);
  void poll();
  void transmit(rte_mbuf* packet, uint32_t path) override;
  const stats::ReasonCounters& drops() const { return drops_; }

 private:
  Scheduler& scheduler_;
  packet::IpAddress address_;
  Send send_;
  Listener listener_;
  std::set<uint16_t> ignored_;
  stats::ReasonCounters drops_;
  std::unique_ptr<tcp::Engine> engine_;
  Waker waker_;
};

}  // namespace isthmus::sim
