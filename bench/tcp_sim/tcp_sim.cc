// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Prints what TCP is worth in the simulator, each figure with its target. Virtual time: the result
// depends on the code alone, and not on the machine.
#include <chrono>
#include <fmt/format.h>
#include <initializer_list>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

#include "sim/tcp_goodput.h"

int main(int /*argc*/, char** argv) {
  using namespace isthmus::sim;
  std::string arguments[] = {argv[0],
                             "--no-huge",
                             "-m",
                             "256",
                             "--no-pci",
                             "--no-telemetry",
                             "-l",
                             "0",
                             "--log-level=3",
                             "--no-shconf",
                             "--file-prefix=bench_tcp_sim_" + std::to_string(getpid())};
  std::vector<char*> eal;
  for (std::string& argument : arguments) eal.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) {
    fmt::print(stderr, "EAL did not start\n");
    return 1;
  }
  fmt::print("{:<48} {:>10} {:>10} {:>10}\n", "", "measured", "ideal", "target");
  bool all = true;
  using std::chrono_literals::operator""ms;
  const auto share = [] { return fairness(10ms, 3); };
  const auto beside_short = [] { return fairness(10ms, 3, 1); };
  const auto both_short = [] { return fairness(10ms, 3, 2); };
  const auto share_of_long = [] { return fairness(40ms, 16); };
  const auto long_beside_short = [] { return fairness(40ms, 16, 1); };
  const auto both_long_short = [] { return fairness(40ms, 16, 2); };
  using Measure = std::vector<Figure> (*)();
  for (const Measure measure : std::initializer_list<Measure>{
           goodput_without_loss, shallow_queues, goodput_under_loss, tail_repair, reordering, share,
           beside_short, both_short, share_of_long, long_beside_short, both_long_short}) {
    for (const Figure& figure : measure()) {
      fmt::print("{:<48} {:>10.2f} {:>10.2f} {} {:>7.2f} {:<8} {}\n", figure.name, figure.measured,
                 figure.ideal, figure.at_least ? ">=" : "<=", figure.target, figure.unit,
                 figure.met() ? "met" : "MISSED");
      all = all && figure.met();
    }
  }
  rte_eal_cleanup();
  return all ? 0 : 1;
}
