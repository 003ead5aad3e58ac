// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/buffer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace isthmus::packet {

rte_mbuf* share_slice(rte_mbuf* segment, uint16_t offset, uint16_t length, rte_mempool* clones) {
  assert(offset + length <= segment->data_len);
  rte_mbuf* slice = rte_pktmbuf_alloc(clones);
  if (slice == nullptr) return nullptr;
  rte_pktmbuf_attach(slice, segment);
  slice->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  slice->data_off = static_cast<uint16_t>(slice->data_off + offset);
  slice->data_len = length;
  slice->pkt_len = length;
  return slice;
}

bool make_contiguous(rte_mbuf* packet, uint32_t n) {
  assert(n <= packet->pkt_len);
  if (n <= packet->data_len) return true;
  if (!is_exclusive(packet)) return false;
  const uint32_t missing = n - packet->data_len;
  if (missing > rte_pktmbuf_tailroom(packet)) {
    if (missing > static_cast<uint32_t>(rte_pktmbuf_tailroom(packet)) + packet->data_off) {
      return false;
    }
    std::memmove(packet->buf_addr, rte_pktmbuf_mtod(packet, void*), packet->data_len);
    packet->data_off = 0;
  }
  while (packet->data_len < n) {
    rte_mbuf* next = packet->next;
    const uint32_t length = std::min<uint32_t>(n - packet->data_len, next->data_len);
    std::memcpy(rte_pktmbuf_mtod_offset(packet, uint8_t*, packet->data_len),
                rte_pktmbuf_mtod(next, const uint8_t*), length);
    packet->data_len = static_cast<uint16_t>(packet->data_len + length);
    next->data_off = static_cast<uint16_t>(next->data_off + length);
    next->data_len = static_cast<uint16_t>(next->data_len - length);
    if (next->data_len == 0) {
      packet->next = next->next;
      --packet->nb_segs;
      rte_pktmbuf_free_seg(next);
    }
  }
  return true;
}

void trim_to(rte_mbuf* packet, uint32_t n) {
  assert(n <= packet->pkt_len);
  if (n == packet->pkt_len) return;
  packet->pkt_len = n;
  rte_mbuf* last = packet;
  uint16_t segments = 1;
  while (n > last->data_len) {
    n -= last->data_len;
    last = last->next;
    ++segments;
  }
  last->data_len = static_cast<uint16_t>(n);
  packet->nb_segs = segments;
  rte_mbuf* rest = last->next;
  last->next = nullptr;
  while (rest != nullptr) {
    rte_mbuf* next = rest->next;
    rte_pktmbuf_free_seg(rest);
    rest = next;
  }
}

void trim_front(rte_mbuf* packet, uint32_t n) {
  assert(n <= packet->pkt_len);
  packet->pkt_len -= n;
  for (rte_mbuf* segment = packet; n != 0; segment = segment->next) {
    const uint32_t length = std::min<uint32_t>(n, segment->data_len);
    segment->data_off = static_cast<uint16_t>(segment->data_off + length);
    segment->data_len = static_cast<uint16_t>(segment->data_len - length);
    n -= length;
  }
}

}  // namespace isthmus::packet
