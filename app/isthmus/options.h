// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The command line in testpmd's habit: isthmus [EAL arguments] -- [own arguments].
#pragma once

#include <string>
#include <vector>

namespace isthmus::app {

struct Options {
  std::string config;
  std::string cmdline_file;
  bool interactive = false;
  bool auto_start = false;  // with interactive: forward without waiting for `start`
  bool keep_going = false;  // cmdline_file runs to its end whatever fails
  bool check = false;       // read and check the configuration, start nothing
  bool dump_commands = false;
  unsigned drain_seconds = 5;
};

struct CommandLine {
  std::vector<std::string> eal;  // without the program's name
  Options options;
  // Set when the program is done already (help, version, a mistake); text says what to print.
  bool exit = false;
  int status = 0;
  std::string text;
};

CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace isthmus::app
