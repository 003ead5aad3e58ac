// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A worker takes all its memory at the start. What one more stream, flow or connection costs is
// therefore what the heap grows by when a worker is made for more of them. Idle ones hold no
// buffer, which the unit tests of HBONE check.
#include <functional>
#include <malloc.h>
#include <memory>

#include "bench.h"
#include "hbone/transport.h"
#include "support/gateway_node.h"
#include "tcp/flight.h"
#include "tls/key_memory.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

using gateway::WorkerConfig;
using Tune = std::function<void(WorkerConfig&, uint32_t)>;

constexpr uint32_t kFew = 1u << 14;

size_t heap() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

size_t heap_of_worker(const Tune& tune, uint32_t count) {
  static const test::Mesh mesh("workloads: []");
  auto plan = std::make_unique<gateway::Plan>();
  test::complete_plan(*plan, mesh, {});
  test::GatewayOptions options;
  options.tune = [&](WorkerConfig& config) { tune(config, count); };
  const size_t before = heap();
  const test::GatewayNode node(
      std::move(plan), mesh, options, [](uint16_t, rte_mbuf*) {}, timer::Instant());
  return heap() - before;
}

double each(const Tune& tune) {
  const size_t few = heap_of_worker(tune, kFew);
  return static_cast<double>(heap_of_worker(tune, 2 * kFew) - few) / kFew;
}

// HPACK's tables of a connection whose peer, like ours, never indexes.
double hpack() {
  hbone::test::Pair pair;
  pair.open();
  pair.run();
  return static_cast<double>(pair.server.hbone.usage().hpack_bytes);
}

}  // namespace

Memory memory() {
  Memory memory;
  memory.stream = each([](WorkerConfig& config, uint32_t n) { config.hbone.tunnels = n; });
  // What a connection borrows while data or gaps are under way is set aside for each, too.
  memory.tcp_busy = sizeof(tcp::Flight) + sizeof(tcp::Disorder);
  memory.tcp = each([](WorkerConfig& config, uint32_t n) { config.tcp.max_connections = n; }) -
               memory.tcp_busy;
  memory.inbound = each([](WorkerConfig& config, uint32_t n) { config.inbound_streams = n; });
  memory.outbound = each([](WorkerConfig& config, uint32_t n) { config.outbound.flows = n; });
  memory.record = each([](WorkerConfig& config, uint32_t n) { config.flows = n; });
  const double slot = each([](WorkerConfig& config, uint32_t n) { config.hbone.transports = n; });
  // One that was accepted has a record, too.
  memory.connection = slot + memory.tcp + memory.record +
                      static_cast<double>(tls::KeyStore::bytes_for(1)) + hpack();
  return memory;
}

}  // namespace isthmus::bench
