// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/parse.h"

#include <array>
#include <gtest/gtest.h>
#include <random>
#include <tuple>

#include <rte_ip.h>

#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::packet {
namespace {

using stats::Reason;
using test::address;
using test::Bytes;
using test::hex;
using test::pattern;
using test::tuple;

const Tuple kV4 = tuple("10.0.0.1:40000", "10.0.0.2:80");
const Tuple kV6 = tuple("[fd00::1]:40000", "[fd00::2]:80");

struct Outcome {
  stats::Refusal reason;
  Parsed parsed;
  Bytes bytes;  // as the mbuf had them afterwards
};

Outcome run(const Bytes& packet, size_t segment = 0, uint64_t flags = 0) {
  const unsigned before = test::mbufs_in_use();
  Outcome outcome;
  rte_mbuf* mbuf = test::to_mbuf(packet, segment);
  mbuf->ol_flags |= flags;
  outcome.reason = parse(mbuf, outcome.parsed);
  outcome.bytes = test::to_bytes(mbuf);
  rte_pktmbuf_free(mbuf);
  EXPECT_EQ(test::mbufs_in_use(), before);
  return outcome;
}

stats::Refusal reason(const Bytes& packet, uint64_t flags = 0) {
  return run(packet, 0, flags).reason;
}

// An IPv4 packet with options between header and payload.
Bytes with_options(const Bytes& packet, const Bytes& options) {
  Bytes result = packet;
  result.insert(result.begin() + 20, options.begin(), options.end());
  result[0] = static_cast<uint8_t>(0x40 | (20 + options.size()) / 4);
  result[2] = static_cast<uint8_t>(result.size() >> 8);
  result[3] = static_cast<uint8_t>(result.size());
  result[10] = result[11] = 0;
  const auto sum = static_cast<uint16_t>(~rte_raw_cksum(result.data(), 20 + options.size()));
  std::memcpy(result.data() + 10, &sum, 2);
  return result;
}

// An IPv6 packet with extension headers; `first` is the type of the first of them.
Bytes with_extensions(const Bytes& packet, uint8_t first, const Bytes& extensions) {
  Bytes result = packet;
  result.insert(result.begin() + 40, extensions.begin(), extensions.end());
  result[6] = first;
  store_be<uint16_t>(result.data() + 4, static_cast<uint16_t>(result.size() - 40));
  return result;
}

TEST(Parse, TcpOfBothFamilies) {
  test::TcpFields fields;
  fields.options = hex("02 04 05 b4");
  for (const Tuple& wanted : {kV4, kV6}) {
    const Outcome got = run(test::tcp_packet(wanted, pattern(100), fields));
    ASSERT_FALSE(got.reason);
    EXPECT_EQ(got.parsed.tuple, wanted);
    EXPECT_EQ(got.parsed.protocol, kProtoTcp);
    EXPECT_EQ(got.parsed.ttl, 64);
    EXPECT_EQ(got.parsed.l3_length, wanted.source.address.is_v4() ? 20 : 40);
    EXPECT_EQ(got.parsed.l4_length, 24);
    EXPECT_EQ(got.parsed.payload_length, 100u);
    EXPECT_FALSE(got.parsed.is_fragment);
  }
}

TEST(Parse, UdpAndIcmpOfBothFamilies) {
  for (const Tuple& wanted : {kV4, kV6}) {
    const Outcome udp = run(test::udp_packet(wanted, pattern(33)));
    ASSERT_FALSE(udp.reason);
    EXPECT_EQ(udp.parsed.tuple, wanted);
    EXPECT_EQ(udp.parsed.payload_length, 33u);
    const Outcome icmp = run(
        test::icmp_packet(wanted.source.address, wanted.destination.address, 8, 0, 1, pattern(56)));
    ASSERT_FALSE(icmp.reason);
    EXPECT_EQ(icmp.parsed.tuple.source.port, 0);
    EXPECT_EQ(icmp.parsed.payload_length, 56u);
  }
}

TEST(Parse, HeadersBecomeContiguousWhateverTheSegments) {
  for (const Tuple& wanted : {kV4, kV6}) {
    const Bytes packet = test::tcp_packet(wanted, pattern(3000));
    for (const size_t segment : {1u, 19u, 20u, 21u, 41u, 59u, 1000u}) {
      const Outcome got = run(packet, segment);
      ASSERT_FALSE(got.reason) << segment;
      EXPECT_EQ(got.parsed.tuple, wanted);
      EXPECT_EQ(got.bytes, packet);
    }
  }
}

TEST(Parse, LinkPaddingIsTrimmedAcrossSegments) {
  for (const Tuple& wanted : {kV4, kV6}) {
    const Bytes packet = test::tcp_packet(wanted);
    Bytes padded = packet;
    padded.resize(padded.size() + 46, 0xee);
    for (const size_t segment : {0u, 1u, 30u, 60u}) {
      const Outcome got = run(padded, segment);
      ASSERT_FALSE(got.reason);
      EXPECT_EQ(got.bytes, packet);
    }
  }
}

TEST(Parse, EveryTruncationIsRefused) {
  for (const Tuple& wanted : {kV4, kV6}) {
    for (const Bytes& packet :
         {test::tcp_packet(wanted, pattern(9)), test::udp_packet(wanted, pattern(9)),
          test::icmp_packet(wanted.source.address, wanted.destination.address, 8, 0, 0)}) {
      for (size_t n = 0; n < packet.size(); ++n) {
        const Bytes cut(packet.begin(), packet.begin() + static_cast<long>(n));
        ASSERT_EQ(reason(cut), Reason::packet_truncated) << n;
      }
    }
  }
}

// A packet whose IP length says less than its transport header needs.
TEST(Parse, TransportHeaderMustFitTheIpLength) {
  for (const uint8_t protocol : {kProtoTcp, kProtoUdp, kProtoIcmp}) {
    const size_t header = protocol == kProtoTcp ? 20 : 8;
    for (size_t n = 0; n < header; ++n) {
      Bytes packet =
          test::ip_packet(kV4.source.address, kV4.destination.address, protocol, Bytes(n, 0x55));
      packet.resize(100);
      ASSERT_EQ(reason(packet), Reason::packet_truncated);
    }
  }
}

TEST(Parse, LyingLengthsAreRefused) {
  Bytes packet = test::tcp_packet(kV4, pattern(8));
  packet[0] = 0x44;  // IHL of 16 bytes
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
  packet = test::tcp_packet(kV4, pattern(8));
  packet[0] = 0x4f;  // options that are not there: total length is smaller
  packet.resize(48);
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
  packet = test::tcp_packet(kV4, pattern(8));
  packet[32] = 0x40;  // TCP data offset of 16 bytes
  test::fix_checksums(packet);
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
  packet[32] = 0xf0;  // of 60 bytes
  test::fix_checksums(packet);
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
  packet = test::udp_packet(kV4, pattern(8));
  packet[25] = 7;  // UDP length below its own header
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
  packet[25] = 17;  // one more than there is
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
}

TEST(Parse, UnknownVersionIsRefused) {
  Bytes packet = test::tcp_packet(kV4);
  packet[0] = 0x55;
  EXPECT_EQ(reason(packet), Reason::packet_bad_version);
  EXPECT_EQ(reason({}), Reason::packet_truncated);
}

// RFC 1122 section 3.2.1.3, RFC 4291 section 2.5, and the LAND attack.
TEST(Parse, AddressesThatCannotBeAreRefused) {
  struct Case {
    const char* source;
    const char* destination;
  };
  for (const Case& bad : {Case{"224.0.0.1", "10.0.0.2"},
                          {"255.255.255.255", "10.0.0.2"},
                          {"0.0.0.0", "10.0.0.2"},
                          {"0.1.2.3", "10.0.0.2"},
                          {"127.0.0.1", "10.0.0.2"},
                          {"10.0.0.1", "127.0.0.1"},
                          {"10.0.0.1", "0.0.0.0"},
                          {"10.0.0.1", "10.0.0.1"},
                          {"ff02::1", "fd00::2"},
                          {"::", "fd00::2"},
                          {"::1", "fd00::2"},
                          {"fd00::1", "::1"},
                          {"fd00::1", "::"},
                          {"fd00::1", "fd00::1"}}) {
    const Tuple made{{address(bad.source), 1}, {address(bad.destination), 2}};
    EXPECT_EQ(reason(test::udp_packet(made)), Reason::packet_bad_address) << made.to_string();
  }
}

TEST(Parse, V4MappedAddressInIpv6IsRefused) {
  for (const size_t at : {8u, 24u}) {
    Bytes packet = test::tcp_packet(kV6);
    std::memcpy(packet.data() + at, IpAddress::v4(0x0a000001).bytes().data(), 16);
    test::fix_checksums(packet);
    EXPECT_EQ(reason(packet), Reason::packet_bad_address);
  }
}

TEST(Parse, Rfc9293Must57TcpToMulticastOrBroadcastIsRefused) {
  for (const auto* to : {"224.0.0.5", "255.255.255.255", "ff02::1"}) {
    const IpAddress destination = address(to);
    const Tuple made{{destination.is_v4() ? kV4.source : kV6.source}, {destination, 80}};
    EXPECT_EQ(reason(test::tcp_packet(made)), Reason::packet_bad_address);
    EXPECT_FALSE(reason(test::udp_packet(made)));
  }
}

TEST(Parse, EverySingleBitErrorInAnIpv4TcpPacketIsRefused) {
  const Bytes packet = test::tcp_packet(kV4, pattern(5));
  for (size_t bit = 0; bit < packet.size() * 8; ++bit) {
    Bytes broken = packet;
    broken[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_TRUE(reason(broken)) << bit;
  }
}

TEST(Parse, WrongTransportChecksumIsRefused) {
  for (const Tuple& wanted : {kV4, kV6}) {
    for (Bytes packet : {test::tcp_packet(wanted, pattern(9)), test::udp_packet(wanted, pattern(9)),
                         test::icmp_packet(wanted.source.address, wanted.destination.address, 8, 0,
                                           0, pattern(9))}) {
      packet.back() ^= 1;
      EXPECT_EQ(reason(packet), Reason::packet_bad_checksum);
    }
  }
}

TEST(Parse, ReceiveFlagsDecideWhoVerifies) {
  Bytes wrong = test::tcp_packet(kV4, pattern(9));
  wrong.back() ^= 1;
  EXPECT_FALSE(reason(wrong, RTE_MBUF_F_RX_L4_CKSUM_GOOD));
  EXPECT_FALSE(reason(wrong, RTE_MBUF_F_RX_L4_CKSUM_NONE));
  EXPECT_EQ(reason(wrong), Reason::packet_bad_checksum);
  const Bytes right = test::tcp_packet(kV4, pattern(9));
  EXPECT_EQ(reason(right, RTE_MBUF_F_RX_L4_CKSUM_BAD), Reason::packet_bad_checksum);
  EXPECT_EQ(reason(right, RTE_MBUF_F_RX_IP_CKSUM_BAD), Reason::packet_bad_checksum);
}

TEST(Parse, Rfc768UdpWithoutChecksumIsForIpv4Only) {
  Bytes packet = test::udp_packet(kV4, pattern(9));
  packet[26] = packet[27] = 0;
  EXPECT_FALSE(reason(packet));
  packet = test::udp_packet(kV6, pattern(9));
  packet[46] = packet[47] = 0;
  EXPECT_EQ(reason(packet), Reason::packet_bad_checksum);
}

TEST(Parse, UdpLengthBelowTheIpLengthIsThePayload) {
  Bytes packet = test::udp_packet(kV4, pattern(20));
  packet[25] = 8 + 12;
  packet[26] = packet[27] = 0;
  const Outcome got = run(packet);
  ASSERT_FALSE(got.reason);
  EXPECT_EQ(got.parsed.payload_length, 12u);
}

TEST(Parse, Ipv4OptionsArePassedOver) {
  const Bytes plain = test::tcp_packet(kV4, pattern(9));
  for (const auto* options : {"94 04 00 00", "01 01 01 00", "44 08 05 00 00 00 00 00",
                              "00 ff ff ff", "94 04 00 00 07 07 04 00 00 00 00 01"}) {
    const Outcome got = run(with_options(plain, hex(options)));
    ASSERT_FALSE(got.reason) << options;
    EXPECT_EQ(got.parsed.l3_length, 20 + hex(options).size());
    EXPECT_EQ(got.parsed.tuple, kV4);
  }
}

TEST(Parse, LyingIpv4OptionsAreRefused) {
  const Bytes plain = test::tcp_packet(kV4, pattern(9));
  for (const auto* options : {"94 00 00 00", "94 01 00 00", "94 05 00 00", "01 01 01 94"}) {
    EXPECT_EQ(reason(with_options(plain, hex(options))), Reason::packet_truncated) << options;
  }
}

TEST(Parse, Rfc7126SourceRoutesAreRefused) {
  const Bytes plain = test::tcp_packet(kV4, pattern(9));
  EXPECT_EQ(reason(with_options(plain, hex("83 07 04 0a 00 00 09 00"))),
            Reason::packet_source_route);
  EXPECT_EQ(reason(with_options(plain, hex("01 89 07 04 0a 00 00 09"))),
            Reason::packet_source_route);
}

TEST(Parse, Ipv6ExtensionHeadersArePassedOver) {
  const Bytes plain = test::tcp_packet(kV6, pattern(9));
  // Hop-by-hop (router alert), then destination options, then a finished routing header.
  const Bytes packet = with_extensions(plain, kProtoHopByHop,
                                       hex("3c 00 05 02 00 00 01 00"
                                           "2b 01 01 0c 00 00 00 00 00 00 00 00 00 00 00 00"
                                           "06 00 04 00 00 00 00 00"));
  for (const size_t segment : {0u, 1u, 45u}) {
    const Outcome got = run(packet, segment);
    ASSERT_FALSE(got.reason);
    EXPECT_EQ(got.parsed.l3_length, 40 + 32);
    EXPECT_EQ(got.parsed.protocol, kProtoTcp);
    EXPECT_EQ(got.parsed.tuple, kV6);
    EXPECT_EQ(got.parsed.payload_length, 9u);
  }
}

TEST(Parse, Rfc5095RoutingHeaderWithSegmentsLeftIsRefused) {
  const Bytes packet =
      with_extensions(test::tcp_packet(kV6), kProtoRouting, hex("06 00 00 01 00 00 00 00"));
  EXPECT_EQ(reason(packet), Reason::packet_source_route);
}

TEST(Parse, Ipv6ExtensionHeadersHaveLimits) {
  Bytes nine;
  for (int i = 0; i < 9; ++i) {
    Bytes one = hex("3c 00 01 04 00 00 00 00");
    if (i == 8) one[0] = kProtoTcp;
    nine.insert(nine.end(), one.begin(), one.end());
  }
  EXPECT_EQ(reason(with_extensions(test::tcp_packet(kV6), kProtoDestinationOptions, nine)),
            Reason::packet_extension_headers);
  Bytes long_one(264, 0);
  long_one[0] = kProtoTcp;
  long_one[1] = 32;
  EXPECT_EQ(reason(with_extensions(test::tcp_packet(kV6), kProtoDestinationOptions, long_one)),
            Reason::packet_extension_headers);
  long_one[1] = 31;
  long_one.resize(256);
  EXPECT_FALSE(reason(with_extensions(test::tcp_packet(kV6), kProtoDestinationOptions, long_one)));
}

TEST(Parse, Rfc8200HopByHopStandsFirstOrNowhere) {
  const Bytes packet = with_extensions(test::tcp_packet(kV6), kProtoDestinationOptions,
                                       hex("00 00 01 04 00 00 00 00 06 00 01 04 00 00 00 00"));
  EXPECT_EQ(reason(packet), Reason::packet_extension_headers);
}

TEST(Parse, ExtensionHeaderBehindTheEndIsRefused) {
  Bytes packet = with_extensions(test::tcp_packet(kV6), kProtoDestinationOptions,
                                 hex("06 00 01 04 00 00 00 00"));
  packet[41] = 20;  // longer than the packet
  EXPECT_EQ(reason(packet), Reason::packet_truncated);
}

TEST(Parse, FragmentsHaveNoPorts) {
  for (const uint16_t field : {0x2000, 0x2001, 0x0010}) {
    Bytes packet = test::tcp_packet(kV4, pattern(16));
    store_be<uint16_t>(packet.data() + 6, field);
    test::fix_checksums(packet);
    const Outcome got = run(packet);
    ASSERT_FALSE(got.reason);
    EXPECT_TRUE(got.parsed.is_fragment);
    EXPECT_EQ(got.parsed.tuple.source.port, 0);
    EXPECT_EQ(got.parsed.l4_length, 0);
    EXPECT_EQ(got.parsed.payload_length, 36u);
  }
  const Outcome got = run(with_extensions(test::tcp_packet(kV6, pattern(16)), kProtoFragment,
                                          hex("06 00 00 01 00 00 00 07")));
  ASSERT_FALSE(got.reason);
  EXPECT_TRUE(got.parsed.is_fragment);
  EXPECT_EQ(got.parsed.protocol, kProtoTcp);
  EXPECT_EQ(got.parsed.l3_length, 48);
  EXPECT_EQ(got.parsed.tuple.destination.port, 0);
}

TEST(Parse, Rfc6946AtomicFragmentIsAWholePacket) {
  const Outcome got = run(with_extensions(test::tcp_packet(kV6, pattern(16)), kProtoFragment,
                                          hex("06 00 00 00 00 00 00 07")));
  ASSERT_FALSE(got.reason);
  EXPECT_FALSE(got.parsed.is_fragment);
  EXPECT_EQ(got.parsed.tuple, kV6);
}

TEST(Parse, FragmentThatEndsBehindTheLargestPacketIsRefused) {
  Bytes packet = test::tcp_packet(kV4, pattern(16));
  store_be<uint16_t>(packet.data() + 6, 0x1fff);
  test::fix_checksums(packet);
  EXPECT_EQ(reason(packet), Reason::packet_fragment);
  EXPECT_EQ(reason(with_extensions(test::tcp_packet(kV6, pattern(16)), kProtoFragment,
                                   hex("06 00 ff f8 00 00 00 07"))),
            Reason::packet_fragment);
}

TEST(Parse, CoalescedPacketMayBeAsLongAsIpAllows) {
  const Bytes packet = test::tcp_packet(kV4, pattern(65535 - 40));
  const Outcome got = run(packet, 16384, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE);
  ASSERT_FALSE(got.reason);
  EXPECT_EQ(got.parsed.payload_length, 65495u);
  EXPECT_EQ(got.bytes, packet);
}

TEST(Parse, EcnBitsAreRead) {
  Bytes packet = test::tcp_packet(kV4);
  packet[1] = 0xb9 | 3;
  test::fix_checksums(packet);
  EXPECT_EQ(run(packet).parsed.ecn, 3);
  packet = test::tcp_packet(kV6);
  packet[1] = 0x20;
  EXPECT_EQ(run(packet).parsed.ecn, 2);
}

// What nearly every packet is has a way of its own through the parser, which a packet whose first
// buffer ends within its headers does not take.
TEST(Parse, OrdinaryTcpIsParsedLikeEveryOther) {
  std::mt19937 random(7);
  unsigned accepted = 0;
  unsigned refused = 0;
  for (int i = 0; i < 50'000; ++i) {
    Bytes packet = test::tcp_packet(kV4, pattern(30));
    for (unsigned n = random() % 3; n > 0; --n) {
      packet[random() % 40] = static_cast<uint8_t>(random());
    }
    const uint64_t flags = std::array<uint64_t, 4>{
        0, RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD,
        RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_IP_CKSUM_NONE,
        RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_BAD}[random() % 4];
    const Outcome whole = run(packet, 0, flags);
    const Outcome parts = run(packet, 19, flags);
    ASSERT_EQ(whole.reason, parts.reason) << i;
    EXPECT_EQ(whole.bytes, parts.bytes);
    ++(whole.reason ? refused : accepted);
    if (whole.reason) continue;
    const Parsed& a = whole.parsed;
    const Parsed& b = parts.parsed;
    ASSERT_EQ(a.tuple, b.tuple);
    ASSERT_EQ(std::tie(a.protocol, a.ttl, a.ecn, a.is_fragment, a.l3_length, a.l4_length,
                       a.payload_length),
              std::tie(b.protocol, b.ttl, b.ecn, b.is_fragment, b.l3_length, b.l4_length,
                       b.payload_length));
  }
  EXPECT_GT(accepted, 10'000u);
  EXPECT_GT(refused, 10'000u);
}

// Whatever is done to a packet, the view stays inside it.
TEST(Parse, RandomDamageStaysInBounds) {
  std::mt19937 random(5);
  unsigned accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    Bytes packet = i % 2 == 0 ? test::tcp_packet(kV4, pattern(30))
                              : with_extensions(test::tcp_packet(kV6, pattern(30)), 60,
                                                hex("06 00 01 04 00 00 00 00"));
    for (unsigned n = random() % 4; n > 0; --n) {
      packet[random() % std::min<size_t>(packet.size(), 70)] = static_cast<uint8_t>(random());
    }
    if (random() % 4 == 0) packet.resize(packet.size() - random() % 8);
    const Outcome got =
        run(packet, random() % 60, RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD);
    if (got.reason) continue;
    ++accepted;
    ASSERT_LE(got.parsed.l3_length + got.parsed.l4_length + got.parsed.payload_length,
              got.bytes.size());
  }
  EXPECT_GT(accepted, 10'000u);
}

}  // namespace
}  // namespace isthmus::packet
