// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/checksum.h"

#include <gtest/gtest.h>
#include <random>

#include "packet/headers.h"
#include "support/packets.h"

namespace isthmus::packet {
namespace {

using test::Bytes;

// RFC 1071 section 3's example.
TEST(Checksum, Rfc1071Example) {
  const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(Sum().add(bytes, sizeof bytes).partial(), be16(0xddf2));
}

TEST(Checksum, PseudoHeaderAgreesWithDpdk) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    const Tuple tuple = test::random_tuple(random, i % 2 == 0);
    const Bytes packet = test::tcp_packet(tuple, test::pattern(random() % 1400));
    const bool v4 = packet[0] >> 4 == 4;
    const auto length = static_cast<uint32_t>(packet.size() - (v4 ? 20 : 40));
    const uint16_t expected =
        v4 ? rte_ipv4_phdr_cksum(reinterpret_cast<const rte_ipv4_hdr*>(packet.data()), 0)
           : rte_ipv6_phdr_cksum(reinterpret_cast<const rte_ipv6_hdr*>(packet.data()), 0);
    ASSERT_EQ(pseudo_header_sum(tuple.source.address, tuple.destination.address, kProtoTcp, length)
                  .folded(),
              expected);
  }
}

TEST(Checksum, SegmentedPacketSumsAsTheWholeOne) {
  const Bytes bytes = test::pattern(3001);
  for (const size_t segment : {1u, 3u, 64u, 1001u}) {
    rte_mbuf* packet = test::to_mbuf(bytes, segment);
    EXPECT_EQ(packet_sum(packet, 13, 2900).folded(), Sum().add(bytes.data() + 13, 2900).folded());
    rte_pktmbuf_free(packet);
  }
}

// RFC 1624: the updated checksum is the one that a whole new sum gives, also in the corner (0x0000
// against 0xffff) that RFC 1141 has wrong.
TEST(Checksum, Rfc1624UpdateAgreesWithAWholeSum) {
  std::mt19937 random(3);
  for (int i = 0; i < 5000; ++i) {
    const Tuple before = test::random_tuple(random, i % 2 == 0);
    const Tuple after = test::random_tuple(random, i % 2 == 0);
    const Bytes payload = test::pattern(random() % 64, static_cast<uint8_t>(random()));
    Bytes packet = test::tcp_packet(before, payload);
    const Bytes expected = test::tcp_packet(after, payload);
    const size_t l3 = packet[0] >> 4 == 4 ? 20 : 40;
    auto* tcp = reinterpret_cast<Tcp*>(packet.data() + l3);
    ChecksumDelta delta;
    delta.replace(before.source.address, after.source.address);
    delta.replace(before.destination.address, after.destination.address);
    delta.replace(be16(before.source.port), be16(after.source.port));
    delta.replace(be16(before.destination.port), be16(after.destination.port));
    delta.apply(tcp->checksum);
    const be16 wanted = reinterpret_cast<const Tcp*>(expected.data() + l3)->checksum;
    // 0x0000 and 0xffff are one number in one's complement; both verify.
    const auto normal = [](be16 sum) { return sum.get() == 0xffff ? be16(0) : sum; };
    ASSERT_EQ(normal(tcp->checksum), normal(wanted));
  }
}

TEST(Checksum, Rfc1624Section4Example) {
  // HC = 0xDD2F, m = 0x5555, m' = 0x3285: the right answer is 0x0000.
  ChecksumDelta delta;
  delta.replace(be16(0x5555), be16(0x3285));
  be16 checksum(0xdd2f);
  delta.apply(checksum);
  EXPECT_EQ(checksum, be16(0x0000));
}

TEST(Checksum, Rfc768UdpZeroMeansNoneAndIsNeverMade) {
  ChecksumDelta delta;
  delta.replace(be16(0x5555), be16(0x3285));
  be16 none(0);
  delta.apply_udp(none);
  EXPECT_EQ(none, be16(0));
  be16 becomes_zero(0xdd2f);
  delta.apply_udp(becomes_zero);
  EXPECT_EQ(becomes_zero, be16(0xffff));
}

TEST(Checksum, PartialUpdateAgreesWithANewPseudoHeader) {
  std::mt19937 random(4);
  for (int i = 0; i < 1000; ++i) {
    const Tuple before = test::random_tuple(random, i % 2 == 0);
    const Tuple after = test::random_tuple(random, i % 2 == 0);
    const auto sum = [](const Tuple& t) {
      return pseudo_header_sum(t.source.address, t.destination.address, kProtoTcp, 1234);
    };
    be16 field = sum(before).partial();
    ChecksumDelta delta;
    delta.replace(before.source.address, after.source.address);
    delta.replace(before.destination.address, after.destination.address);
    delta.apply_partial(field);
    ASSERT_EQ(field, sum(after).partial());
  }
}

}  // namespace
}  // namespace isthmus::packet
