// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// isthmus [EAL arguments] -- [own arguments]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <vector>

#include <rte_eal.h>
#include <rte_errno.h>

#include "application.h"
#include "commands.h"
#include "eal.h"
#include "inputs.h"
#include "options.h"

namespace isthmus::app {
namespace {

// What EAL must have when there are no hugepages: nobody touches it before it is needed. Every
// lcore may be a worker.
uint64_t memory_mb(const config::Pools& pools, unsigned cpus) {
  constexpr uint64_t kSmallBytes = 2432;
  constexpr uint64_t kLargeBytes = 17408;
  constexpr uint64_t kCloneBytes = 256;
  constexpr uint64_t kRest = 256;
  const uint64_t bytes =
      pools.small * kSmallBytes + pools.large * kLargeBytes + pools.clones * kCloneBytes;
  return kRest + (bytes * cpus >> 20);
}

bool start_eal(const char* program, const CommandLine& line, const config::Config& config,
               const Machine& machine) {
  std::vector<std::string> arguments =
      effective_eal_arguments(line.eal, machine, memory_mb(config.pools, machine.cpus));
  arguments.insert(arguments.begin(), program);
  std::string shown;
  std::vector<char*> argv;
  for (auto& argument : arguments) {
    shown += (shown.empty() ? "" : " ") + argument;
    argv.push_back(argument.data());
  }
  fmt::print(stderr, "isthmus: EAL arguments: {}\n", shown);
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) >= 0) return true;
  fmt::print(stderr, "isthmus: EAL does not start: {}\n", rte_strerror(rte_errno));
  return false;
}

int run(int argc, char** argv) {
  const CommandLine line = parse_command_line(argc, argv);
  if (line.exit) {
    fmt::print(line.status == 0 ? stdout : stderr, "{}", line.text);
    return line.status;
  }
  const CommandTable table(commands());
  if (line.options.dump_commands) {
    fmt::print("{}", table.markdown());
    return EXIT_SUCCESS;
  }
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  Inputs inputs = read_inputs(line.options.config, now);
  if (line.options.check) {
    fmt::print("{}: good\n", line.options.config);
    return EXIT_SUCCESS;
  }
  block_signals();
  const Machine machine = Machine::detect();
  if (!start_eal(argv[0], line, inputs.config, machine)) return EXIT_FAILURE;
  int status = EXIT_FAILURE;
  try {
    Application application(line.options, std::move(inputs), table, machine);
    fmt::print(stderr, "isthmus: ready\n");
    status = application.run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "isthmus: {}\n", error.what());
  }
  const std::filesystem::path runtime = rte_eal_get_runtime_dir();
  rte_eal_cleanup();
  // A prefix that carries the process's number would leave a folder behind for each run.
  std::error_code ignored;
  if (runtime.filename() == own_file_prefix(machine)) {
    std::filesystem::remove_all(runtime, ignored);
  }
  return status;
}

}  // namespace
}  // namespace isthmus::app

int main(int argc, char** argv) {
  try {
    return isthmus::app::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "isthmus: {}\n", error.what());
    return EXIT_FAILURE;
  }
}
