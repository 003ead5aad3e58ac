// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mempools that a worker allocates from. They belong to one worker; whoever creates them (the
// application, a test) owns them. All pools tolerate a preempted user (ring_mt_rts).
#pragma once

#include <cstdint>

struct rte_mempool;

namespace isthmus::packet {

// Room in front of the payload of a large buffer, so that a 16 KB TLS record with its header, tag
// and content type fits one mbuf behind every lower header.
inline constexpr uint16_t kHeadroom = 128;
inline constexpr uint16_t kSmallRoom = 2048;   // data room of a small buffer, headroom not counted
inline constexpr uint16_t kLargeRoom = 16896;  // data room of a large buffer: 16384 + 512

struct Pools {
  rte_mempool* small = nullptr;   // headers, control packets, short payloads
  rte_mempool* large = nullptr;   // 16 KB records and coalesced packets
  rte_mempool* clones = nullptr;  // no data room: indirect mbufs that refer to another's data
};

}  // namespace isthmus::packet
