// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "eal.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <initializer_list>
#include <string_view>
#include <unistd.h>

namespace isthmus::app {
namespace {

// Of all sizes: directories are named as hugepages-2048kB.
uint64_t count_free_huge_mb() {
  constexpr std::string_view kPrefix = "hugepages-";
  std::error_code error;
  const std::filesystem::path sizes = "/sys/kernel/mm/hugepages";
  uint64_t kilobytes = 0;
  for (const auto& size : std::filesystem::directory_iterator(sizes, error)) {
    const std::string name = size.path().filename();
    std::ifstream file(size.path() / "free_hugepages");
    uint64_t pages = 0;
    if (!name.starts_with(kPrefix) || !(file >> pages)) continue;
    kilobytes += pages * std::strtoull(name.c_str() + kPrefix.size(), nullptr, 10);
  }
  return kilobytes / 1024;
}

// "--lcores=0@0" and "--lcores 0@0" are "--lcores"; "-l0" and "-l 0" are "-l".
bool has(const std::vector<std::string>& given, std::initializer_list<const char*> names) {
  return std::any_of(given.begin(), given.end(), [&names](const std::string& argument) {
    const bool is_short = argument.size() > 1 && argument[0] == '-' && argument[1] != '-';
    const std::string name =
        is_short ? argument.substr(0, 2) : argument.substr(0, argument.find('='));
    return std::find(names.begin(), names.end(), name) != names.end();
  });
}

}  // namespace

Machine Machine::detect() {
  Machine machine;
  machine.free_huge_mb = count_free_huge_mb();
  CPU_ZERO(&machine.affinity);
  if (sched_getaffinity(0, sizeof machine.affinity, &machine.affinity) == 0) {
    machine.cpus = static_cast<unsigned>(std::max(1, CPU_COUNT(&machine.affinity)));
  }
  machine.process = getpid();
  return machine;
}

std::string own_file_prefix(const Machine& machine) {
  return fmt::format("isthmus_{}", machine.process);
}

std::vector<std::string> effective_eal_arguments(const std::vector<std::string>& given,
                                                 const Machine& machine, uint64_t memory_mb) {
  std::vector<std::string> result = given;
  const bool memory_chosen = has(given, {"--in-memory", "--huge-dir", "--legacy-mem"});
  // A few that somebody left are worse than none: the pools would not fit.
  const bool enough = machine.free_huge_mb >= std::max<uint64_t>(memory_mb, 1);
  const bool no_huge = has(given, {"--no-huge"}) || (!memory_chosen && !enough);
  if (no_huge) {
    if (!has(given, {"--no-huge"})) result.emplace_back("--no-huge");
    if (!has(given, {"-m"})) {
      result.emplace_back("-m");
      result.push_back(std::to_string(memory_mb));
    }
    // --in-memory excludes --no-huge in 22.11; this is the part of it that there is.
    if (!has(given, {"--no-shconf"})) result.emplace_back("--no-shconf");
  } else if (!memory_chosen && !has(given, {"--huge-unlink"})) {
    result.emplace_back("--in-memory");
    // A vhost-user backend maps at most 8 regions.
    if (!has(given, {"--single-file-segments"})) result.emplace_back("--single-file-segments");
  }
  // A PCI device is taken only when it is named: probing all of them would take the machine's own
  // network card from its kernel.
  if (!has(given, {"--no-pci", "-a", "--allow", "-b", "--block"})) result.emplace_back("--no-pci");
  if (!has(given, {"--file-prefix"})) {
    result.push_back("--file-prefix=" + own_file_prefix(machine));
  }
  // The main lcore never polls, so a worker needs a second one even where there is one CPU.
  if (machine.cpus == 1 && !has(given, {"-l", "-c", "--lcores", "-s", "-S"})) {
    result.emplace_back("--lcores=(0,1)@0");
  }
  return result;
}

}  // namespace isthmus::app
