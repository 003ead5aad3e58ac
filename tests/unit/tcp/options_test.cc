// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/options.h"

#include <gtest/gtest.h>

#include "support/packets.h"

namespace isthmus::tcp {
namespace {

SegmentOptions parse(const test::Bytes& bytes, bool syn, bool expect = true) {
  SegmentOptions options;
  const std::vector<uint8_t> exact(
      bytes.begin(), bytes.end());  // its own allocation: a sanitizer sees any overrun
  EXPECT_EQ(parse_options(exact, syn, options), expect);
  return options;
}

TEST(Options, Must64UnalignedOptionsAreRead) {
  const auto o =
      parse(test::hex("01 02 04 05 b4 01 03 03 07 08 0a 00 00 00 01 00 00 00 02 00"), true);
  EXPECT_TRUE(o.has_mss);
  EXPECT_EQ(o.mss, 1460);
  EXPECT_EQ(o.scale, 7);
  EXPECT_EQ(o.timestamp, 1u);
  EXPECT_EQ(o.echo, 2u);
}

TEST(Options, Must6UnknownKindsAreSkippedByTheirLength) {
  const auto o = parse(test::hex("fd 06 aa bb cc dd 02 04 02 18"), true);
  EXPECT_EQ(o.mss, 536);
}

TEST(Options, Must7IllegalLengthsAreRefused) {
  parse(test::hex("02 00"), true, false);
  parse(test::hex("02 01 05 b4"), true, false);
  parse(test::hex("02 03 05"), true, false);
  parse(test::hex("02 05 05 b4 00"), true, false);
  parse(test::hex("08 0a 00 00 00"), false, false);
  parse(test::hex("05 0b 00 00 00 00 00 00 00 00 00"), false, false);
  parse(test::hex("05 02"), false, false);
  parse(test::hex("03"), true, false);
  parse(test::hex("fd 29 00 00"), false, false);
}

TEST(Options, Must65MssAndScaleOnlyOnASyn) {
  const auto o = parse(test::hex("02 04 05 b4 03 03 07 04 02"), false);
  EXPECT_FALSE(o.has_mss);
  EXPECT_FALSE(o.has_scale);
  EXPECT_FALSE(o.sack_permitted);
}

TEST(Options, Rfc7323ScaleIsAtMost14) {
  EXPECT_EQ(parse(test::hex("03 03 ff"), true).scale, 14);
}

TEST(Options, EndOfListEndsTheList) {
  const auto o = parse(test::hex("00 02 04 05 b4"), true);
  EXPECT_FALSE(o.has_mss);
}

TEST(Options, WrittenOptionsAreReadBack) {
  for (unsigned bits = 0; bits < 32; ++bits) {
    SegmentOptions from;
    const bool syn = (bits & 16) != 0;
    from.has_mss = syn && (bits & 1) != 0;
    from.mss = from.has_mss ? 1234 : 0;
    from.has_scale = syn && (bits & 2) != 0;
    from.scale = from.has_scale ? 5 : 0;
    from.sack_permitted = syn && (bits & 4) != 0;
    from.has_timestamp = (bits & 8) != 0;
    from.timestamp = from.has_timestamp ? 0x01020304 : 0;
    from.echo = from.has_timestamp ? 0xfffefdfc : 0;
    if (!syn) {
      from.sack_count = 4;
      for (unsigned i = 0; i < 4; ++i) from.sack[i] = {100 * i, 100 * i + 50};
    }
    uint8_t bytes[kMaxOptionBytes];
    const unsigned n = write_options(from, syn, bytes);
    EXPECT_EQ(n % 4, 0u);
    EXPECT_LE(n, kMaxOptionBytes);
    const auto to = parse(test::Bytes(bytes, bytes + n), syn);
    EXPECT_EQ(to.has_mss, from.has_mss);
    EXPECT_EQ(to.mss, from.mss);
    EXPECT_EQ(to.has_scale, from.has_scale);
    EXPECT_EQ(to.scale, from.scale);
    EXPECT_EQ(to.sack_permitted, from.sack_permitted);
    EXPECT_EQ(to.has_timestamp, from.has_timestamp);
    EXPECT_EQ(to.timestamp, from.timestamp);
    EXPECT_EQ(to.echo, from.echo);
    // Three blocks fit beside a timestamp (RFC 2018 section 3).
    if (!syn) {
      EXPECT_EQ(to.sack_count, from.has_timestamp ? 3 : 4);
      for (unsigned i = 0; i < to.sack_count; ++i) EXPECT_EQ(to.sack[i], from.sack[i]);
    }
  }
}

}  // namespace
}  // namespace isthmus::tcp
