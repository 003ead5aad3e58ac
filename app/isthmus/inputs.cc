// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "inputs.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <tuple>

#include "credentials.h"
#include "mesh/local_file.h"

namespace isthmus::app {
namespace {

template <typename Value>
Value take(std::variant<Value, yaml::Error>&& result) {
  if (const auto* error = std::get_if<yaml::Error>(&result)) {
    throw std::runtime_error(error->to_string());
  }
  return std::get<Value>(std::move(result));
}

auto device_key(const config::Device& d) {
  return std::tie(d.driver, d.devargs, d.iface, d.netns, d.path, d.server, d.offload, d.peer_mac,
                  d.queues, d.descriptors);
}

auto pod_key(const config::Pod& p) {
  return std::tie(p.name, p.address, p.mac, p.iface, p.netns);
}

bool same_port(const config::Port& a, const config::Port& b) {
  const auto key = [](const config::Port& p) { return std::tie(p.name, p.role, p.mac, p.mtu); };
  if (key(a) != key(b) || device_key(a.device) != device_key(b.device)) return false;
  return std::equal(a.pods.begin(), a.pods.end(), b.pods.begin(), b.pods.end(),
                    [](const auto& x, const auto& y) { return pod_key(x) == pod_key(y); });
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) text.assign(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) {
    throw std::runtime_error(fmt::format("{}: {}", path, strerror(errno)));
  }
  return text;
}

Inputs read_inputs(const std::string& config_file, tls::WallTime now) {
  Inputs inputs;
  inputs.config = take(config::parse(read_file(config_file), config_file));
  const config::Config& config = inputs.config;
  if (!config.mesh_file.empty()) {
    mesh::LocalFileOptions options;
    options.file = config.mesh_file;
    options.profile = config.profile;
    options.trust_domain = config.node.trust_domain;
    options.cluster = config.node.cluster;
    inputs.model = take(mesh::read_local_file(read_file(config.mesh_file), options));
  }
  inputs.credentials = load_credentials(config, inputs.model, now);
  return inputs;
}

std::string needs_restart(const config::Config& running, const config::Config& wanted) {
  if (!std::equal(running.ports.begin(), running.ports.end(), wanted.ports.begin(),
                  wanted.ports.end(), same_port)) {
    return "ports";
  }
  const auto workers = [](const config::Workers& w) {
    return std::tie(w.idle, w.idle_after_us, w.handshake_threads);
  };
  if (workers(running.workers) != workers(wanted.workers)) return "workers";
  const auto pools = [](const config::Pools& p) { return std::tie(p.small, p.large, p.clones); };
  if (pools(running.pools) != pools(wanted.pools)) return "pools";
  const auto limits = [](const config::Limits& l) {
    const config::WorkloadLimits& each = l.per_workload;
    return std::tie(l.flows, l.tunnels, l.streams_per_tunnel, l.pending_handshakes,
                    l.records_per_key, each.flows, each.pending_tunnels, each.held_syns,
                    each.handshakes_per_second, each.pending_handshakes, each.bytes_in_flight);
  };
  if (limits(running.limits) != limits(wanted.limits)) return "limits";
  if (running.profile != wanted.profile) return "profile";
  if (running.console.socket != wanted.console.socket) return "console.socket";
  return "";
}

}  // namespace isthmus::app
