// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "worker_stack.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/random.h>

namespace isthmus::app {
namespace {

template <typename Secret>
void fill_random(Secret& secret) {
  static_assert(std::is_trivially_copyable_v<Secret>);
  if (getrandom(&secret, sizeof secret, 0) != static_cast<ssize_t>(sizeof secret)) {
    throw std::runtime_error("the system gives no random bytes");
  }
}

// What the hbone room can hold.
constexpr uint32_t kMostStreams = 128;

// A quota of a workload.
uint32_t unless_none(uint32_t limit) {
  return limit == 0 ? UINT32_MAX : limit;
}

gateway::WorkerConfig worker_config(const WorkerStack::Setting& setting) {
  const config::Limits& limits = setting.config.limits;
  // Most flows are translated packet by packet; those that end here cost kilobytes each.
  const uint32_t terminated = std::max(limits.flows / 4, 1U);
  // What may lie in queues is bounded by the buffers that there are, of the size that there are
  // fewer of: which one payload comes in is up to the port. The rest stays for what is on its way.
  const uint64_t buffers = std::min(uint64_t{setting.config.pools.large} * packet::kLargeRoom,
                                    uint64_t{setting.config.pools.small} * packet::kSmallRoom);
  gateway::WorkerConfig config;
  config.index = setting.index;
  config.workers = setting.workers;
  config.flows = limits.flows;
  config.hbone.transports = limits.tunnels;
  config.hbone.max_streams =
      static_cast<uint16_t>(std::min(limits.streams_per_tunnel, kMostStreams));
  config.hbone.tunnels = terminated;
  config.hbone.receive_budget = buffers / 4;
  config.hbone.send_budget = buffers / 4;
  config.hbone.profile = setting.config.profile == mesh::Profile::v1_18 ? hbone::Profile::istio_1_18
                                                                        : hbone::Profile::head;
  config.pool.waiters = terminated;
  config.nat.capacity = limits.flows;
  config.outbound.flows = terminated;
  const config::WorkloadLimits& each = limits.per_workload;
  config.outbound.held_per_pod = unless_none(each.held_syns);
  config.hbone.handshakes_per_second = each.handshakes_per_second;
  config.quotas.flows = each.flows;
  config.quotas.pending_tunnels = each.pending_tunnels;
  config.quotas.bytes_in_flight = each.bytes_in_flight;
  config.quotas.relayed = terminated;
  config.quotas.transports = limits.tunnels;
  config.inbound_streams = terminated;
  config.tcp.max_connections = limits.tunnels + terminated;
  config.tcp.memory_budget = buffers / 4;
  fill_random(config.secrets);
  fill_random(config.random);
  fill_random(config.nat.key);
  return config;
}

tls::RecordLimits record_limits(const config::Limits& limits) {
  static_assert(config::Limits().records_per_key == tls::RecordLimits().update_after);
  tls::RecordLimits result;
  result.update_after = limits.records_per_key;
  return result;
}

tls::HandshakeLimits handshake_limits(const WorkerStack::Setting& setting) {
  const config::Limits& limits = setting.config.limits;
  tls::HandshakeLimits result;
  result.total = std::max(1U, limits.pending_handshakes / setting.workers);
  result.per_workload = std::min(result.total, unless_none(limits.per_workload.pending_handshakes));
  return result;
}

}  // namespace

WorkerStack::WorkerStack(const Setting& setting)
    : pools_(setting.pools),
      waker_(sleeper_),
      keys_(tls::KeyStore::bytes_for(setting.config.limits.tunnels)),
      records_(keys_.bytes(), pools_, record_limits(setting.config.limits)),
      channels_(make_channels(setting)),
      io_(setting.ports, setting.index, setting.workers) {
  if (!records_.usable()) throw std::runtime_error("IPsec-MB does not start on this machine");
  std::vector<tls::HandshakeChannel*> channels;
  for (const auto& channel : channels_) channels.push_back(channel.get());
  executor_ = std::make_unique<tls::RingExecutor>(channels, handshake_limits(setting));
  for (const int fd : io_.descriptors()) {
    if (!sleeper_.watch(fd)) throw std::runtime_error("a port's descriptor cannot be waited for");
  }
  const gateway::WorkerParts parts{io_, setting.handoff, pools_, *executor_, records_};
  worker_ = std::make_unique<gateway::Worker>(worker_config(setting), parts, setting.plan,
                                              setting.clock.now());
  WorkerThread::Settings loop;
  loop.adaptive = setting.config.workers.idle == config::Workers::Idle::adaptive;
  loop.idle_after = timer::Duration(setting.config.workers.idle_after_us);
  thread_ =
      std::make_unique<WorkerThread>(setting.index, setting.lcore,
                                     WorkerThread::Parts{*worker_, io_, setting.handoff, *executor_,
                                                         sleeper_, setting.clock, setting.qsbr},
                                     loop);
}

// One channel to each service thread.
std::vector<std::unique_ptr<tls::HandshakeChannel>> WorkerStack::make_channels(
    const Setting& setting) {
  std::vector<std::unique_ptr<tls::HandshakeChannel>> channels;
  for (const auto& service : setting.handshakes) {
    auto& channel = channels.emplace_back(
        std::make_unique<tls::HandshakeChannel>(handshake_limits(setting).total));
    channel->wake_worker = &waker_;
    service->serve(*channel);
  }
  return channels;
}

}  // namespace isthmus::app
