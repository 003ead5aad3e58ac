// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// ARP messages for IPv4 over Ethernet (RFC 826): read and written.
#pragma once

#include <optional>

#include <rte_mbuf.h>

#include "packet/headers.h"
#include "packet/pools.h"
#include "stats/reason.h"

namespace isthmus::ip {

// Reads an ARP message; the mbuf's data starts at it (Ethernet taken off). Anything but a request
// or reply of Ethernet and IPv4 from a unicast sender is malformed.
stats::Refusal parse_arp(rte_mbuf* packet, packet::Arp& out);

// A request for the owner of target, as an ARP message without Ethernet in front. Null when the
// pool is empty. sender_ip may be 0.0.0.0 (RFC 5227 probe).
rte_mbuf* make_arp_request(const packet::MacAddress& sender_mac, packet::be32 sender_ip,
                           packet::be32 target_ip, rte_mempool* pool);
// The reply to a request, with `mac` as the answer.
rte_mbuf* make_arp_reply(const packet::Arp& request, const packet::MacAddress& mac,
                         rte_mempool* pool);

}  // namespace isthmus::ip
