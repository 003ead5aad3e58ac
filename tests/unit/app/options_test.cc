// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eal.h"

namespace isthmus::app {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

CommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "isthmus");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

Machine machine(uint64_t huge_mb, unsigned cpus) {
  Machine result{};
  result.free_huge_mb = huge_mb;
  result.cpus = cpus;
  result.process = 7;
  return result;
}

TEST(Options, EalArgumentsStandBeforeTheDoubleDash) {
  const CommandLine line = parse({"-l", "0,1", "--", "--config", "a.yaml", "-i"});
  ASSERT_FALSE(line.exit) << line.text;
  EXPECT_THAT(line.eal, ElementsAre("-l", "0,1"));
  EXPECT_EQ(line.options.config, "a.yaml");
  EXPECT_TRUE(line.options.interactive);
  EXPECT_FALSE(line.options.auto_start);
}

TEST(Options, AnOwnOptionBeforeTheDoubleDashIsExplained) {
  for (const auto& arguments :
       {std::vector<const char*>{"--config", "a.yaml"},
        std::vector<const char*>{"--config=a.yaml", "--", "-i"}, std::vector<const char*>{"-i"}}) {
    const CommandLine line = parse(arguments);
    EXPECT_TRUE(line.exit);
    EXPECT_EQ(line.status, 2);
    EXPECT_THAT(line.text, HasSubstr("goes after '--'"));
  }
}

TEST(Options, EalsOwnOptionsAreNoneOfOurs) {
  EXPECT_FALSE(parse({"-c", "3", "-n", "4", "--", "--config", "a"}).exit);
}

TEST(Options, WithoutAConfigurationNothingStarts) {
  EXPECT_EQ(parse({"--"}).status, 2);
  EXPECT_EQ(parse({}).status, 2);
  EXPECT_FALSE(parse({"--", "--dump-commands"}).exit);
}

TEST(Options, HelpIsNoError) {
  EXPECT_EQ(parse({"--help"}).status, 0);
  EXPECT_THAT(parse({"--help"}).text, HasSubstr("isthmus [EAL arguments] -- [arguments]"));
  EXPECT_EQ(parse({"--", "--nonsense"}).status, 2);
}

TEST(EalArguments, WithoutHugepagesEalRunsWithoutThem) {
  const auto used = effective_eal_arguments({}, machine(0, 2), 300);
  EXPECT_THAT(used, ElementsAre("--no-huge", "-m", "300", "--no-shconf", "--no-pci",
                                "--file-prefix=isthmus_7"));
}

TEST(EalArguments, TooFewHugepagesAreNone) {
  EXPECT_THAT(effective_eal_arguments({}, machine(299, 2), 300), Contains("--no-huge"));
  EXPECT_THAT(effective_eal_arguments({}, machine(300, 2), 300), Not(Contains("--no-huge")));
}

TEST(EalArguments, WithHugepagesNoFilesAreShared) {
  const auto used = effective_eal_arguments({}, machine(1024, 2), 300);
  EXPECT_THAT(used, Contains("--in-memory"));
  EXPECT_THAT(used, Not(Contains("--no-huge")));  // EAL refuses the two together
  EXPECT_THAT(used, Not(Contains("-m")));
}

TEST(EalArguments, WhatIsGivenStays) {
  const auto used = effective_eal_arguments({"--no-huge", "-m512", "--file-prefix", "mine"},
                                            machine(1024, 2), 300);
  EXPECT_THAT(
      used, ElementsAre("--no-huge", "-m512", "--file-prefix", "mine", "--no-shconf", "--no-pci"));
  EXPECT_THAT(effective_eal_arguments({"--huge-dir=/h"}, machine(0, 2), 300),
              Not(Contains("--no-huge")));
}

TEST(EalArguments, OneCpuStillHasAWorker) {
  EXPECT_THAT(effective_eal_arguments({}, machine(0, 1), 300), Contains(StartsWith("--lcores")));
  EXPECT_THAT(effective_eal_arguments({"-l", "0"}, machine(0, 1), 300),
              Not(Contains(StartsWith("--lcores"))));
}

}  // namespace
}  // namespace isthmus::app
