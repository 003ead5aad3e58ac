// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "print.h"

#include <gtest/gtest.h>

namespace isthmus::app {
namespace {

TEST(Print, AListOfObjectsIsATableWithoutBorders) {
  const Json rows = {{{"flow", 1}, {"long_name", "a"}}, {{"flow", 1000}, {"long_name", ""}}};
  EXPECT_EQ(print_value(rows),
            "FLOW  LONG NAME\n"
            "1     a\n"
            "1000  -\n");
  EXPECT_EQ(print_value(Json::array()), "(none)\n");
}

TEST(Print, AnObjectIsLinesAndATextIsItself) {
  EXPECT_EQ(print_value(Json{{"node", "a"}, {"up", true}, {"share", 1.25}}),
            "node: a\nup: yes\nshare: 1.2\n");
  EXPECT_EQ(print_value("as it is\n"), "as it is\n");
  EXPECT_EQ(print_value(nullptr), "");
}

}  // namespace
}  // namespace isthmus::app
