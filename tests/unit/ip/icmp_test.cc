// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/icmp.h"

#include <gtest/gtest.h>

#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::ip {
namespace {

using packet::Parsed;
using packet::Tuple;
using stats::Reason;
using std::chrono::seconds;
using test::address;
using test::Bytes;
using test::pattern;
using test::tuple;
using timer::Instant;

const Tuple kV4 = tuple("10.0.0.1:40000", "10.0.0.2:80");
const Tuple kV6 = tuple("[fd00::1]:40000", "[fd00::2]:80");
constexpr Instant kNow{seconds(1000)};

// A packet that frees itself.
struct Packet {
  explicit Packet(const Bytes& bytes, size_t segment = 0) : mbuf(test::to_mbuf(bytes, segment)) {
    EXPECT_FALSE(packet::parse(mbuf, parsed));
  }
  ~Packet() { rte_pktmbuf_free(mbuf); }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;

  rte_mbuf* mbuf;
  Parsed parsed;
};

Bytes echo(const Tuple& ends, const Bytes& payload) {
  const bool v4 = ends.source.address.is_v4();
  return test::icmp_packet(ends.source.address, ends.destination.address, v4 ? 8 : 128, 0,
                           0x12340001, payload);
}

TEST(Ttl, Rfc1812IsDecrementedWithTheChecksum) {
  for (const Tuple& flow : {kV4, kV6}) {
    Packet packet(test::tcp_packet(flow, pattern(10)));
    for (int ttl = 63; ttl >= 1; --ttl) {
      ASSERT_TRUE(decrement_ttl(packet.parsed));
      ASSERT_EQ(packet.parsed.ttl, ttl);
      ASSERT_TRUE(test::checksums_right(test::to_bytes(packet.mbuf)));
    }
    EXPECT_FALSE(decrement_ttl(packet.parsed));
    EXPECT_EQ(packet.parsed.ttl, 1);
  }
}

TEST(Echo, Rfc1122ReplyCarriesTheRequestsData) {
  for (const Tuple& ends : {kV4, kV6}) {
    Packet packet(echo(ends, pattern(57)));
    ASSERT_TRUE(make_echo_reply(packet.parsed));
    const bool v4 = ends.source.address.is_v4();
    EXPECT_EQ(test::to_bytes(packet.mbuf),
              test::icmp_packet(ends.destination.address, ends.source.address, v4 ? 0 : 129, 0,
                                0x12340001, pattern(57)));
  }
}

TEST(Echo, NothingElseIsAnswered) {
  Packet reply(test::icmp_packet(kV4.source.address, kV4.destination.address, 0, 0, 1));
  EXPECT_FALSE(make_echo_reply(reply.parsed));
  Packet tcp(test::tcp_packet(kV4));
  EXPECT_FALSE(make_echo_reply(tcp.parsed));
  Packet group(test::icmp_packet(address("fd00::1"), address("ff02::1"), 128, 0, 1));
  EXPECT_FALSE(make_echo_reply(group.parsed));
}

struct KindCase {
  ErrorKind kind;
  uint8_t type4, code4, type6, code6;
};

TEST(Error, Rfc792AndRfc4443TypesAndQuotedPacket) {
  for (const KindCase& c : {KindCase{ErrorKind::time_exceeded, 11, 0, 3, 0},
                            {ErrorKind::network_unreachable, 3, 0, 1, 0},
                            {ErrorKind::host_unreachable, 3, 1, 1, 3},
                            {ErrorKind::port_unreachable, 3, 3, 1, 4},
                            {ErrorKind::protocol_unreachable, 3, 2, 4, 1},
                            {ErrorKind::admin_prohibited, 3, 13, 1, 1},
                            {ErrorKind::packet_too_big, 3, 4, 2, 0}}) {
    for (const Tuple& flow : {kV4, kV6}) {
      const bool v4 = flow.source.address.is_v4();
      ErrorSource errors(test::pools(), 1000, 100);
      const Bytes offending = test::tcp_packet(flow, pattern(3000));
      Packet packet(offending, 700);
      rte_mbuf* made = errors.make(packet.parsed, c.kind, 1400,
                                   v4 ? address("10.0.0.254") : address("fd00::fe"), kNow);
      ASSERT_NE(made, nullptr);
      const Bytes bytes = test::to_bytes(made);
      rte_pktmbuf_free(made);
      EXPECT_EQ(bytes.size(), v4 ? 576u : 1280u);
      EXPECT_TRUE(test::checksums_right(bytes));
      const size_t at = v4 ? 20 : 40;
      EXPECT_EQ(bytes[at], v4 ? c.type4 : c.type6);
      EXPECT_EQ(bytes[at + 1], v4 ? c.code4 : c.code6);
      EXPECT_EQ(packet::load_be<uint32_t>(bytes.data() + at + 4),
                c.kind == ErrorKind::packet_too_big ? 1400u : 0u);
      EXPECT_EQ(test::slice(bytes, at + 8, bytes.size()),
                test::slice(offending, 0, bytes.size() - at - 8));
      Packet answer(bytes);
      EXPECT_TRUE(is_icmp_error(answer.parsed));
      EXPECT_EQ(answer.parsed.tuple.destination.address, flow.source.address);
    }
  }
}

rte_mbuf* complain(const Bytes& about, bool v4 = true) {
  ErrorSource errors(test::pools(), 1000, 100);
  Packet packet(about);
  return errors.make(packet.parsed, ErrorKind::host_unreachable, 0,
                     v4 ? address("10.0.0.254") : address("fd00::fe"), kNow);
}

TEST(Error, Rfc1812Section4327ForbidsSomeAnswers) {
  const auto& from = kV4.source.address;
  const auto& to = kV4.destination.address;
  EXPECT_EQ(complain(test::icmp_packet(from, to, 3, 1, 0, pattern(28))), nullptr);
  EXPECT_EQ(complain(test::icmp_packet(from, to, 5, 1, 0, pattern(28))), nullptr);
  EXPECT_EQ(
      complain(test::icmp_packet(kV6.source.address, kV6.destination.address, 1, 0, 0, pattern(48)),
               false),
      nullptr);
  EXPECT_EQ(complain(test::udp_packet(tuple("10.0.0.1:1", "224.0.0.5:2"))), nullptr);
  EXPECT_EQ(complain(test::udp_packet(tuple("10.0.0.1:1", "255.255.255.255:2"))), nullptr);
  Bytes later = test::udp_packet(kV4, pattern(64));
  packet::store_be<uint16_t>(later.data() + 6, 0x0004);
  test::fix_checksums(later);
  EXPECT_EQ(complain(later), nullptr);
  // The first fragment, an echo request and other protocols are answered.
  packet::store_be<uint16_t>(later.data() + 6, 0x2000);
  test::fix_checksums(later);
  for (const Bytes& about : {later, echo(kV4, {}), test::ip_packet(from, to, 132, pattern(20))}) {
    rte_mbuf* made = complain(about);
    EXPECT_NE(made, nullptr);
    rte_pktmbuf_free(made);
  }
}

TEST(Error, Rfc1812Section4328RateIsLimited) {
  ErrorSource errors(test::pools(), 10, 3);
  Packet packet(test::udp_packet(kV4));
  const auto make = [&](Instant now) {
    rte_mbuf* made =
        errors.make(packet.parsed, ErrorKind::time_exceeded, 0, address("10.0.0.254"), now);
    rte_pktmbuf_free(made);
    return made != nullptr;
  };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(make(kNow));
  EXPECT_FALSE(make(kNow));
  EXPECT_FALSE(make(kNow + std::chrono::milliseconds(99)));
  EXPECT_TRUE(make(kNow + std::chrono::milliseconds(100)));
  EXPECT_FALSE(make(kNow + std::chrono::milliseconds(101)));
  unsigned made = 0;
  for (int i = 0; i < 1000; ++i) made += make(kNow + seconds(10) + std::chrono::milliseconds(i));
  EXPECT_NEAR(made, 13, 1);
}

Bytes error_about(const Bytes& offending, uint8_t type, uint8_t code, uint32_t rest) {
  const bool v4 = offending[0] >> 4 == 4;
  return test::icmp_packet(v4 ? address("10.9.9.9") : address("fd09::9"),
                           v4 ? kV4.source.address : kV6.source.address, type, code, rest,
                           offending);
}

TEST(ParseError, Rfc5927WhatTheErrorIsAbout) {
  for (const Tuple& flow : {kV4, kV6}) {
    const bool v4 = flow.source.address.is_v4();
    const Bytes offending = test::slice(test::tcp_packet(flow, pattern(100)), 0, v4 ? 28 : 48);
    Packet packet(error_about(offending, v4 ? 3 : 2, v4 ? 4 : 0, 1280), 33);
    ASSERT_TRUE(is_icmp_error(packet.parsed));
    EmbeddedPacket embedded;
    ASSERT_FALSE(parse_icmp_error(packet.parsed, embedded));
    EXPECT_EQ(embedded.tuple, flow);
    EXPECT_EQ(embedded.protocol, packet::kProtoTcp);
    EXPECT_EQ(embedded.sequence, 1000u);
    EXPECT_EQ(embedded.mtu, 1280u);
    EXPECT_FALSE(embedded.unreachable);
  }
}

TEST(ParseError, Rfc1122HardAndSoftErrors) {
  const Bytes offending = test::slice(test::tcp_packet(kV4), 0, 28);
  const auto read = [&](uint8_t type, uint8_t code) {
    Packet packet(error_about(offending, type, code, 0));
    EmbeddedPacket embedded;
    EXPECT_FALSE(parse_icmp_error(packet.parsed, embedded));
    return embedded;
  };
  EXPECT_TRUE(read(3, 3).hard);
  EXPECT_TRUE(read(3, 2).hard);
  EXPECT_FALSE(read(3, 1).hard);
  EXPECT_TRUE(read(3, 1).unreachable);
  EXPECT_FALSE(read(11, 0).unreachable);
}

TEST(ParseError, WhatIsTooShortOrOfAnotherFamilyIsRefused) {
  const Bytes whole = test::tcp_packet(kV4);
  EmbeddedPacket embedded;
  for (size_t n = 0; n < 28; ++n) {
    Packet packet(error_about(whole, 3, 1, 0));
    Packet cut(test::icmp_packet(address("10.9.9.9"), kV4.source.address, 3, 1, 0,
                                 test::slice(whole, 0, n)));
    EXPECT_EQ(parse_icmp_error(cut.parsed, embedded), Reason::ip_bad_icmp) << n;
  }
  Bytes options = whole;
  options[0] = 0x4f;  // a header of 60 bytes, of which 40 are there
  Packet lying(error_about(options, 3, 1, 0));
  EXPECT_EQ(parse_icmp_error(lying.parsed, embedded), Reason::ip_bad_icmp);
  Packet foreign(
      test::icmp_packet(address("10.9.9.9"), kV4.source.address, 3, 1, 0, test::tcp_packet(kV6)));
  EXPECT_EQ(parse_icmp_error(foreign.parsed, embedded), Reason::ip_bad_icmp);
}

}  // namespace
}  // namespace isthmus::ip
