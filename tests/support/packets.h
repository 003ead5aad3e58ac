// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Packets for tests, written by hand and checksummed by DPDK's functions, not by the ones under
// test.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <rte_mbuf.h>

#include "packet/address.h"
#include "packet/headers.h"

namespace isthmus::test {

using Bytes = std::vector<uint8_t>;

// What a test wants to be particular about; everything else is valid.
struct TcpFields {
  uint32_t sequence = 1000;
  uint32_t acknowledgment = 2000;
  uint8_t flags = packet::Tcp::kAck;
  uint16_t window = 65535;
  Bytes options;  // multiple of 4 bytes
};

packet::IpAddress address(std::string_view text);  // aborts when malformed
packet::Endpoint endpoint(std::string_view text);  // "10.0.0.1:80"
packet::Tuple tuple(std::string_view source, std::string_view destination);
packet::Tuple random_tuple(std::mt19937& random, bool v4);

// A whole IP packet around a transport header and payload; the family is the addresses'.
Bytes ip_packet(const packet::IpAddress& source, const packet::IpAddress& destination,
                uint8_t protocol, const Bytes& transport, uint8_t ttl = 64);
Bytes tcp_packet(const packet::Tuple& tuple, const Bytes& payload = {},
                 const TcpFields& fields = {});
Bytes udp_packet(const packet::Tuple& tuple, const Bytes& payload = {});
// ICMP or ICMPv6 message: type, code, the four bytes that follow the checksum, and the rest.
Bytes icmp_packet(const packet::IpAddress& source, const packet::IpAddress& destination,
                  uint8_t type, uint8_t code, uint32_t rest, const Bytes& payload = {});
Bytes ethernet_frame(const packet::MacAddress& destination, const packet::MacAddress& source,
                     uint16_t type, const Bytes& payload);

// Makes the IP header's and the transport's checksum right again after a test has changed bytes.
// Nothing but plain IPv4 and IPv6 headers without options.
void fix_checksums(Bytes& packet);
// True when both are right, by DPDK's own verification.
bool checksums_right(const Bytes& packet);

// Bytes 0, 1, 2, ... from a start, so that any mix-up shows.
Bytes pattern(size_t length, uint8_t start = 0);
// Bytes [from, to) of it.
Bytes slice(const Bytes& bytes, size_t from, size_t to);
// "45 00 00 3c ..." with any white space.
Bytes hex(std::string_view text);

// The bytes in an mbuf list; segment_size 0 means one segment (of the pool that fits).
rte_mbuf* to_mbuf(const Bytes& bytes, size_t segment_size = 0);
// All bytes of a list. Checks that nb_segs and pkt_len tell the truth.
Bytes to_bytes(const rte_mbuf* packet);

}  // namespace isthmus::test
