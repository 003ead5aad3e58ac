// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <algorithm>
#include <vector>

#include "show.h"

namespace isthmus::app {
namespace {

constexpr uint64_t kDefaultConnections = 1024;  // of each worker
constexpr uint64_t kMostConnections = 65536;

struct Connection {
  packet::Tuple tuple;
  tcp::Info info;
};

std::string identity_text(tls::IdentityPtr identity) {
  return identity == nullptr ? std::string() : identity->to_string();
}

Json connection_row(unsigned worker, const Connection& connection) {
  const tcp::Info& info = connection.info;
  return {{"worker", worker},
          {"state", tcp::to_string(info.state)},
          {"local", connection.tuple.source.to_string()},
          {"remote", connection.tuple.destination.to_string()},
          {"send_queue", info.send_queued},
          {"receive_queue", info.receive_queued},
          {"rtt_us", info.rtt},
          {"cwnd", info.congestion_window},
          {"in_flight", info.in_flight},
          {"send_window", info.send_window},
          {"mss", info.send_mss},
          {"retransmitted", info.retransmissions},
          {"limit", tcp::to_string(info.limit)}};
}

}  // namespace

Json show_tcp(Application& application, const Arguments& arguments) {
  const uint64_t most =
      std::min(arguments.number("N").value_or(kDefaultConnections), kMostConnections);
  Json rows = Json::array();
  for (const auto& worker : application.workers()) {
    std::vector<Connection> connections;
    connections.reserve(most);  // nothing is allocated on the worker
    application.on_worker(worker->thread(), [&](gateway::Worker& on) {
      on.tcp().for_each([&](const tcp::Connection& connection) {
        if (connections.size() == most) return;
        connections.push_back({{connection.local(), connection.remote()}, connection.info()});
      });
    });
    for (const auto& connection : connections) {
      rows.push_back(connection_row(worker->thread().index(), connection));
    }
  }
  return rows;
}

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

}  // namespace isthmus::app
