// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/authority.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <string>

#include "support/mesh.h"

namespace isthmus::proxy {
namespace {

using test::ip;

std::string shown(std::string_view text) {
  const Authority a = parse_authority(text);
  switch (a.kind) {
    case Authority::Kind::invalid:
      return "invalid";
    case Authority::Kind::address:
      return fmt::format("address {}", a.endpoint.to_string());
    case Authority::Kind::hostname:
      return fmt::format("hostname {} {}", a.hostname, a.port);
  }
  return "";
}

TEST(Authority, AddressesAndHostnamesWithAPort) {
  EXPECT_EQ(shown("10.0.0.1:80"), "address 10.0.0.1:80");
  EXPECT_EQ(shown("[fd00::1]:65535"), "address [fd00::1]:65535");
  EXPECT_EQ(shown("web.default.svc.cluster.local:80"), "hostname web.default.svc.cluster.local 80");
  EXPECT_EQ(shown("a_b-c.d1:1"), "hostname a_b-c.d1 1");
}

TEST(Authority, EverythingElseIsInvalid) {
  for (const char* bad : {"",
                          ":",
                          ":80",
                          "80",
                          "10.0.0.1",
                          "10.0.0.1:",
                          "10.0.0.1:0",
                          "10.0.0.1:65536",
                          "10.0.0.1:080",
                          "10.0.0.1:+8",
                          "10.0.0.1:80 ",
                          " 10.0.0.1:80",
                          "10.0.0.256:80",
                          "10.0.0:80",
                          "1.2.3.4.5:80",
                          "fd00::1:80",
                          "[fd00::1]",
                          "[fd00::1%eth0]:80",
                          "[10.0.0.1]:80",
                          "user@host:80",
                          "http://host:80",
                          "host:80/",
                          "-a:80",
                          "a-:80",
                          "a..b:80",
                          ".a:80",
                          "a.:80",
                          "a b:80",
                          "a\tb:80",
                          "h\xc3\xb6st:80"}) {
    EXPECT_EQ(shown(bad), "invalid") << bad;
  }
  EXPECT_EQ(shown(std::string_view("a\0b:80", 6)), "invalid");
}

TEST(Authority, Rfc1035LimitsOfNames) {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(longest.size(), 253U);
  EXPECT_EQ(shown(longest + ":65535"), fmt::format("hostname {} 65535", longest));
  EXPECT_EQ(shown(longest + "b:80"), "invalid");
  EXPECT_EQ(shown(label + "a:80"), "invalid");
}

TEST(Forwarded, Rfc7239ForNodeIsRead) {
  EXPECT_EQ(parse_forwarded_for("for=10.0.0.1"), ip("10.0.0.1"));
  EXPECT_EQ(parse_forwarded_for("For=\"10.0.0.1:4000\""), ip("10.0.0.1"));
  EXPECT_EQ(parse_forwarded_for("for=\"[fd00::1]:4000\";host=x"), ip("fd00::1"));
  EXPECT_EQ(parse_forwarded_for("by=1.1.1.1; for=\"[fd00::1]\""), ip("fd00::1"));
  EXPECT_EQ(parse_forwarded_for("for=10.0.0.1, for=10.0.0.2"), ip("10.0.0.1"));
  for (const char* bad : {"", "for=", "for=unknown", "for=_hidden", "for=\"[fd00::1\"",
                          "for=\"[fd00::1]x\"", "host=10.0.0.1", "for=\"", ";;;", ","}) {
    EXPECT_EQ(parse_forwarded_for(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace isthmus::proxy
