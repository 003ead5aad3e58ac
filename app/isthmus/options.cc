// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <sstream>

namespace isthmus::app {
namespace {

class Formatter final : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: isthmus [EAL arguments] -- [arguments]\n";
  }
};

void describe(CLI::App& app, Options& options) {
  app.formatter(std::make_shared<Formatter>());
  app.footer(
      "EAL arguments as every DPDK program has them. What is not given is chosen: --no-huge where\n"
      "too few hugepages are free, otherwise --in-memory, and a --file-prefix of the process's "
      "own.\n"
      "SIGTERM and SIGINT drain and exit (a second one exits at once), SIGHUP reloads the\n"
      "configuration.");
  app.add_option("--config", options.config, "Configuration (YAML)")->type_name("FILE");
  app.add_flag("-i,--interactive", options.interactive, "Console on standard input");
  app.add_flag("--auto-start", options.auto_start, "With -i: forward without waiting for 'start'");
  app.add_option("--cmdline-file", options.cmdline_file, "Run console commands from a file first")
      ->type_name("FILE");
  app.add_flag("--keep-going", options.keep_going,
               "Run the command file to its end whatever fails");
  app.add_flag("--check", options.check, "Check the configuration and exit");
  app.add_option("--drain-time", options.drain_seconds,
                 "Seconds that open flows have to end after SIGTERM")
      ->type_name("SECONDS")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  app.add_flag("--dump-commands", options.dump_commands, "Print docs/console.md and exit");
  app.set_version_flag("--version", std::string(ISTHMUS_VERSION));
  app.set_help_flag("--help", "Print this and exit");
}

// EAL would say "unrecognized option" and show its own help; say what is wrong instead.
std::string misplaced(const CLI::App& app, const std::vector<std::string>& eal) {
  for (const auto& argument : eal) {
    std::string name = argument.substr(0, argument.find('='));
    const auto options = app.get_options();
    const bool ours = std::any_of(options.begin(), options.end(), [&name](const auto* option) {
      return option->check_name(name) && name.front() == '-';
    });
    if (ours) return name;
  }
  return "";
}

CommandLine finished(int status, std::string text) {
  CommandLine line;
  line.exit = true;
  line.status = status;
  line.text = std::move(text);
  return line;
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  std::vector<std::string> own;
  bool after = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!after && argument == "--") {
      after = true;
    } else {
      (after ? own : line.eal).push_back(argument);
    }
  }
  CLI::App app("Node gateway for Istio meshes", "isthmus");
  describe(app, line.options);
  if (!after && line.eal.size() == 1 && (line.eal[0] == "--help" || line.eal[0] == "--version")) {
    own.swap(line.eal);  // harmless, and what everyone tries first
  }
  if (const std::string name = misplaced(app, line.eal); !name.empty()) {
    return finished(2, fmt::format("isthmus: '{0}' is an argument of isthmus, not of EAL: it goes "
                                   "after '--'\n  isthmus [EAL arguments] -- {0} ...\n",
                                   name));
  }
  try {
    std::reverse(own.begin(), own.end());  // CLI11 takes a stack
    app.parse(own);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const int status = app.exit(error, out, err);
    return finished(status == 0 ? 0 : 2, out.str() + err.str());
  }
  const Options& options = line.options;
  if (options.config.empty() && !options.dump_commands) {
    return finished(2,
                    "isthmus: no configuration: give --config FILE after '--'\n"
                    "  isthmus [EAL arguments] -- --config FILE\n");
  }
  return line;
}

}  // namespace isthmus::app
