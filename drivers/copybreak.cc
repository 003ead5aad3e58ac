// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/copybreak.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>

#include "packet/pools.h"

namespace isthmus::drivers {
namespace {

constexpr uint64_t kKeptFlags = ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);

rte_mbuf* copy(const rte_mbuf& from, rte_mempool* small) {
  rte_mbuf* to = rte_pktmbuf_alloc(small);
  if (to == nullptr) return nullptr;
  rte_memcpy(rte_pktmbuf_mtod(to, void*), rte_pktmbuf_mtod(&from, const void*), from.data_len);
  to->data_len = from.data_len;
  to->pkt_len = from.pkt_len;
  to->port = from.port;
  to->ol_flags = from.ol_flags & kKeptFlags;
  to->packet_type = from.packet_type;
  to->tx_offload = from.tx_offload;
  to->hash = from.hash;
  to->vlan_tci = from.vlan_tci;
  return to;
}

uint16_t shrink(uint16_t /*port*/, uint16_t /*queue*/, rte_mbuf** frames, uint16_t count,
                uint16_t /*room*/, void* small) {
  for (uint16_t i = 0; i < count; ++i) {
    rte_mbuf* frame = frames[i];
    if (frame->nb_segs != 1 || frame->data_len > packet::kSmallRoom) continue;
    rte_mbuf* shorter = copy(*frame, static_cast<rte_mempool*>(small));
    if (shorter == nullptr) break;
    rte_pktmbuf_free(frame);
    frames[i] = shorter;
  }
  return count;
}

}  // namespace

bool add_copybreak(uint16_t port, uint16_t queue, rte_mempool* small) {
  return rte_eth_add_rx_callback(port, queue, shrink, small) != nullptr;
}

}  // namespace isthmus::drivers
