// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "command_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus::app {
namespace {

using testing::HasSubstr;
using testing::Not;

Json nothing(Application&, const Arguments&) {
  return nullptr;
}

constexpr Command kTable[] = {
    {"control", "start", "Starts.", nothing, nullptr},
    {"control", "help [<SECTION>]", "Helps.", nothing, nullptr},
    {"display", "show port stats <PORT|all>", "Counts.", nothing, nullptr},
    {"display", "show port info <PORT|all>", "Informs.", nothing, nullptr},
    {"display", "show flows [<TEXT>]", "Lists.", nothing, nullptr},
    {"display", "show flow <N> walk", "Walks.", nothing, nullptr},
    {"display", "show mesh [workloads|services]", "Meshes.", nothing, nullptr},
    {"clear", "clear drops|workers", "Clears.", nothing, nullptr},
};

class Commands : public testing::Test {
 protected:
  Match match(const char* line) {
    auto result = table_.parse(line);
    if (const auto* error = std::get_if<ParseError>(&result)) {
      ADD_FAILURE() << line << ": " << error->to_string();
      return {};
    }
    return std::get<Match>(result);
  }
  std::string error(const std::string& line) {
    auto result = table_.parse(line);
    const auto* error = std::get_if<ParseError>(&result);
    return error == nullptr ? "" : error->to_string();
  }

  CommandTable table_{kTable};
};

TEST_F(Commands, FindsACommandAndItsArguments) {
  const Match found = match("  show\tport  stats 3 # and why\r");
  EXPECT_STREQ(found.command->grammar, "show port stats <PORT|all>");
  EXPECT_EQ(found.arguments.text("PORT|all"), "3");
  EXPECT_FALSE(found.arguments.json);
  EXPECT_EQ(match("show port stats all").arguments.text("PORT|all"), "all");
}

TEST_F(Commands, NumbersAreDecimalOrHexadecimal) {
  EXPECT_EQ(match("show flow 12 walk").arguments.number("N"), 12u);
  EXPECT_EQ(match("show flow 0x10 walk").arguments.number("N"), 16u);
  for (const char* bad : {"show flow x walk", "show flow -1 walk", "show flow 0x walk",
                          "show flow 99999999999999999999 walk"}) {
    EXPECT_THAT(error(bad), HasSubstr("expected <N>")) << bad;
  }
}

TEST_F(Commands, EveryShowTakesJsonAtTheEndAndNothingElseDoes) {
  EXPECT_TRUE(match("show flows json").arguments.json);
  EXPECT_EQ(match("show flows json").arguments.text("TEXT"), "");
  const Match both = match("show flows 10.0.0.1 json");
  EXPECT_TRUE(both.arguments.json);
  EXPECT_EQ(both.arguments.text("TEXT"), "10.0.0.1");
  EXPECT_TRUE(match("show flow 1 walk json").arguments.json);
  EXPECT_TRUE(match("show mesh json").arguments.json);
  EXPECT_EQ(error("start json"), "token 'json': expected the end of the line");
}

TEST_F(Commands, OptionalPlacesMayBeLeftOut) {
  EXPECT_EQ(match("show mesh").arguments.text("workloads|services"), "");
  EXPECT_EQ(match("show mesh services").arguments.text("workloads|services"), "services");
  EXPECT_EQ(match("help display").arguments.text("SECTION"), "display");
}

TEST_F(Commands, AnErrorNamesTheTokenAndWhatCouldHaveStoodThere) {
  EXPECT_EQ(error("show port statz all"), "token 'statz': expected stats|info");
  EXPECT_EQ(error("show port stats"), "end of line: expected <PORT|all>");
  EXPECT_EQ(error("sho port"), "token 'sho': expected start|help|show|clear");
  EXPECT_EQ(error("show mesh workloads now"), "token 'now': expected json");
  EXPECT_EQ(error("clear"), "end of line: expected drops|workers");
  EXPECT_EQ(error("show flow 1 walk walk"), "token 'walk': expected json");
}

TEST_F(Commands, EmptyLinesAndCommentsAreNoCommands) {
  for (const char* line : {"", "   ", "# show port", "\r"}) {
    EXPECT_EQ(match(line).command, nullptr) << line;
  }
}

TEST_F(Commands, TooManyTokensAreRefused) {
  std::string line = "show";
  for (size_t i = 0; i <= kMaxTokens; ++i) line += " x";
  EXPECT_FALSE(error(line).empty());
}

TEST_F(Commands, HelpListsSectionsThenTheCommandsOfOne) {
  EXPECT_THAT(table_.help(""), HasSubstr("control"));
  EXPECT_THAT(table_.help("display"), HasSubstr("show port stats <PORT|all> [json]\n    Counts."));
  EXPECT_THAT(table_.help("display"), Not(HasSubstr("clear drops")));
  EXPECT_THAT(table_.help("all"), HasSubstr("clear drops"));
  EXPECT_EQ(table_.help("weather"), "");
}

TEST_F(Commands, MarkdownKeepsBarsInsideTableCells) {
  EXPECT_THAT(table_.markdown(), HasSubstr("| `show port stats <PORT\\|all>` | Counts. |"));
}

}  // namespace
}  // namespace isthmus::app
