// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// IPv6 neighbour discovery: solicitations and advertisements (RFC 4861 sections 4.3 and 4.4), read
// and written. Routers, redirects and duplicate address detection are not spoken.
#pragma once

#include <optional>

#include <rte_mbuf.h>

#include "packet/headers.h"
#include "packet/parse.h"
#include "stats/reason.h"

namespace isthmus::ip {

struct NeighbourMessage {
  enum Kind : uint8_t { kSolicitation = 135, kAdvertisement = 136 };
  enum Flag : uint8_t { kRouter = 0x80, kSolicited = 0x40, kOverride = 0x20 };
  Kind kind = kSolicitation;
  uint8_t flags = 0;  // of an advertisement
  packet::IpAddress target;
  // Source (solicitation) or target (advertisement) link-layer address option.
  std::optional<packet::MacAddress> link_address;
};

// True when the packet is one of the two messages.
bool is_neighbour_message(const packet::Parsed& parsed);
// Reads and validates it (RFC 4861 section 7.1).
stats::Refusal parse_neighbour_message(const packet::Parsed& parsed, NeighbourMessage& out);

// An L3 packet without Ethernet in front; checksums complete. Null when the pool is empty.
rte_mbuf* make_neighbour_message(const NeighbourMessage& message, const packet::IpAddress& source,
                                 const packet::IpAddress& destination, rte_mempool* pool);

// ff02::1:ffXX:XXXX, the group that a solicitation goes to (RFC 4291 section 2.7.1).
packet::IpAddress solicited_node(const packet::IpAddress& target);
// 33:33 and the last four bytes of an IPv6 group (RFC 2464 section 7).
packet::MacAddress multicast_mac(const packet::IpAddress& group);

}  // namespace isthmus::ip
