// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/identity.h"

#include <gtest/gtest.h>
#include <string>

namespace isthmus::tls {
namespace {

TEST(Identity, ParsesTheFormThatIstioIssues) {
  const auto id = Identity::parse("spiffe://cluster.local/ns/default/sa/sleep");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->trust_domain(), "cluster.local");
  EXPECT_EQ(id->namespace_(), "default");
  EXPECT_EQ(id->service_account(), "sleep");
  EXPECT_EQ(id->to_string(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(*id, *Identity::make("cluster.local", "default", "sleep"));
}

TEST(Identity, RefusesEveryOtherForm) {
  for (const char* text : {"",
                           "spiffe://",
                           "spiffe:///ns/a/sa/b",
                           "SPIFFE://td/ns/a/sa/b",
                           "spiffe://td/ns/a/sa/",
                           "spiffe://td/ns//sa/b",
                           "spiffe://td/ns/a/sa/b/",
                           "spiffe://td/ns/a/sa/b/c",
                           "spiffe://td/sa/b/ns/a",
                           "spiffe://td/ns/a/b",
                           "spiffe://td:443/ns/a/sa/b",
                           "spiffe://user@td/ns/a/sa/b",
                           "spiffe://TD/ns/a/sa/b",
                           "spiffe://td/ns/a/sa/b?x=1",
                           "spiffe://td/ns/a/sa/b#x",
                           "spiffe://td/ns/%61/sa/b",
                           "spiffe://td/ns/../sa/b",
                           "spiffe://td/ns/./sa/b",
                           "spiffe://td/ns/a/sa/b ",
                           "https://td/ns/a/sa/b",
                           "td/ns/a/sa/b"}) {
    EXPECT_FALSE(Identity::parse(text)) << text;
  }
}

TEST(Identity, HoldsTheLimitsOfItsParts) {
  const std::string domain(kMaxTrustDomain, 'd');
  const std::string name(kMaxNamespace, 'n');
  const std::string account(kMaxServiceAccount, 's');
  const auto longest = Identity::make(domain, name, account);
  ASSERT_TRUE(longest);
  EXPECT_EQ(Identity::parse(longest->to_string()), longest);
  EXPECT_EQ(longest->service_account(), account);
  EXPECT_EQ(longest->namespace_(), name);
  EXPECT_FALSE(Identity::make(domain + "d", name, account));
  EXPECT_FALSE(Identity::make(domain, name + "n", account));
  EXPECT_FALSE(Identity::make(domain, name, account + "s"));
}

TEST(IdentityTable, EqualIdentitiesAreOnePointer) {
  IdentityTable table(2);
  const IdentityPtr a = table.intern(*Identity::make("td", "a", "x"));
  EXPECT_EQ(table.intern(*Identity::parse("spiffe://td/ns/a/sa/x")), a);
  EXPECT_NE(table.intern(*Identity::make("td", "b", "x")), a);
  EXPECT_EQ(table.intern(*Identity::make("td", "c", "x")), nullptr) << "full";
  EXPECT_EQ(table.intern(*Identity::make("td", "a", "x")), a);
  EXPECT_EQ(table.size(), 2u);
}

}  // namespace
}  // namespace isthmus::tls
