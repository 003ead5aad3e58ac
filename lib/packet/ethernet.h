// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Between frames and L3 packets: the Ethernet header is read and taken off on the way in, and put
// in front on the way out.
#pragma once

#include <cstdint>
#include <optional>

#include <rte_mbuf.h>

#include "packet/headers.h"
#include "stats/reason.h"

namespace isthmus::packet {

struct FrameView {
  MacAddress destination;
  MacAddress source;
  uint16_t type = 0;     // EtherType behind any VLAN tags
  uint16_t length = 0;   // of the header with its tags, bytes
  uint16_t vlan_id = 0;  // of the outermost tag; 0 when untagged or priority tagged
};

// Reads the header of a frame, with at most two VLAN tags (802.1Q inside 802.1ad). The frame is
// unchanged but for the header's bytes made contiguous.
stats::Refusal parse_ethernet(rte_mbuf* frame, FrameView& out);

// Takes a header of view.length bytes off: the packet's data starts at L3.
void strip_ethernet(rte_mbuf* frame, const FrameView& view);

// Puts a header in front of an L3 packet and sets l2_len. Written into the headroom when the first
// segment is exclusive and has room, else into a new first segment from the pool. Takes ownership
// of the packet and returns the frame; null (the packet is freed) when the pool is empty.
rte_mbuf* push_ethernet(rte_mbuf* packet, const MacAddress& destination, const MacAddress& source,
                        uint16_t type, rte_mempool* pool);

}  // namespace isthmus::packet
