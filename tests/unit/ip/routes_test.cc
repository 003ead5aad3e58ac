// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/routes.h"

#include <gtest/gtest.h>
#include <random>

#include "support/packets.h"

namespace isthmus::ip {
namespace {

using packet::IpAddress;
using packet::Prefix;

Route route(const char* prefix, uint16_t port, const char* next_hop = nullptr) {
  Route made;
  made.prefix = *Prefix::parse(prefix);
  made.port = port;
  if (next_hop != nullptr) made.next_hop = test::address(next_hop);
  return made;
}

TEST(Routes, LongestPrefixWins) {
  const Route routes[] = {route("0.0.0.0/0", 0, "10.0.0.254"), route("10.244.0.0/16", 1),
                          route("10.244.1.5", 2), route("::/0", 3, "fd00::fe"),
                          route("fd00:1::/64", 4)};
  const auto table = RouteTable::build(routes);
  ASSERT_TRUE(table);
  const auto port = [&](const char* to) { return table->lookup(test::address(to))->port; };
  EXPECT_EQ(port("8.8.8.8"), 0);
  EXPECT_EQ(port("10.244.9.9"), 1);
  EXPECT_EQ(port("10.244.1.5"), 2);
  EXPECT_EQ(port("10.244.1.6"), 1);
  EXPECT_EQ(port("2001:db8::1"), 3);
  EXPECT_EQ(port("fd00:1::77"), 4);
  const auto out = test::address("8.8.8.8");
  EXPECT_EQ(table->lookup(out)->neighbour(out), test::address("10.0.0.254"));
  const auto on_link = test::address("10.244.9.9");
  EXPECT_EQ(table->lookup(on_link)->neighbour(on_link), on_link);
}

TEST(Routes, FamiliesDoNotMeet) {
  const Route six[] = {route("::/0", 1)};
  EXPECT_EQ(RouteTable::build(six)->lookup(test::address("10.0.0.1")), nullptr);
  const Route four[] = {route("0.0.0.0/0", 1)};
  EXPECT_EQ(RouteTable::build(four)->lookup(test::address("fd00::1")), nullptr);
  EXPECT_EQ(RouteTable().lookup(test::address("10.0.0.1")), nullptr);
}

TEST(Routes, ContradictionsAreRefused) {
  const Route twice[] = {route("10.0.0.0/8", 1), route("10.0.0.0/8", 2)};
  EXPECT_FALSE(RouteTable::build(twice));
  const Route mixed[] = {route("10.0.0.0/8", 1, "fd00::1")};
  EXPECT_FALSE(RouteTable::build(mixed));
}

TEST(Routes, AgreeWithALinearSearch) {
  std::mt19937 random(10);
  for (int round = 0; round < 200; ++round) {
    std::vector<Route> routes;
    for (unsigned i = 0; i < 40; ++i) {
      const uint8_t length = random() % 33;
      // Few distinct values, so that prefixes nest.
      const uint32_t bits = (random() & 0x03000003u) | 0x0a000000u;
      Route made;
      made.prefix = {IpAddress::v4(length == 0 ? 0 : bits >> (32 - length) << (32 - length)),
                     length};
      made.port = static_cast<uint16_t>(i);
      bool known = false;
      for (const Route& other : routes) known |= other.prefix == made.prefix;
      if (!known) routes.push_back(made);
    }
    const auto table = RouteTable::build(routes);
    ASSERT_TRUE(table);
    for (int i = 0; i < 100; ++i) {
      const IpAddress to = IpAddress::v4((random() & 0x03000003u) | 0x0a000000u);
      const Route* best = nullptr;
      for (const Route& candidate : routes) {
        if (candidate.prefix.contains(to) &&
            (best == nullptr || candidate.prefix.length > best->prefix.length)) {
          best = &candidate;
        }
      }
      const Route* got = table->lookup(to);
      ASSERT_EQ(got == nullptr, best == nullptr);
      if (best != nullptr) {
        ASSERT_EQ(got->port, best->port);
      }
    }
  }
}

}  // namespace
}  // namespace isthmus::ip
