// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What TCP is worth, in virtual time: goodput against what the link or CUBIC's law allows, repair
// of a lost tail, patience with reordering, fairness. The same figures are a test and a benchmark.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "timer/time.h"

namespace isthmus::sim {

struct Figure {
  std::string name;
  std::string unit;
  double measured = 0;
  double ideal = 0;   // what it is compared with
  double target = 0;  // least, or most, that is wanted
  bool at_least = true;

  bool met() const { return at_least ? measured >= target : measured <= target; }
};

std::vector<Figure> goodput_without_loss();
// Beside the same without pacing.
std::vector<Figure> shallow_queues();
std::vector<Figure> goodput_under_loss();
std::vector<Figure> tail_repair();
std::vector<Figure> reordering();
// Two flows on one path, by the mean of some runs; so many of them have Options::short_queue.
std::vector<Figure> fairness(timer::Duration rtt, unsigned runs, unsigned short_queues = 0);

}  // namespace isthmus::sim
