// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <rte_mempool.h>

#include "show.h"

namespace isthmus::app {
namespace {

double share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

double ratio(uint64_t value, uint64_t by) {
  return by == 0 ? 0.0 : static_cast<double>(value) / static_cast<double>(by);
}

uint64_t get(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

Json pool_row(unsigned worker, const char* name, const rte_mempool* pool) {
  return {{"worker", worker},
          {"pool", name},
          {"size", pool->size},
          {"in_use", rte_mempool_in_use_count(pool)},
          {"free", rte_mempool_avail_count(pool)},
          {"element_bytes", pool->elt_size}};
}

}  // namespace

Json show_drops(Application& application, const Arguments&) {
  Json rows = Json::array();
  const auto counts = application.drops();
  for (unsigned i = 0; i < stats::kReasonCount; ++i) {
    if (counts[i] == 0) continue;
    const auto& info = stats::info(static_cast<stats::Reason>(i));
    rows.push_back({{"count", counts[i]},
                    {"stage", info.room},
                    {"reason", info.name},
                    {"meaning", info.text}});
  }
  return rows;
}

Json show_workers(Application& application, const Arguments&) {
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    gateway::WorkerCounters counters;
    uint32_t flows = 0;
    application.on_worker(worker->thread(), [&](gateway::Worker& on) {
      counters = on.counters();
      flows = on.flows().live();
    });
    const WorkerCycles& cycles = worker->thread().cycles();
    const BurstCounters& bursts = worker->io().counters();
    const uint64_t busy = get(cycles.busy);
    const uint64_t all = busy + get(cycles.idle) + get(cycles.sleep);
    rows.push_back({{"worker", worker->thread().index()},
                    {"lcore", worker->thread().lcore()},
                    {"iterations", get(cycles.iterations)},
                    {"busy_%", share(busy, all)},
                    {"idle_%", share(get(cycles.idle), all)},
                    {"sleep_%", share(get(cycles.sleep), all)},
                    {"sleeps", get(cycles.sleeps)},
                    {"rx_packets", get(bursts.rx_packets)},
                    {"tx_packets", get(bursts.tx_packets)},
                    {"tx_dropped", get(bursts.tx_dropped)},
                    {"packets/burst", ratio(get(bursts.rx_packets), get(bursts.rx_bursts))},
                    {"cycles/packet", ratio(busy, get(bursts.rx_packets))},
                    {"handed_over", counters.handed_over},
                    {"taken_over", counters.taken_over},
                    {"flows", flows}});
  }
  return rows;
}

Json show_pools(Application& application, const Arguments&) {
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    const unsigned index = worker->thread().index();
    rows.push_back(pool_row(index, "small", worker->pools().small));
    rows.push_back(pool_row(index, "large", worker->pools().large));
    rows.push_back(pool_row(index, "clones", worker->pools().clones));
  }
  return rows;
}

}  // namespace isthmus::app
