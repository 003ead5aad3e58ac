// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Wire layouts of the headers that the gateway reads and writes, all fields typed big-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packet/address.h"
#include "packet/endian.h"

namespace isthmus::packet {

struct Ethernet {
  enum Type : uint16_t {
    kIpv4 = 0x0800,
    kArp = 0x0806,
    kVlan = 0x8100,
    kQinq = 0x88a8,
    kIpv6 = 0x86dd,
    kTransparentBridging = 0x6558
  };
  MacAddress destination;
  MacAddress source;
  be16 type;
};
static_assert(sizeof(Ethernet) == 14);

// IEEE 802.1Q tag, standing between the source address and the real EtherType.
struct Vlan {
  be16 control;  // priority, drop eligible, 12-bit identifier
  be16 type;
};
static_assert(sizeof(Vlan) == 4);

// ARP for IPv4 over Ethernet (RFC 826).
struct Arp {
  enum Operation : uint16_t { kRequest = 1, kReply = 2 };
  be16 hardware_type;       // 1
  be16 protocol_type;       // 0x0800
  uint8_t hardware_length;  // 6
  uint8_t protocol_length;  // 4
  be16 operation;
  MacAddress sender_mac;
  be32 sender_ip;
  MacAddress target_mac;
  be32 target_ip;
};
static_assert(sizeof(Arp) == 28);

enum IpProtocol : uint8_t {
  kProtoHopByHop = 0,
  kProtoIcmp = 1,
  kProtoTcp = 6,
  kProtoUdp = 17,
  kProtoRouting = 43,
  kProtoFragment = 44,
  kProtoIcmpv6 = 58,
  kProtoNone = 59,
  kProtoDestinationOptions = 60
};

struct Ipv4 {  // RFC 791
  static constexpr uint16_t kDontFragment = 0x4000;
  static constexpr uint16_t kMoreFragments = 0x2000;
  static constexpr uint16_t kOffsetMask = 0x1fff;
  uint8_t version_ihl;
  uint8_t tos;  // DSCP and ECN
  be16 total_length;
  be16 id;
  be16 fragment;
  uint8_t ttl;
  uint8_t protocol;
  be16 checksum;
  be32 source;
  be32 destination;

  unsigned version() const { return version_ihl >> 4; }
  unsigned header_length() const { return (version_ihl & 0xfu) * 4; }
};
static_assert(sizeof(Ipv4) == 20);

struct Ipv6 {  // RFC 8200
  be32 version_class_flow;
  be16 payload_length;
  uint8_t next_header;
  uint8_t hop_limit;
  uint8_t source[16];
  uint8_t destination[16];

  unsigned version() const { return version_class_flow.get() >> 28; }
};
static_assert(sizeof(Ipv6) == 40);

struct Icmp {  // RFC 792 and RFC 4443: the part that all messages share
  uint8_t type;
  uint8_t code;
  be16 checksum;
  be32 rest;
};
static_assert(sizeof(Icmp) == 8);

struct Udp {  // RFC 768
  be16 source_port;
  be16 destination_port;
  be16 length;
  be16 checksum;
};
static_assert(sizeof(Udp) == 8);

struct Tcp {  // RFC 9293 section 3.1
  enum Flag : uint8_t {
    kFin = 0x01,
    kSyn = 0x02,
    kRst = 0x04,
    kPsh = 0x08,
    kAck = 0x10,
    kUrg = 0x20,
    kEce = 0x40,
    kCwr = 0x80
  };
  be16 source_port;
  be16 destination_port;
  be32 sequence;
  be32 acknowledgment;
  uint8_t data_offset;  // upper four bits, in 32-bit words
  uint8_t flags;
  be16 window;
  be16 checksum;
  be16 urgent_pointer;

  unsigned header_length() const { return (data_offset >> 4) * 4u; }
};
static_assert(sizeof(Tcp) == 20);

}  // namespace isthmus::packet
