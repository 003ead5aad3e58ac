// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A packet whose bytes lie in heap buffers of exactly their size, so that a sanitizer sees the
// first byte that is read past them. No mempool is behind it, and so no EAL.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include <rte_mbuf.h>

namespace isthmus::fuzz {

class HeapPacket {
 public:
  // One segment when split is 0 or not less than size; else a second one begins at split, and the
  // first has room for `kRoom` bytes of it.
  HeapPacket(const uint8_t* bytes, size_t size, size_t split, uint64_t flags = 0) {
    const bool two = split != 0 && split < size;
    const size_t first = two ? split : size;
    fill(segments_[0], buffers_[0], bytes, first, two ? kRoom : 0);
    segments_[0].pkt_len = static_cast<uint32_t>(size);
    segments_[0].ol_flags = flags;
    if (!two) return;
    fill(segments_[1], buffers_[1], bytes + first, size - first, 0);
    // Freeing it only counts down: there is no pool to return it to.
    rte_mbuf_refcnt_set(&segments_[1], 2);
    segments_[0].next = &segments_[1];
    segments_[0].nb_segs = 2;
  }

  rte_mbuf* get() { return &segments_[0]; }

 private:
  static constexpr size_t kRoom = 96;

  static void fill(rte_mbuf& segment, std::unique_ptr<uint8_t[]>& buffer, const uint8_t* bytes,
                   size_t size, size_t room) {
    buffer.reset(new uint8_t[size + room]);
    std::copy_n(bytes, size, buffer.get());
    segment.buf_addr = buffer.get();
    segment.buf_len = static_cast<uint16_t>(size + room);
    segment.data_len = static_cast<uint16_t>(size);
    segment.pkt_len = static_cast<uint32_t>(size);
    segment.nb_segs = 1;
    rte_mbuf_refcnt_set(&segment, 1);
  }

  std::unique_ptr<uint8_t[]> buffers_[2];
  rte_mbuf segments_[2] = {};
};

// An input is one byte for the split, one for the receive flags, and the packet.
inline constexpr size_t kPrefix = 2;
inline constexpr size_t kMaxPacket = 4096;

inline uint64_t receive_flags(uint8_t selector) {
  // Mostly trusted checksums, or else hardly any input would get past them.
  switch (selector % 4) {
    case 0:
      return 0;
    case 1:
      return RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    default:
      return RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  }
}

}  // namespace isthmus::fuzz
