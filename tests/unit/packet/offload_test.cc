// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/offload.h"

#include <gtest/gtest.h>
#include <vector>

#include "packet/checksum.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::packet {
namespace {

using test::Bytes;
using test::mbufs_in_use;
using test::pattern;
using test::pools;
using test::to_bytes;
using test::to_mbuf;
using test::tuple;

const Tuple kV4 = tuple("10.0.0.1:40000", "10.0.0.2:80");
const Tuple kV6 = tuple("[fd00::1]:40000", "[fd00::2]:80");

// A received packet as a driver hands it over.
rte_mbuf* received(const Bytes& bytes, uint64_t flags, uint16_t segment_size = 0) {
  rte_mbuf* packet = to_mbuf(bytes, 1500);
  packet->ol_flags |= flags;
  packet->tso_segsz = segment_size;
  return packet;
}

// Puts the pseudo header's sum where the checksum stands, as CHECKSUM_PARTIAL has it.
Bytes partial(Bytes packet, const Tuple& tuple, uint8_t protocol) {
  const size_t l3 = packet[0] >> 4 == 4 ? 20 : 40;
  const be16 sum = pseudo_header_sum(tuple.source.address, tuple.destination.address, protocol,
                                     static_cast<uint32_t>(packet.size() - l3))
                       .partial();
  std::memcpy(packet.data() + l3 + (protocol == kProtoTcp ? 16 : 6), &sum, 2);
  return packet;
}

TEST(PrepareForward, PartialChecksumIsCompletedOnTheWayOut) {
  for (const Tuple& flow : {kV4, kV6}) {
    for (const uint8_t protocol : {kProtoTcp, kProtoUdp}) {
      const Bytes whole = protocol == kProtoTcp ? test::tcp_packet(flow, pattern(2001))
                                                : test::udp_packet(flow, pattern(2001));
      rte_mbuf* packet = received(partial(whole, flow, protocol), RTE_MBUF_F_RX_L4_CKSUM_NONE);
      Parsed parsed;
      ASSERT_FALSE(parse(packet, parsed));
      prepare_forward(parsed);
      EXPECT_NE(packet->ol_flags & RTE_MBUF_F_TX_L4_MASK, 0u);
      complete_checksums(packet);
      EXPECT_EQ(packet->ol_flags, 0u);
      EXPECT_EQ(to_bytes(packet), whole);
      rte_pktmbuf_free(packet);
    }
  }
}

TEST(PrepareForward, CompletePacketLeavesAsItIs) {
  rte_mbuf* packet = received(test::tcp_packet(kV4, pattern(100)), RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  Parsed parsed;
  ASSERT_FALSE(parse(packet, parsed));
  prepare_forward(parsed);
  EXPECT_EQ(packet->ol_flags, 0u);
  rte_pktmbuf_free(packet);
}

// A coalesced packet leaves as the segments that it was made of, whoever does the cutting.
TEST(PrepareForward, CoalescedPacketIsSegmentedAgain) {
  for (const Tuple& flow : {kV4, kV6}) {
    const unsigned before = mbufs_in_use();
    rte_mbuf* packet = received(partial(test::tcp_packet(flow, pattern(5000)), flow, kProtoTcp),
                                RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE, 1448);
    Parsed parsed;
    ASSERT_FALSE(parse(packet, parsed));
    prepare_forward(parsed);
    EXPECT_NE(packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
    EXPECT_EQ(packet->tso_segsz, 1448);
    Segmenter segmenter(packet, pools());
    Bytes payload;
    while (rte_mbuf* segment = segmenter.next()) {
      complete_checksums(segment);
      const Bytes bytes = to_bytes(segment);
      EXPECT_TRUE(test::checksums_right(bytes));
      const size_t header = bytes[0] >> 4 == 4 ? 40 : 60;
      payload.insert(payload.end(), bytes.begin() + static_cast<long>(header), bytes.end());
      rte_pktmbuf_free(segment);
    }
    EXPECT_TRUE(segmenter.done());
    EXPECT_EQ(payload, pattern(5000));
    EXPECT_EQ(mbufs_in_use(), before);
  }
}

// A packet as an engine sends it.
rte_mbuf* sent(const Tuple& flow, const Bytes& payload, uint8_t flags, uint16_t segment_size,
               size_t mbuf_size) {
  test::TcpFields fields;
  fields.flags = flags;
  fields.sequence = 0xffffff00;
  fields.options = test::hex("01 01 08 0a 00 00 00 01 00 00 00 02");
  rte_mbuf* packet = to_mbuf(test::tcp_packet(flow, payload, fields), mbuf_size);
  const bool v4 = flow.source.address.is_v4();
  packet->ol_flags |= (v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6) |
                      RTE_MBUF_F_TX_TCP_SEG;
  packet->l2_len = 0;
  packet->l3_len = v4 ? 20 : 40;
  packet->l4_len = 32;
  packet->tso_segsz = segment_size;
  return packet;
}

TEST(Segmenter, SegmentsAreWhatANicWouldSend) {
  constexpr uint8_t kFlags = Tcp::kAck | Tcp::kPsh | Tcp::kFin | Tcp::kCwr;
  for (const Tuple& flow : {kV4, kV6}) {
    for (const size_t mbuf_size : {200u, 1000u, 16384u}) {
      Segmenter segmenter(sent(flow, pattern(10'000), kFlags, 1436, mbuf_size), pools());
      uint32_t at = 0;
      for (unsigned count = 0; rte_mbuf* segment = segmenter.next(); ++count) {
        complete_checksums(segment);
        EXPECT_TRUE(test::checksums_right(to_bytes(segment)));
        Parsed parsed;
        ASSERT_FALSE(parse(segment, parsed));
        EXPECT_EQ(parsed.tuple, flow);
        EXPECT_EQ(parsed.l4_length, 32);
        EXPECT_EQ(parsed.tcp()->sequence.get(), 0xffffff00u + at);
        const bool last = at + parsed.payload_length == 10'000;
        EXPECT_EQ(parsed.payload_length, last ? 10'000u - at : 1436u);
        EXPECT_EQ(parsed.tcp()->flags & Tcp::kFin, last ? Tcp::kFin : 0);
        EXPECT_EQ(parsed.tcp()->flags & Tcp::kPsh, last ? Tcp::kPsh : 0);
        EXPECT_EQ(parsed.tcp()->flags & Tcp::kCwr, count == 0 ? Tcp::kCwr : 0);
        EXPECT_EQ(parsed.tcp()->flags & Tcp::kAck, Tcp::kAck);
        if (parsed.is_v4()) {
          EXPECT_EQ(parsed.l3<Ipv4>()->id.get(), 0x1234 + count);
        }
        const Bytes bytes = to_bytes(segment);
        EXPECT_EQ(test::slice(bytes, bytes.size() - parsed.payload_length, bytes.size()),
                  test::slice(pattern(10'000), at, at + parsed.payload_length));
        at += parsed.payload_length;
        rte_pktmbuf_free(segment);
      }
      EXPECT_EQ(at, 10'000u);
    }
  }
}

TEST(Segmenter, PayloadIsSharedAndNotCopied) {
  Segmenter segmenter(sent(kV4, pattern(3000), Tcp::kAck, 1448, 16384), pools());
  rte_mbuf* segment = segmenter.next();
  EXPECT_EQ(segment->nb_segs, 2);
  EXPECT_FALSE(RTE_MBUF_DIRECT(segment->next));
  rte_pktmbuf_free(segment);
}

TEST(Segmenter, PacketOfOneSegmentPassesThrough) {
  Segmenter segmenter(sent(kV4, {}, Tcp::kAck | Tcp::kFin, 1448, 0), pools());
  rte_mbuf* segment = segmenter.next();
  ASSERT_NE(segment, nullptr);
  complete_checksums(segment);
  EXPECT_TRUE(test::checksums_right(to_bytes(segment)));
  EXPECT_EQ(segmenter.next(), nullptr);
  EXPECT_TRUE(segmenter.done());
  rte_pktmbuf_free(segment);
}

// Without references the payload is copied; without buffers the rest is given up, not leaked.
TEST(Segmenter, EmptyPoolsAreSurvived) {
  const unsigned before = mbufs_in_use();
  {
    rte_mempool* none = rte_pktmbuf_pool_create("no_clones", 1, 0, 0, 0, SOCKET_ID_ANY);
    rte_mbuf* taken = rte_pktmbuf_alloc(none);
    rte_mempool* two =
        rte_pktmbuf_pool_create("two_small", 2, 0, 0, kHeadroom + kSmallRoom, SOCKET_ID_ANY);
    const Pools scarce{two, nullptr, none};
    Segmenter segmenter(sent(kV4, pattern(4000), Tcp::kAck, 1448, 16384), scarce);
    rte_mbuf* first = segmenter.next();
    rte_mbuf* second = segmenter.next();
    ASSERT_NE(second, nullptr);
    complete_checksums(second);
    EXPECT_TRUE(test::checksums_right(to_bytes(second)));
    EXPECT_EQ(segmenter.next(), nullptr);
    EXPECT_FALSE(segmenter.done());
    rte_pktmbuf_free(first);
    rte_pktmbuf_free(second);
    rte_pktmbuf_free(taken);
    rte_mempool_free(none);
    rte_mempool_free(two);
  }
  EXPECT_EQ(mbufs_in_use(), before);
}

}  // namespace
}  // namespace isthmus::packet
