// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <vector>

#include "gateway/quotas.h"
#include "names.h"
#include "show.h"

namespace isthmus::app {
namespace {

// Copied out on the worker, with what each may have at the time.
template <typename Party>
struct Copy {
  Party party;
  uint32_t relayed_limit;
  uint32_t transports_limit;
};

struct Copies {
  std::vector<Copy<gateway::Quotas::Account>> workloads;
  std::vector<Copy<gateway::Quotas::Party>> clients;
};

Copies copy_quotas(Application& application, WorkerThread& thread,
                   const gateway::QuotaLimits& limits) {
  Copies copies;
  copies.workloads.reserve(2 * (size_t{limits.workloads} + 1));
  copies.clients.reserve(size_t{limits.transports} + 2);
  application.on_worker(thread, [&](gateway::Worker& on) {
    const gateway::Quotas& quotas = on.quotas();
    const auto into = [&quotas](auto& list) {
      return [&quotas, &list](const auto& party) {
        list.push_back({party, quotas.relayed_limit(party), quotas.transports_limit(party)});
      };
    };
    quotas.for_each(into(copies.workloads));
    quotas.for_each_client(into(copies.clients));
  });
  return copies;
}

template <typename Party>
Json row(unsigned worker, const char* as, const Copy<Party>& copy, const PlanNames& names) {
  const gateway::Quotas::Party& party = copy.party;
  return {{"worker", worker},
          {"as", as},
          {"address", party.address.to_string()},
          {"workload", names.address(party.address)},
          {"flows", party.flows},
          {"flows_limit", nullptr},
          {"relayed", party.relayed},
          {"relayed_limit", copy.relayed_limit},
          {"tunnels", party.transports},
          {"tunnels_limit", copy.transports_limit},
          {"strangers", party.strangers},
          {"pending_tunnels", nullptr},
          {"pending_limit", nullptr},
          {"held_syns", nullptr},
          {"bytes_in_flight", nullptr},
          {"bytes_limit", nullptr},
          {"waiting", nullptr},
          {"waits", nullptr},
          {"refused", party.refused}};
}

}  // namespace

Json show_limits(Application& application, const Arguments&) {
  const PlanNames names(application.plan());
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    WorkerThread& thread = worker->thread();
    gateway::QuotaLimits limits;
    application.on_worker(thread, [&](gateway::Worker& on) { limits = on.quotas().limits(); });
    const Copies copies = copy_quotas(application, thread, limits);
    for (const auto& copy : copies.workloads) {
      const gateway::Quotas::Account& account = copy.party;
      Json& shown = rows.emplace_back(
          row(thread.index(), account.serves ? "destination" : "source", copy, names));
      shown["flows_limit"] = limits.flows;
      shown["pending_tunnels"] = account.pending_tunnels;
      shown["pending_limit"] = limits.pending_tunnels;
      shown["held_syns"] = account.held_syns;
      shown["bytes_in_flight"] = account.share.used();
      shown["bytes_limit"] = limits.bytes_in_flight;
      shown["waiting"] = account.share.waiting();
      shown["waits"] = account.share.waits();
    }
    for (const auto& copy : copies.clients) {
      rows.push_back(row(thread.index(), "client", copy, names));
    }
  }
  return rows;
}

}  // namespace isthmus::app
