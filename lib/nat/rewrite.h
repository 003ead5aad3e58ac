// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Header surgery: addresses and ports replaced, checksums kept right.
#pragma once

#include <optional>

#include "packet/parse.h"
#include "stats/reason.h"

namespace isthmus::nat {

// Gives a TCP or UDP packet other addresses and ports, of the same family. Complete checksums are
// updated (RFC 1624), partial ones (RX_L4_CKSUM_NONE) stay the pseudo header's sum.
void rewrite(packet::Parsed& packet, const packet::Tuple& to);

// Gives the packet that an ICMP error quotes another tuple, and the error itself the addresses that
// follow: it goes to the quoted sender, and where the quoted destination itself complains it comes
// from there. On a reason the packet is unchanged: it is malformed, or goes to somebody else.
stats::Refusal rewrite_error(packet::Parsed& error, const packet::Tuple& quoted);

// A TCP segment without payload; an L3 packet, checksums complete. Null when the pool is empty.
rte_mbuf* make_segment(const packet::Tuple& tuple, uint8_t flags, uint32_t sequence,
                       uint32_t acknowledgment, rte_mempool* pool);

}  // namespace isthmus::nat
