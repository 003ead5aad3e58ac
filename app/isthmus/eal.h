// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The EAL arguments that are really used: those given, and what the machine calls for besides.
#pragma once

#include <cstdint>
#include <sched.h>
#include <string>
#include <vector>

namespace isthmus::app {

struct Machine {
  uint64_t free_huge_mb = 0;  // in hugepages that nobody uses
  unsigned cpus = 1;          // that the process may use
  cpu_set_t affinity;         // which; EAL narrows that of its threads and of those that they start
  int process = 0;            // its id

  static Machine detect();
};

// The --file-prefix of a process that was given none.
std::string own_file_prefix(const Machine& machine);

// memory_mb: what the gateway needs: for -m when there are not so many free hugepages.
std::vector<std::string> effective_eal_arguments(const std::vector<std::string>& given,
                                                 const Machine& machine, uint64_t memory_mb);

}  // namespace isthmus::app
