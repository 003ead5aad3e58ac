// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <vector>

#include "gateway/quotas.h"
#include "names.h"
#include "show.h"

namespace isthmus::app {

Json show_limits(Application& application, const Arguments&) {
  const PlanNames names(application.plan());
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    gateway::QuotaLimits limits;
    application.on_worker(worker->thread(),
                          [&](gateway::Worker& on) { limits = on.quotas().limits(); });
    std::vector<gateway::Quotas::Account> accounts;
    accounts.reserve(size_t{limits.workloads} + 1);
    application.on_worker(worker->thread(), [&](gateway::Worker& on) {
      on.quotas().for_each(
          [&](const gateway::Quotas::Account& account) { accounts.push_back(account); });
    });
    for (const auto& account : accounts) {
      rows.push_back({{"worker", worker->thread().index()},
                      {"address", account.address.to_string()},
                      {"workload", names.address(account.address)},
                      {"flows", account.flows},
                      {"flows_limit", limits.flows},
                      {"pending_tunnels", account.pending_tunnels},
                      {"pending_limit", limits.pending_tunnels},
                      {"held_syns", account.held_syns},
                      {"bytes_in_flight", account.share.used()},
                      {"bytes_limit", limits.bytes_in_flight},
                      {"waiting", account.share.waiting()},
                      {"waits", account.share.waits()},
                      {"refused", account.refused}});
    }
  }
  return rows;
}

}  // namespace isthmus::app
