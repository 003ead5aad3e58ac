// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "support/packets.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <rte_ip.h>
#include <rte_mbuf.h>

#include "support/pools.h"

namespace isthmus::test {
namespace {

[[noreturn]] void fail(std::string_view what, std::string_view text) {
  fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
          static_cast<int>(text.size()), text.data());
  abort();
}

// By memcpy, because gcc 12 warns of an overflow that is none in std::vector's range insertion.
void append(Bytes& to, const void* from, size_t length) {
  if (length == 0) return;
  to.resize(to.size() + length);
  std::memcpy(to.data() + to.size() - length, from, length);
}

size_t header_length(const Bytes& packet) {
  return packet[0] >> 4 == 4 ? 20 : 40;
}
uint8_t protocol_of(const Bytes& packet) {
  return packet[packet[0] >> 4 == 4 ? 9 : 6];
}

// Where the transport checksum stands in its header; 0 when the protocol has none.
size_t checksum_offset(uint8_t protocol) {
  switch (protocol) {
    case packet::kProtoTcp:
      return 16;
    case packet::kProtoUdp:
      return 6;
    case packet::kProtoIcmp:
    case packet::kProtoIcmpv6:
      return 2;
    default:
      return 0;
  }
}

uint16_t transport_checksum(const Bytes& packet) {
  const size_t at = header_length(packet);
  const uint8_t* transport = packet.data() + at;
  if (protocol_of(packet) == packet::kProtoIcmp) {
    return static_cast<uint16_t>(~rte_raw_cksum(transport, packet.size() - at));
  }
  if (at == 20) {
    return rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()), transport);
  }
  return rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(packet.data()), transport);
}

}  // namespace

packet::IpAddress address(std::string_view text) {
  const auto parsed = packet::IpAddress::parse(text);
  if (!parsed) fail("not an address", text);
  return *parsed;
}

packet::Endpoint endpoint(std::string_view text) {
  const auto parsed = packet::Endpoint::parse(text);
  if (!parsed) fail("not an endpoint", text);
  return *parsed;
}

packet::Tuple tuple(std::string_view source, std::string_view destination) {
  return {endpoint(source), endpoint(destination)};
}

packet::Tuple random_tuple(std::mt19937& random, bool v4) {
  packet::Tuple tuple;
  for (packet::Endpoint* end : {&tuple.source, &tuple.destination}) {
    uint8_t bytes[16];
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    end->address =
        v4 ? packet::IpAddress::v4(static_cast<uint32_t>(random())) : packet::IpAddress::v6(bytes);
    end->port = static_cast<uint16_t>(random());
  }
  return tuple;
}

Bytes ip_packet(const packet::IpAddress& source, const packet::IpAddress& destination,
                uint8_t protocol, const Bytes& transport, uint8_t ttl) {
  Bytes bytes;
  if (source.is_v4()) {
    packet::Ipv4 header{};
    header.version_ihl = 0x45;
    header.total_length.set(static_cast<uint16_t>(20 + transport.size()));
    header.id.set(0x1234);
    header.fragment.set(packet::Ipv4::kDontFragment);
    header.ttl = ttl;
    header.protocol = protocol;
    header.source = source.v4_wire();
    header.destination = destination.v4_wire();
    append(bytes, &header, sizeof header);
  } else {
    packet::Ipv6 header{};
    header.version_class_flow.set(6u << 28);
    header.payload_length.set(static_cast<uint16_t>(transport.size()));
    header.next_header = protocol;
    header.hop_limit = ttl;
    std::memcpy(header.source, source.bytes().data(), 16);
    std::memcpy(header.destination, destination.bytes().data(), 16);
    append(bytes, &header, sizeof header);
  }
  append(bytes, transport.data(), transport.size());
  fix_checksums(bytes);
  return bytes;
}

Bytes tcp_packet(const packet::Tuple& tuple, const Bytes& payload, const TcpFields& fields) {
  packet::Tcp header{};
  header.source_port.set(tuple.source.port);
  header.destination_port.set(tuple.destination.port);
  header.sequence.set(fields.sequence);
  header.acknowledgment.set(fields.acknowledgment);
  header.data_offset = static_cast<uint8_t>((20 + fields.options.size()) / 4 << 4);
  header.flags = fields.flags;
  header.window.set(fields.window);
  Bytes transport;
  append(transport, &header, sizeof header);
  append(transport, fields.options.data(), fields.options.size());
  append(transport, payload.data(), payload.size());
  return ip_packet(tuple.source.address, tuple.destination.address, packet::kProtoTcp, transport);
}

Bytes udp_packet(const packet::Tuple& tuple, const Bytes& payload) {
  packet::Udp header{};
  header.source_port.set(tuple.source.port);
  header.destination_port.set(tuple.destination.port);
  header.length.set(static_cast<uint16_t>(8 + payload.size()));
  Bytes transport;
  append(transport, &header, sizeof header);
  append(transport, payload.data(), payload.size());
  return ip_packet(tuple.source.address, tuple.destination.address, packet::kProtoUdp, transport);
}

Bytes icmp_packet(const packet::IpAddress& source, const packet::IpAddress& destination,
                  uint8_t type, uint8_t code, uint32_t rest, const Bytes& payload) {
  packet::Icmp header{};
  header.type = type;
  header.code = code;
  header.rest.set(rest);
  Bytes transport;
  append(transport, &header, sizeof header);
  append(transport, payload.data(), payload.size());
  return ip_packet(source, destination, source.is_v4() ? packet::kProtoIcmp : packet::kProtoIcmpv6,
                   transport);
}

Bytes ethernet_frame(const packet::MacAddress& destination, const packet::MacAddress& source,
                     uint16_t type, const Bytes& payload) {
  packet::Ethernet header{destination, source, packet::be16(type)};
  Bytes frame;
  append(frame, &header, sizeof header);
  append(frame, payload.data(), payload.size());
  return frame;
}

void fix_checksums(Bytes& packet) {
  if (header_length(packet) == 20) {
    std::memset(packet.data() + 10, 0, 2);
    const uint16_t sum = rte_ipv4_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()));
    std::memcpy(packet.data() + 10, &sum, 2);
  }
  const size_t offset = checksum_offset(protocol_of(packet));
  const size_t at = header_length(packet) + offset;
  if (offset == 0 || packet.size() < at + 2) return;
  std::memset(packet.data() + at, 0, 2);
  const uint16_t sum = transport_checksum(packet);
  std::memcpy(packet.data() + at, &sum, 2);
}

bool checksums_right(const Bytes& packet) {
  Bytes expected = packet;
  fix_checksums(expected);
  return expected == packet;
}

Bytes pattern(size_t length, uint8_t start) {
  Bytes bytes(length);
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<uint8_t>(start + i + i / 256);
  return bytes;
}

Bytes slice(const Bytes& bytes, size_t from, size_t to) {
  return {bytes.begin() + static_cast<long>(from), bytes.begin() + static_cast<long>(to)};
}

Bytes hex(std::string_view text) {
  Bytes bytes;
  int high = -1;
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) continue;
    const char digit[2] = {c, 0};
    char* end = nullptr;
    const long value = strtol(digit, &end, 16);
    if (end == digit) fail("not hexadecimal", text);
    if (high < 0) {
      high = static_cast<int>(value);
    } else {
      bytes.push_back(static_cast<uint8_t>(high << 4 | value));
      high = -1;
    }
  }
  if (high >= 0) fail("an odd number of digits", text);
  return bytes;
}

rte_mbuf* to_mbuf(const Bytes& bytes, size_t segment_size) {
  const size_t largest = segment_size == 0 ? bytes.size() : segment_size;
  rte_mempool* pool = largest <= packet::kSmallRoom ? pools().small : pools().large;
  rte_mbuf* packet = nullptr;
  for (size_t at = 0; packet == nullptr || at < bytes.size();) {
    rte_mbuf* segment = rte_pktmbuf_alloc(pool);
    if (segment == nullptr) fail("no mbuf", "");
    const size_t length =
        std::min({bytes.size() - at, largest, static_cast<size_t>(rte_pktmbuf_tailroom(segment))});
    char* to = rte_pktmbuf_append(segment, static_cast<uint16_t>(length));
    if (length != 0) std::memcpy(to, bytes.data() + at, length);
    at += length;
    if (packet == nullptr) {
      packet = segment;
    } else {
      rte_pktmbuf_chain(packet, segment);
    }
  }
  return packet;
}

Bytes to_bytes(const rte_mbuf* packet) {
  Bytes bytes;
  unsigned segments = 0;
  for (const rte_mbuf* segment = packet; segment != nullptr; segment = segment->next) {
    append(bytes, rte_pktmbuf_mtod(segment, const uint8_t*), segment->data_len);
    ++segments;
  }
  if (packet == nullptr) return bytes;
  if (segments != packet->nb_segs) fail("nb_segs is wrong", "");
  if (bytes.size() != packet->pkt_len) fail("pkt_len is wrong", "");
  return bytes;
}

}  // namespace isthmus::test
