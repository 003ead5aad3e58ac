// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/vnet_header.h"

#include <gtest/gtest.h>

#include "frames.h"

namespace isthmus::drivers::vtap {
namespace {

using test::Bytes;

struct Freed {
  rte_mbuf* mbuf;
  ~Freed() { rte_pktmbuf_free(mbuf); }
};

TEST(VnetHeader, FrameWithoutOffloadsGetsAnEmptyHeader) {
  const Freed frame{test::to_mbuf(test::tcp_frame(10))};
  TxPreamble out;
  ASSERT_TRUE(encode(*frame.mbuf, out));
  EXPECT_EQ(out.headers, 0);
  EXPECT_EQ(out.vnet.flags, 0);
  EXPECT_EQ(out.vnet.gso_type, VnetHeader::kGsoNone);
}

TEST(VnetHeader, TcpChecksumNamesItsRange) {
  const Freed frame{test::to_mbuf(test::tcp_frame(40))};
  frame.mbuf->l2_len = 14;
  frame.mbuf->l3_len = 40;
  frame.mbuf->ol_flags = RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM;
  TxPreamble out;
  ASSERT_TRUE(encode(*frame.mbuf, out)) << "an IPv6 header has no checksum, nothing is copied";
  EXPECT_EQ(out.headers, 0);
  EXPECT_EQ(out.vnet.flags, VnetHeader::kNeedsChecksum);
  EXPECT_EQ(out.vnet.csum_start, 54);
  EXPECT_EQ(out.vnet.csum_offset, 16);
}

TEST(VnetHeader, Ipv4HeaderChecksumIsFilledInTheCopyOnly) {
  Bytes bytes = test::tcp_frame(10);
  const uint16_t right = test::ip_of(bytes)->hdr_checksum;
  test::ip_of(bytes)->hdr_checksum = 0x1234;
  const Freed frame{test::to_mbuf(bytes)};
  frame.mbuf->l2_len = 14;
  frame.mbuf->l3_len = 20;
  frame.mbuf->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
  TxPreamble out;
  ASSERT_TRUE(encode(*frame.mbuf, out));
  ASSERT_EQ(out.headers, 34);
  rte_ipv4_hdr sent;
  memcpy(&sent, out.bytes + 14, sizeof(sent));
  EXPECT_EQ(sent.hdr_checksum, right);
  EXPECT_EQ(test::to_bytes(frame.mbuf), bytes) << "the mbuf may share its data";
}

TEST(VnetHeader, TsoPseudoHeaderSumGetsTheLengthThatLinuxWants) {
  Bytes bytes = test::tcp_frame(30000);
  auto* ip = test::ip_of(bytes);
  test::tcp_of(bytes)->cksum = rte_ipv4_phdr_cksum(ip, RTE_MBUF_F_TX_TCP_SEG);
  const uint16_t with_length = rte_ipv4_phdr_cksum(ip, 0);
  const Freed frame{test::to_mbuf(bytes)};
  test::ask_tso(frame.mbuf, 1448);
  TxPreamble out;
  ASSERT_TRUE(encode(*frame.mbuf, out));
  ASSERT_EQ(out.headers, 54);
  rte_tcp_hdr sent;
  memcpy(&sent, out.bytes + 34, sizeof(sent));
  EXPECT_EQ(sent.cksum, with_length);
  EXPECT_EQ(out.vnet.gso_type, VnetHeader::kGsoTcp4);
  EXPECT_EQ(out.vnet.gso_size, 1448);
  EXPECT_EQ(out.vnet.hdr_len, 54);
  EXPECT_EQ(out.vnet.csum_start, 34);
}

TEST(VnetHeader, HeadersThatSpanSegmentsAreGathered) {
  const Bytes bytes = test::tcp_frame(3000);
  const Freed frame{test::to_mbuf(bytes, 10, test::pools().small)};
  test::ask_tso(frame.mbuf, 1448);
  TxPreamble out;
  ASSERT_TRUE(encode(*frame.mbuf, out));
  ASSERT_EQ(out.headers, 54);
  EXPECT_EQ(memcmp(out.bytes, bytes.data(), 24), 0);
}

TEST(VnetHeader, ContradictionsAreRefused) {
  const Freed frame{test::to_mbuf(test::tcp_frame(100))};
  TxPreamble out;
  test::ask_tso(frame.mbuf, 0);
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "TSO without a segment size";
  test::ask_tso(frame.mbuf, 1448);
  frame.mbuf->l4_len = 19;
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "no TCP header is that short";
  test::ask_tso(frame.mbuf, 1448);
  frame.mbuf->l3_len = 300;
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "headers beyond the frame";
  test::ask_tso(frame.mbuf, 1448);
  frame.mbuf->l3_len = 19;
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "no IPv4 header is that short";
  frame.mbuf->l3_len = 20;
  frame.mbuf->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_SCTP_CKSUM;
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "not announced";
  frame.mbuf->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
  frame.mbuf->l3_len = 100;
  frame.mbuf->l2_len = 50;
  EXPECT_FALSE(encode(*frame.mbuf, out)) << "checksum field beyond the frame";
}

uint64_t flags_of(const VnetHeader& vnet, bool usable = true) {
  const Freed frame{test::to_mbuf(test::tcp_frame(10))};
  EXPECT_EQ(decode(vnet, *frame.mbuf), usable);
  return frame.mbuf->ol_flags;
}

TEST(VnetHeader, ReceivedChecksumStatesAreTold) {
  EXPECT_EQ(flags_of({}), RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
  EXPECT_EQ(flags_of({.flags = VnetHeader::kNeedsChecksum}), RTE_MBUF_F_RX_L4_CKSUM_NONE);
  EXPECT_EQ(flags_of({.flags = VnetHeader::kDataValid}), RTE_MBUF_F_RX_L4_CKSUM_GOOD);
}

TEST(VnetHeader, CoalescedPacketsAreMarked) {
  const Freed frame{test::to_mbuf(test::tcp_frame(10))};
  ASSERT_TRUE(decode({.flags = VnetHeader::kNeedsChecksum,
                      .gso_type = VnetHeader::kGsoTcp6 | VnetHeader::kGsoEcn,
                      .gso_size = 1440},
                     *frame.mbuf));
  EXPECT_EQ(frame.mbuf->ol_flags, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE);
  EXPECT_EQ(frame.mbuf->tso_segsz, 1440);
  flags_of({.gso_type = 3, .gso_size = 1440}, false);  // UDP fragmentation: never asked for
  flags_of({.gso_type = VnetHeader::kGsoTcp4}, false);
}

}  // namespace
}  // namespace isthmus::drivers::vtap
