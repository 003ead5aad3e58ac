// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/checksum.h"

#include <algorithm>

namespace isthmus::packet {

Sum packet_sum(const rte_mbuf* packet, uint32_t offset, uint32_t length) {
  while (offset != 0 && offset >= packet->data_len) {
    offset -= packet->data_len;
    packet = packet->next;
  }
  Sum sum;
  bool odd = false;  // the next segment's first byte is the second of its word
  for (; length != 0; packet = packet->next, offset = 0) {
    const uint32_t here = std::min<uint32_t>(length, packet->data_len - offset);
    const uint16_t part =
        rte_raw_cksum(rte_pktmbuf_mtod_offset(packet, const uint8_t*, offset), here);
    sum.add(be16::from_raw(odd ? __builtin_bswap16(part) : part));
    odd ^= (here & 1) != 0;
    length -= here;
  }
  return sum;
}

}  // namespace isthmus::packet
