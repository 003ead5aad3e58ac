// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

#include "commands.h"

namespace isthmus::app {
namespace {

// After a change of the table: isthmus -- --dump-commands > docs/console.md
TEST(Documentation, ConsoleMdIsWhatTheCommandTableSays) {
  std::ifstream file(SOURCE_ROOT "/docs/console.md");
  ASSERT_TRUE(file);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(text, CommandTable(commands()).markdown());
}

TEST(Documentation, EveryCommandIsFoundByItsOwnWords) {
  const CommandTable table(commands());
  for (const char* line : {"start",
                           "stop",
                           "quit",
                           "reload",
                           "help all",
                           "load f",
                           "show port stats 0",
                           "show port info all",
                           "show flows",
                           "show flows x",
                           "show flow 3 walk",
                           "show drops",
                           "show limits",
                           "show workers",
                           "show pools",
                           "show tcp 5",
                           "show tcp 10.0.0.1:80",
                           "show tcp",
                           "show tunnels",
                           "show tls",
                           "show mesh policies",
                           "clear drops",
                           "clear port stats all"}) {
    const auto result = table.parse(line);
    EXPECT_TRUE(std::holds_alternative<Match>(result)) << line;
  }
}

}  // namespace
}  // namespace isthmus::app
