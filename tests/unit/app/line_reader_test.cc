// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "line_reader.h"

#include <gtest/gtest.h>

namespace isthmus::app {
namespace {

using Result = LineReader::Result;

TEST(LineReader, CutsTheStreamWhereverItWasBroken) {
  LineReader reader;
  std::string line;
  reader.add("show fl");
  EXPECT_EQ(reader.next(line), Result::none);
  reader.add("ows\nquit\nre");
  EXPECT_EQ(reader.next(line), Result::line);
  EXPECT_EQ(line, "show flows");
  EXPECT_EQ(reader.next(line), Result::line);
  EXPECT_EQ(line, "quit");
  EXPECT_EQ(reader.next(line), Result::none);
  EXPECT_EQ(reader.rest(), "re");
  EXPECT_EQ(reader.rest(), "");
}

TEST(LineReader, ALineBeyondTheLimitIsGivenUpOnceAndTheNextIsRead) {
  LineReader reader;
  std::string line;
  reader.add(std::string(kMaxLine + 1, 'x'));
  EXPECT_EQ(reader.next(line), Result::too_long);
  reader.add(std::string(5 * kMaxLine, 'x'));
  EXPECT_EQ(reader.next(line), Result::none);
  reader.add("x\nquit\n");
  EXPECT_EQ(reader.next(line), Result::line);
  EXPECT_EQ(line, "quit");
}

TEST(LineReader, TheLimitItselfIsALine) {
  LineReader reader;
  std::string line;
  reader.add(std::string(kMaxLine, 'x') + "\n" + std::string(kMaxLine + 1, 'y') + "\nz\n");
  EXPECT_EQ(reader.next(line), Result::line);
  EXPECT_EQ(reader.next(line), Result::too_long);
  EXPECT_EQ(reader.next(line), Result::line);
  EXPECT_EQ(line, "z");
}

}  // namespace
}  // namespace isthmus::app
