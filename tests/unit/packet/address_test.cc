// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/address.h"

#include <gtest/gtest.h>
#include <string_view>

namespace isthmus::packet {
namespace {

TEST(IpAddress, TextOfBothFamiliesComesBackAsItWas) {
  for (const std::string_view text : {"0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1",
                                      "fd00::1", "2001:db8:1:2:3:4:5:6", "fe80::1:0:0:1"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), text);
    EXPECT_EQ(address->is_v4(), text.find('.') != text.npos);
  }
}

TEST(IpAddress, RefusesAnythingElse) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, "10.0.0"sv, "10.0.0.0.1"sv, "10.0.0.256"sv, "010.0.0.1"sv, "0x0a.0.0.1"sv,
        " 10.0.0.1"sv, "10.0.0.1 "sv, "10.0.0.1\0"sv, "10.0.0.1\0x"sv, "[::1]"sv, "fe80::1%eth0"sv,
        "::ffff:10.0.0.1"sv, "1::2::3"sv, "12345::"sv, "1:2:3:4:5:6:7"sv, "localhost"sv,
        "2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"sv}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, BytesOfAnotherLengthOrInDisguiseAreRefused) {
  const uint8_t four[] = {10, 0, 0, 1};
  EXPECT_EQ(IpAddress::from_bytes(four)->to_string(), "10.0.0.1");
  uint8_t sixteen[16] = {0xfd};
  EXPECT_EQ(IpAddress::from_bytes(sixteen)->to_string(), "fd00::");
  EXPECT_FALSE(IpAddress::from_bytes(std::span(sixteen).first(15)));
  EXPECT_FALSE(IpAddress::from_bytes({}));
  const IpAddress mapped = IpAddress::v4(0x0a000001);
  EXPECT_FALSE(IpAddress::from_bytes(mapped.bytes()));
}

TEST(IpAddress, KnowsItsKinds) {
  EXPECT_TRUE(IpAddress::parse("224.0.0.1")->is_multicast());
  EXPECT_TRUE(IpAddress::parse("ff02::1")->is_multicast());
  EXPECT_FALSE(IpAddress::parse("223.255.255.255")->is_multicast());
  EXPECT_TRUE(IpAddress::parse("127.9.9.9")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("::1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("::2")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("::")->is_unspecified());
}

TEST(MacAddress, TextAndBack) {
  EXPECT_EQ(MacAddress::parse("02:00:5e:AB:cd:0f")->to_string(), "02:00:5e:ab:cd:0f");
  for (const auto* text : {"", "02:00:5e:ab:cd", "02:00:5e:ab:cd:0g", "2:0:5e:ab:cd:0f:",
                           "02-00-5e-ab-cd-0f", "02:00:5e:ab:cd:0f ", "+2:00:5e:ab:cd:0f"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
}

TEST(Prefix, ContainsExactlyItsBits) {
  const auto prefix = *Prefix::parse("10.244.4.0/22");
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("10.244.4.0")));
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("10.244.7.255")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("10.244.8.0")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("10.244.3.255")));
  EXPECT_TRUE(Prefix::parse("fd00::/9")->contains(*IpAddress::parse("fd7f:ffff::1")));
  EXPECT_FALSE(Prefix::parse("fd00::/9")->contains(*IpAddress::parse("fd80::1")));
}

TEST(Prefix, EverythingOfOneFamilyHasNothingOfTheOther) {
  const auto four = *Prefix::parse("0.0.0.0/0");
  const auto six = *Prefix::parse("::/0");
  EXPECT_TRUE(four.contains(*IpAddress::parse("8.8.8.8")));
  EXPECT_FALSE(four.contains(*IpAddress::parse("fd00::1")));
  EXPECT_TRUE(six.contains(*IpAddress::parse("fd00::1")));
  EXPECT_FALSE(six.contains(*IpAddress::parse("8.8.8.8")));
}

TEST(Prefix, AddressAloneIsAHost) {
  EXPECT_EQ(Prefix::parse("10.0.0.1")->to_string(), "10.0.0.1/32");
  EXPECT_EQ(Prefix::parse("fd00::1")->to_string(), "fd00::1/128");
}

TEST(Prefix, RefusesHostBitsAndBadLengths) {
  for (const auto* text : {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08",
                           "fd00::1/64", "fd00::/129", "/8", "10.0.0.0/8/8", "10.0.0.0/+8"}) {
    EXPECT_FALSE(Prefix::parse(text)) << text;
  }
}

TEST(Endpoint, TextAndBack) {
  EXPECT_EQ(Endpoint::parse("10.0.0.1:80")->to_string(), "10.0.0.1:80");
  EXPECT_EQ(Endpoint::parse("[fd00::1]:65535")->to_string(), "[fd00::1]:65535");
  EXPECT_EQ((Tuple{*Endpoint::parse("10.0.0.1:1"), *Endpoint::parse("10.0.0.2:2")}.to_string()),
            "10.0.0.1:1 -> 10.0.0.2:2");
}

TEST(Endpoint, RefusesAnythingElse) {
  for (const auto* text : {"", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536",
                           "10.0.0.1:080", "10.0.0.1:+80", "[10.0.0.1]:80", "fd00::1:80", "[]:80",
                           "[fd00::1]80", "[fd00::1]:80 ", "10.0.0.1:8 0"}) {
    EXPECT_FALSE(Endpoint::parse(text)) << text;
  }
}

}  // namespace
}  // namespace isthmus::packet
