// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/pools.h"

#include <algorithm>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace isthmus::drivers {
namespace {

static_assert(packet::kHeadroom == RTE_PKTMBUF_HEADROOM,
              "drivers receive behind DPDK's headroom, engines count on ours");

// Per-core caches hand out what was freed last, which is what is still in the CPU's cache: the
// large pool's is small, so that a burst stays in one megabyte.
constexpr unsigned kCache = 256;
constexpr unsigned kLargeCache = 64;

rte_mempool* make(const std::string& name, unsigned count, unsigned cache, uint16_t room,
                  int socket, std::string& error) {
  const auto data = static_cast<uint16_t>(room == 0 ? 0 : room + packet::kHeadroom);
  // ring_mt_rts: a worker that the scheduler stopped inside an operation delays nobody.
  rte_mempool* pool = rte_pktmbuf_pool_create_by_ops(
      name.c_str(), count, std::min(cache, count / 2), 0, data, socket, "ring_mt_rts");
  if (pool == nullptr) {
    error = "mempool " + name + " of " + std::to_string(count) + ": " + rte_strerror(rte_errno);
  }
  return pool;
}

}  // namespace

std::unique_ptr<WorkerPools> WorkerPools::create(const std::string& name, const PoolSizes& sizes,
                                                 int socket, std::string& error) {
  std::unique_ptr<WorkerPools> made(new WorkerPools);
  packet::Pools& pools = made->pools_;
  pools.small = make(name + "_small", sizes.small, kCache, packet::kSmallRoom, socket, error);
  if (pools.small == nullptr) return nullptr;
  pools.large = make(name + "_large", sizes.large, kLargeCache, packet::kLargeRoom, socket, error);
  if (pools.large == nullptr) return nullptr;
  pools.clones = make(name + "_clones", sizes.clones, kCache, 0, socket, error);
  if (pools.clones == nullptr) return nullptr;
  return made;
}

WorkerPools::~WorkerPools() {
  rte_mempool_free(pools_.small);
  rte_mempool_free(pools_.large);
  rte_mempool_free(pools_.clones);
}

unsigned WorkerPools::in_use() const {
  return rte_mempool_in_use_count(pools_.small) + rte_mempool_in_use_count(pools_.large) +
         rte_mempool_in_use_count(pools_.clones);
}

}  // namespace isthmus::drivers
