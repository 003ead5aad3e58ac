// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// EAL for targets that need mempools: without devices, hugepages or files, so that many may run.
#pragma once

#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

namespace isthmus::fuzz {

inline void start_eal() {
  std::vector<std::string> arguments = {"fuzz",
                                        "--no-huge",
                                        "-m",
                                        "256",
                                        "--no-pci",
                                        "--no-shconf",
                                        "--no-telemetry",
                                        "--log-level=3",
                                        "--file-prefix=fuzz_" + std::to_string(getpid())};
  std::vector<char*> eal;
  for (std::string& argument : arguments) eal.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) abort();
}

}  // namespace isthmus::fuzz
