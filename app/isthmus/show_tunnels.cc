// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <vector>

#include "show.h"

namespace isthmus::app {
namespace {

std::string identity_text(tls::IdentityPtr identity) {
  return identity == nullptr ? std::string() : identity->to_string();
}

}  // namespace

Json show_tunnels(Application& application, const Arguments&) {
  Json rows = Json::array();
  const unsigned most = application.config().limits.tunnels;
  for (const auto& worker : application.workers()) {
    // What a TransportInfo points to lives as long as the process: the copy may be read here.
    std::vector<hbone::TransportInfo> transports;
    transports.reserve(most);
    application.on_worker(worker->thread(), [&](gateway::Worker& on) {
      on.hbone().for_each([&](const hbone::TransportInfo& info) {
        if (transports.size() < most) transports.push_back(info);
      });
    });
    for (const auto& info : transports) {
      const char* state = info.draining ? "draining" : info.established ? "open" : "opening";
      rows.push_back({{"worker", worker->thread().index()},
                      {"role", info.role == h2::Role::server ? "server" : "client"},
                      {"state", state},
                      {"from", info.outer.source.to_string()},
                      {"to", info.outer.destination.to_string()},
                      {"streams", info.streams},
                      {"local", identity_text(info.local)},
                      {"peer", identity_text(info.peer)}});
    }
  }
  return rows;
}

Json show_tls(Application& application, const Arguments&) {
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    tls::RecordCounters counters;
    application.on_worker(worker->thread(),
                          [&](gateway::Worker&) { counters = worker->records().counters(); });
    rows.push_back({{"worker", worker->thread().index()},
                    {"records_sealed", counters.records_sealed},
                    {"records_opened", counters.records_opened},
                    {"bytes_sealed", counters.bytes_sealed},
                    {"bytes_opened", counters.bytes_opened},
                    {"records_copied", counters.records_copied},
                    {"key_updates_sent", counters.key_updates_sent},
                    {"key_updates_received", counters.key_updates_received},
                    {"tickets_ignored", counters.tickets_ignored}});
  }
  return rows;
}

}  // namespace isthmus::app
