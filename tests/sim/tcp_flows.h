// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Several connections at once from one engine to another over one link: what it carries of each.
#pragma once

#include <memory>
#include <vector>

#include "sim/link.h"
#include "sim/scheduler.h"
#include "sim/tcp_host.h"

namespace isthmus::sim {

struct Flow {
  timer::Duration starts{};  // after the run's beginning
  Behaviour sender;          // the accepting end only takes
  tcp::Options options;
};

class FlowsRun {
 public:
  // both: the link's model, in both directions; buffers are those of config, for both engines.
  FlowsRun(uint64_t seed, const LinkModel& both, const tcp::Config& config,
           const std::vector<Flow>& flows);

  // To an instant of the run. False: nothing is left to happen before it.
  bool run_until(timer::Duration since_start);
  // Until every flow has ended both ways, at most for so long; how long it took.
  timer::Duration run_to_end(timer::Duration limit);

  uint64_t taken(size_t flow) const { return pairs_[flow].receiver->taken(); }
  // Null before it began and once it is over.
  tcp::Connection* sender(size_t flow) { return pairs_[flow].sender->connection(); }
  const tcp::EngineStats& stats() const { return hosts_[0]->engine().stats(); }
  Link& link() { return link_; }

 private:
  struct Pair {
    std::unique_ptr<User> sender;
    std::unique_ptr<User> receiver;
  };
  void start(size_t index, const Flow& flow);

  Scheduler scheduler_;
  Link link_;
  timer::Instant started_at_;
  std::vector<Pair> pairs_;
  std::unique_ptr<Host> hosts_[2];
};

}  // namespace isthmus::sim
