// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// ICMP (RFC 792) and ICMPv6 (RFC 4443): echo answered, errors made and read, and what a router does
// to the TTL.
#pragma once

#include <cstdint>
#include <optional>

#include <rte_mbuf.h>

#include "ip/token_bucket.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "stats/reason.h"

namespace isthmus::ip {

// Takes one off the TTL (or hop limit) and keeps the IPv4 header's checksum right. False, and the
// packet unchanged, when it may not be forwarded any more (RFC 1812 section 5.3.1): the sender is
// told time_exceeded.
bool decrement_ttl(packet::Parsed& parsed);

// Turns an echo request into its reply, in place (RFC 1122 section 3.2.2.6): swap the addresses,
// set the TTL, update the checksums. False, and the packet unchanged, when it is no echo request or
// its headers may not be written.
bool make_echo_reply(packet::Parsed& parsed);

enum class ErrorKind : uint8_t {
  time_exceeded,         // v4 11/0, v6 3/0
  network_unreachable,   // v4 3/0,  v6 1/0
  host_unreachable,      // v4 3/1,  v6 1/3
  port_unreachable,      // v4 3/3,  v6 1/4
  protocol_unreachable,  // v4 3/2,  v6 4/1
  admin_prohibited,      // v4 3/13, v6 1/1
  packet_too_big,        // v4 3/4,  v6 2/0
};

// Makes the error messages of one worker, and not too many of them.
class ErrorSource {
 public:
  // At most per_second messages in a second, and `burst` at once (RFC 1812 section 4.3.2.8).
  ErrorSource(const packet::Pools& pools, uint32_t per_second, uint32_t burst)
      : pools_(pools), limit_(per_second, burst) {}

  // An L3 packet that tells the sender of `offending` what became of it; source is the gateway's
  // address towards it. mtu counts for packet_too_big only. Null where RFC 1812 section 4.3.2.7 and
  // RFC 4443 section 2.4 forbid an answer (an error, a later fragment, a multicast), beyond the
  // rate limit, and when the pool is empty. The offending packet is not changed.
  rte_mbuf* make(const packet::Parsed& offending, ErrorKind kind, uint32_t mtu,
                 const packet::IpAddress& source, timer::Instant now);

 private:
  const packet::Pools& pools_;
  TokenBucket limit_;
};

// What an error message says about the packet that caused it.
struct EmbeddedPacket {
  packet::Tuple tuple;  // as the offending packet had it: from its sender to its destination
  uint8_t protocol = 0;
  uint32_t offset = 0;     // of the embedded IP header in the packet, bytes
  uint16_t l3_length = 0;  // of that header
  uint32_t sequence = 0;   // TCP's, for the checks of RFC 5927
  bool unreachable = false;
  bool hard = false;  // protocol or port unreachable (RFC 1122 section 4.2.3.9)
  uint32_t mtu = 0;   // of fragmentation needed or packet too big; 0 for other errors
};

// True when the packet is an ICMP error message.
bool is_icmp_error(const packet::Parsed& parsed);
// Reads the embedded packet of one; at least its IP header and 8 bytes behind it must be there.
stats::Refusal parse_icmp_error(const packet::Parsed& parsed, EmbeddedPacket& out);

}  // namespace isthmus::ip
