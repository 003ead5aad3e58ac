// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/identity.h"

#include <gtest/gtest.h>

#include "mesh/interner.h"

namespace isthmus::mesh {
namespace {

TEST(Identity, IstioFormHasFiveParts) {
  const auto id = Identity::parse("spiffe://cluster.local/ns/default/sa/sleep");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->trust_domain, "cluster.local");
  EXPECT_EQ(id->namespace_, "default");
  EXPECT_EQ(id->service_account, "sleep");
  EXPECT_EQ(make_identity("cluster.local", "default", "sleep"), id->uri);
}

TEST(Identity, EverythingElseIsRefused) {
  for (const char* bad :
       {"", "spiffe://", "spiffe://td", "spiffe://td/ns/a", "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/", "spiffe://td/ns/a/sa/b/", "spiffe://td/ns/a/sa/b/c",
        "spiffe:///ns/a/sa/b", "spiffe://td/ns//sa/b", "spiffe://td/sa/a/ns/b",
        "https://td/ns/a/sa/b", "SPIFFE://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b?x",
        "spiffe://td:1/ns/a/sa/b", "spiffe://u@td/ns/a/sa/b", "spiffe://td/ns/a b/sa/c",
        "spiffe://td/ns/a/sa/b\n", "spiffe://td/ns/%61/sa/b"}) {
    EXPECT_FALSE(Identity::parse(bad)) << bad;
  }
  const std::string_view with_nul("spiffe://td/ns/a/sa/b\0", 22);
  EXPECT_FALSE(Identity::parse(with_nul));
  const std::string longest = "spiffe://td/ns/a/sa/" + std::string(2048 - 20, 'x');
  EXPECT_TRUE(Identity::parse(longest));
  EXPECT_FALSE(Identity::parse(longest + "x"));
}

TEST(Interner, IdsAreStableAndNeverZero) {
  Interner interner;
  const uint32_t a = interner.intern("a");
  const uint32_t b = interner.intern("b");
  EXPECT_NE(a, 0U);
  EXPECT_NE(a, b);
  const std::string_view text = interner.text(a);
  for (int i = 0; i < 1000; ++i) interner.intern(std::to_string(i));
  EXPECT_EQ(interner.intern("a"), a);
  EXPECT_EQ(interner.text(a).data(), text.data());
  EXPECT_EQ(interner.text(0), "");
  EXPECT_EQ(interner.text(5000), "");
}

}  // namespace
}  // namespace isthmus::mesh
