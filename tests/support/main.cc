// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

// Mempools need EAL, so every test program starts one: no hugepages, no devices but those a test
// asks for, no files shared with another process. Works as an unprivileged user.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::string prefix = "--file-prefix=isthmus_test_" + std::to_string(getpid());
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]).rfind("--file-prefix=", 0) == 0) {
      prefix = argv[i];
      prefix.append("_").append(std::to_string(getpid()));
    }
  }
  std::vector<std::string> args = {argv[0],    "--no-huge",      "-m",          "256",
                                   "--no-pci", "--no-telemetry", "--no-shconf", "-l",
                                   "0",        "--log-level=3",  prefix};
  std::vector<char*> eal;
  eal.reserve(args.size());
  for (auto& arg : args) eal.push_back(arg.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) {
    fprintf(stderr, "EAL did not start\n");
    return 1;
  }
  int result = RUN_ALL_TESTS();
  rte_eal_cleanup();
  return result;
}
