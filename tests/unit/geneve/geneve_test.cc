// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "geneve/geneve.h"

#include <cstring>
#include <gtest/gtest.h>

#include <rte_ip.h>

#include "geneve/endpoints.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::geneve {
namespace {

using packet::Ethernet;
using packet::MacAddress;
using packet::Parsed;
using stats::Reason;
using test::address;
using test::Bytes;
using test::hex;

// A SYN of 10.244.1.5 to a service address in the form that Linux gives it on a Geneve device:
// outer checksum zero, no options, VNI 1001.
const Bytes kSyn =
    hex("4500 006e 0000 0000 4011 628e 0af40101 0af40109"  // IPv4 10.244.1.1 > 10.244.1.9
        "c35d 17c1 005a 0000"                              // UDP 50013 > 6081
        "00 00 6558 0003e9 00"                             // Geneve
        "0e2ae1d80c3a 7a5b1c9d4e6f 0800"                   // inner Ethernet
        "4500 003c 1c46 4000 3f06 0914 0af40105 0a60000a"  // IPv4 10.244.1.5 > 10.96.0.10
        "9c40 0050 5f3a9b21 00000000 a002 faf0 c92a 0000"  // TCP SYN
        "0204 05b4 0402 080a 3c1e9a77 00000000 0103 0307");

Bytes with(Bytes bytes, size_t at, uint8_t value) {
  bytes.at(at) = value;
  return bytes;
}

// The tunnel packet with options between the Geneve and the inner Ethernet header.
Bytes with_options(const Bytes& options) {
  Bytes bytes = kSyn;
  bytes.insert(bytes.begin() + 36, options.begin(), options.end());
  bytes[28] = static_cast<uint8_t>(options.size() / 4);
  packet::store_be<uint16_t>(bytes.data() + 2, static_cast<uint16_t>(bytes.size()));
  packet::store_be<uint16_t>(bytes.data() + 24, static_cast<uint16_t>(bytes.size() - 20));
  test::fix_checksums(bytes);
  return bytes;
}

struct Outcome {
  stats::Refusal reason;
  Tunnelled tunnelled;
  Bytes inner;  // after strip()
  uint64_t flags = 0;
};

Outcome run(Bytes bytes, size_t segment = 0, uint64_t flags = 0) {
  const unsigned before = test::mbufs_in_use();
  if (bytes.size() >= 20) {
    std::memset(bytes.data() + 10, 0, 2);
    const auto sum = static_cast<uint16_t>(~rte_raw_cksum(bytes.data(), 20));
    std::memcpy(bytes.data() + 10, &sum, 2);
  }
  Outcome outcome;
  rte_mbuf* mbuf = test::to_mbuf(bytes, segment);
  mbuf->ol_flags |= flags;
  Parsed parsed;
  EXPECT_FALSE(packet::parse(mbuf, parsed));
  EXPECT_TRUE(is_geneve(parsed));
  outcome.reason = parse(parsed, outcome.tunnelled);
  if (!outcome.reason) {
    strip(mbuf, outcome.tunnelled);
    outcome.inner = test::to_bytes(mbuf);
    outcome.flags = mbuf->ol_flags;
  }
  rte_pktmbuf_free(mbuf);
  EXPECT_EQ(test::mbufs_in_use(), before);
  return outcome;
}

TEST(Geneve, Rfc8926LinuxFrameIsDecapsulated) {
  for (const size_t segment : {0u, 1u, 20u, 30u, 49u, 60u}) {
    const Outcome got = run(kSyn, segment);
    ASSERT_FALSE(got.reason);
    EXPECT_EQ(got.tunnelled.vni, 1001u);
    EXPECT_EQ(got.tunnelled.outer.source.address, address("10.244.1.1"));
    EXPECT_EQ(got.tunnelled.outer.destination.address, address("10.244.1.9"));
    EXPECT_EQ(got.tunnelled.outer_length, 36);
    EXPECT_EQ(got.tunnelled.inner.type, Ethernet::kIpv4);
    EXPECT_EQ(got.tunnelled.inner.source.to_string(), "7a:5b:1c:9d:4e:6f");
    EXPECT_EQ(got.inner, test::slice(kSyn, 50, kSyn.size()));
  }
}

TEST(Geneve, InnerPacketIsOneThatTheParserTakes) {
  rte_mbuf* mbuf = test::to_mbuf(run(kSyn).inner);
  Parsed parsed;
  ASSERT_FALSE(packet::parse(mbuf, parsed));
  EXPECT_EQ(parsed.tuple, test::tuple("10.244.1.5:40000", "10.96.0.10:80"));
  EXPECT_EQ(parsed.tcp()->flags, packet::Tcp::kSyn);
  EXPECT_EQ(parsed.ttl, 63);
  rte_pktmbuf_free(mbuf);
}

TEST(Geneve, Rfc8926Section34HeaderIsChecked) {
  EXPECT_EQ(run(with(kSyn, 28, 0x40)).reason, Reason::geneve_bad_version);
  EXPECT_EQ(run(with(kSyn, 29, 0x80)).reason, Reason::geneve_control);
  EXPECT_EQ(run(with(kSyn, 29, 0x40)).reason, Reason::geneve_critical_option);
  EXPECT_EQ(run(with(kSyn, 30, 0x08)).reason, Reason::geneve_bad_protocol);
  EXPECT_FALSE(run(with(kSyn, 29, 0x3f)).reason) << "reserved bits are ignored on receipt";
  EXPECT_FALSE(run(with(kSyn, 35, 0xff)).reason) << "reserved bits are ignored on receipt";
}

TEST(Geneve, Rfc8926Section35OptionsArePassedOver) {
  for (const auto* options : {"0102 01 01 aabbccdd", "0102 01 00", "ffff 7f 02 00000000 11111111",
                              "0102 01 00 0102 02 01 00000000"}) {
    const Outcome got = run(with_options(hex(options)));
    ASSERT_FALSE(got.reason) << options;
    EXPECT_EQ(got.inner, test::slice(kSyn, 50, kSyn.size()));
  }
}

TEST(Geneve, Rfc8926Section351CriticalOptionDropsThePacket) {
  EXPECT_EQ(run(with_options(hex("0102 81 00"))).reason, Reason::geneve_critical_option);
  EXPECT_EQ(run(with_options(hex("0102 01 00 0102 80 01 00000000"))).reason,
            Reason::geneve_critical_option);
}

TEST(Geneve, LyingOptionLengthsAreRefused) {
  EXPECT_EQ(run(with_options(hex("0102 01 01"))).reason, Reason::geneve_truncated);
  EXPECT_EQ(run(with_options(hex("0102 01 1f 00000000"))).reason, Reason::geneve_truncated);
  EXPECT_EQ(run(with(kSyn, 28, 0x3f)).reason, Reason::geneve_truncated);
}

TEST(Geneve, EveryTruncationIsRefused) {
  for (size_t n = 28; n < 50; ++n) {
    Bytes cut = test::slice(kSyn, 0, n);
    packet::store_be<uint16_t>(cut.data() + 2, static_cast<uint16_t>(n));
    packet::store_be<uint16_t>(cut.data() + 24, static_cast<uint16_t>(n - 20));
    EXPECT_EQ(run(cut).reason, n < 36 ? Reason::geneve_truncated : Reason::packet_truncated) << n;
  }
}

TEST(Geneve, WhatUdpDoesNotCoverIsNotTheTunnels) {
  Bytes longer = kSyn;
  longer.resize(longer.size() + 20, 0xee);
  packet::store_be<uint16_t>(longer.data() + 2, static_cast<uint16_t>(longer.size()));
  EXPECT_EQ(run(longer).inner, test::slice(kSyn, 50, kSyn.size()));
}

TEST(Geneve, OuterChecksumSaysNothingAboutTheInnerPacket) {
  EXPECT_EQ(run(kSyn, 0, RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD).flags, 0u);
  EXPECT_EQ(run(kSyn, 0, RTE_MBUF_F_RX_L4_CKSUM_NONE).flags, RTE_MBUF_F_RX_L4_CKSUM_NONE);
}

class Endpoints : public testing::Test {
 protected:
  static EndpointConfig config() {
    EndpointConfig made;
    made.gateway = address("10.244.1.9");
    made.hosts = {address("10.244.1.1"), address("10.0.0.1")};
    return made;
  }
  static Tunnelled tunnelled(const char* source, const char* destination, uint32_t vni) {
    Tunnelled made;
    made.outer = {{address(source), 50000}, {address(destination), kPort}};
    made.vni = vni;
    return made;
  }
  stats::Refusal accept(const Tunnelled& from) { return endpoints_.accept(from, direction_); }

  TunnelEndpoints endpoints_{config()};
  Direction direction_ = Direction::inbound;
};

TEST_F(Endpoints, IstioTwoTunnelsFromConfiguredHostsOnly) {
  EXPECT_FALSE(accept(tunnelled("10.244.1.1", "10.244.1.9", 1001)));
  EXPECT_EQ(direction_, Direction::outbound);
  EXPECT_FALSE(accept(tunnelled("10.0.0.1", "10.244.1.9", 1000)));
  EXPECT_EQ(direction_, Direction::inbound);
  EXPECT_EQ(accept(tunnelled("10.244.1.2", "10.244.1.9", 1000)), Reason::geneve_unknown_source);
  EXPECT_EQ(accept(tunnelled("10.244.1.1", "10.244.1.8", 1000)), Reason::geneve_wrong_destination);
  EXPECT_EQ(accept(tunnelled("10.244.1.1", "10.244.1.9", 1002)), Reason::geneve_unknown_vni);
  EXPECT_EQ(accept(tunnelled("10.244.1.1", "10.244.1.9", 0)), Reason::geneve_unknown_vni);
}

TEST_F(Endpoints, MacIsStableLocalAndUnicast) {
  const MacAddress in = endpoints_.tunnel(Direction::inbound).mac;
  const MacAddress out = endpoints_.tunnel(Direction::outbound).mac;
  EXPECT_NE(in, out);
  EXPECT_EQ(in, TunnelEndpoints(config()).tunnel(Direction::inbound).mac);
  for (const MacAddress& mac : {in, out}) EXPECT_EQ(mac.bytes[0] & 3, 2);
  EndpointConfig fixed = config();
  fixed.inbound.mac = *MacAddress::parse("02:00:00:00:03:e8");
  EXPECT_EQ(TunnelEndpoints(fixed).tunnel(Direction::inbound).mac, fixed.inbound.mac);
}

// The host asks who has 192.168.127.2 tell 192.168.127.1, and can use the answer.
TEST_F(Endpoints, IstioArpInsideTheTunnelIsAnsweredThroughIt) {
  const unsigned before = test::mbufs_in_use();
  rte_mbuf* request =
      test::to_mbuf(hex("0001 0800 06 04 0001 7a5b1c9d4e6f c0a87f01 000000000000 c0a87f02"));
  rte_mbuf* reply = nullptr;
  ASSERT_FALSE(endpoints_.answer_arp(request, tunnelled("10.244.1.1", "10.244.1.9", 1001),
                                     Direction::outbound, test::pools().small, reply));
  rte_pktmbuf_free(request);
  const Bytes bytes = test::to_bytes(reply);
  Parsed parsed;
  ASSERT_FALSE(packet::parse(reply, parsed)) << "the outer header's checksum must be right";
  EXPECT_EQ(parsed.tuple.source.address, address("10.244.1.9"));
  EXPECT_EQ(parsed.tuple.destination.address, address("10.244.1.1"));
  Tunnelled inner;
  ASSERT_FALSE(parse(parsed, inner));
  EXPECT_EQ(inner.vni, 1001u);
  const MacAddress mac = endpoints_.tunnel(Direction::outbound).mac;
  EXPECT_EQ(inner.inner.source, mac);
  EXPECT_EQ(inner.inner.destination.to_string(), "7a:5b:1c:9d:4e:6f");
  EXPECT_EQ(inner.inner.type, Ethernet::kArp);
  // Up to the outer checksum's two bytes every byte is known.
  Bytes expected =
      hex("4500 004e 0000 0000 4011 0000 0af40109 0af40101 c350 17c1 003a 0000"
          "00 00 6558 0003e9 00 7a5b1c9d4e6f 000000000000 0806"
          "0001 0800 06 04 0002 000000000000 c0a87f02 7a5b1c9d4e6f c0a87f01");
  std::copy(mac.bytes.begin(), mac.bytes.end(), expected.begin() + 42);
  std::copy(mac.bytes.begin(), mac.bytes.end(), expected.begin() + 58);
  std::copy(bytes.begin() + 10, bytes.begin() + 12, expected.begin() + 10);
  EXPECT_EQ(bytes, expected);
  rte_pktmbuf_free(reply);
  EXPECT_EQ(test::mbufs_in_use(), before);
}

TEST_F(Endpoints, OtherArpInsideTheTunnelIsIgnored) {
  const char* messages[] = {
      "0001 0800 06 04 0001 7a5b1c9d4e6f c0a87f01 000000000000 c0a87e02",  // the other tunnel's
      "0001 0800 06 04 0001 7a5b1c9d4e6f c0a87f01 000000000000 c0a87f03",
      "0001 0800 06 04 0002 7a5b1c9d4e6f c0a87f01 000000000000 c0a87f02"};  // a reply
  for (const auto* message : messages) {
    rte_mbuf* mbuf = test::to_mbuf(hex(message));
    rte_mbuf* reply = nullptr;
    EXPECT_EQ(endpoints_.answer_arp(mbuf, tunnelled("10.244.1.1", "10.244.1.9", 1001),
                                    Direction::outbound, test::pools().small, reply),
              Reason::geneve_arp_ignored);
    EXPECT_EQ(reply, nullptr);
    rte_pktmbuf_free(mbuf);
  }
}

TEST(Encapsulate, Ipv6OuterHeader) {
  rte_mbuf* packet = encapsulate(test::to_mbuf(test::pattern(40)),
                                 {.source = address("fd00::9"),
                                  .destination = address("fd00::1"),
                                  .vni = 0xabcdef,
                                  .inner_type = Ethernet::kIpv6},
                                 test::pools().small);
  ASSERT_NE(packet, nullptr);
  const Bytes bytes = test::to_bytes(packet);
  EXPECT_EQ(bytes.size(), 40u + 8 + 8 + 14 + 40);
  EXPECT_EQ(test::slice(bytes, 48, 56), hex("00 00 6558 abcdef 00"));
  EXPECT_EQ(packet->l3_len, 40);
  rte_pktmbuf_free(packet);
}

}  // namespace
}  // namespace isthmus::geneve
