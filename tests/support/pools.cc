// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "support/pools.h"

#include <cstdio>
#include <cstdlib>

#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace isthmus::test {
namespace {

rte_mempool* make(const char* name, unsigned count, uint16_t room) {
  const uint16_t data = room == 0 ? 0 : static_cast<uint16_t>(room + packet::kHeadroom);
  rte_mempool* pool =
      rte_pktmbuf_pool_create_by_ops(name, count, 64, 0, data, SOCKET_ID_ANY, "ring_mt_rts");
  if (pool == nullptr) {
    fprintf(stderr, "no memory for mempool %s\n", name);
    abort();
  }
  return pool;
}

}  // namespace

packet::Pools& pools() {
  static packet::Pools made = {make("small", 8191, packet::kSmallRoom),
                               make("large", 1023, packet::kLargeRoom), make("clones", 16383, 0)};
  return made;
}

unsigned mbufs_in_use() {
  return rte_mempool_in_use_count(pools().small) + rte_mempool_in_use_count(pools().large) +
         rte_mempool_in_use_count(pools().clones);
}

}  // namespace isthmus::test
