// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "plan_builder.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <random>
#include <stdexcept>

namespace isthmus::app {
namespace {

gateway::Interface interface_of(const OpenPort& port, uint16_t number, const config::Port& config) {
  const drivers::PortInfo& info = port.device->info();
  gateway::Interface interface;
  interface.name = config.name;
  interface.role = config.role;
  std::memcpy(interface.mac.bytes.data(), info.mac.addr_bytes, interface.mac.bytes.size());
  if (config.mac) interface.mac = *config.mac;  // a net_ring device has none of its own
  for (const auto& address : config.addresses) interface.addresses.push_back(address.address);
  interface.mtu = config.mtu;
  interface.can_checksum = info.tx_ip_checksum && info.tx_tcp_checksum && info.tx_udp_checksum;
  interface.can_segment = interface.can_checksum && info.tx_tso && info.tx_segments;
  if (number < config.pods.size()) {
    const config::Pod& pod = config.pods[number];
    interface.name = pod.name;
    interface.pod_address = pod.address;
    if (pod.mac) {
      interface.pod_mac = *pod.mac;
      interface.neighbours.emplace_back(pod.address, *pod.mac);
    }
  }
  return interface;
}

// Our own address on the interface, of the family of the prefix.
packet::IpAddress source_on(const gateway::Interface& interface, const packet::Prefix& prefix) {
  const auto found = std::find_if(
      interface.addresses.begin(), interface.addresses.end(),
      [&prefix](const auto& address) { return address.is_v4() == prefix.address.is_v4(); });
  return found == interface.addresses.end() ? packet::IpAddress() : *found;
}

class RouteList {
 public:
  explicit RouteList(const gateway::Plan& plan) : plan_(plan) {}

  // The first that is said of a prefix holds: configured routes go before those that follow from
  // addresses.
  void add(const packet::Prefix& prefix, uint16_t interface, const packet::IpAddress& via = {}) {
    const bool known = std::any_of(routes_.begin(), routes_.end(),
                                   [&prefix](const auto& route) { return route.prefix == prefix; });
    if (known) return;
    ip::Route route;
    route.prefix = prefix;
    route.port = interface;
    route.next_hop = via;
    route.source = source_on(plan_.interfaces[interface], prefix);
    routes_.push_back(route);
  }
  ip::RouteTable build() const {
    auto table = ip::RouteTable::build(routes_);
    if (!table) throw std::runtime_error("routes: a next hop is of another family than its prefix");
    return std::move(*table);
  }

 private:
  const gateway::Plan& plan_;
  std::vector<ip::Route> routes_;
};

const config::Port& configured(const config::Config& config, const std::string& name) {
  return *std::find_if(config.ports.begin(), config.ports.end(),
                       [&name](const auto& port) { return port.name == name; });
}

uint16_t interface_named(const Ports& ports, const std::string& name) {
  const auto& list = ports.list();
  return std::find_if(list.begin(), list.end(),
                      [&name](const auto& port) { return port.config->name == name; })
      ->first_interface;
}

ip::RouteTable routes_of(const config::Config& config, const Ports& ports,
                         const gateway::Plan& plan) {
  RouteList routes(plan);
  for (const auto& route : config.routes) {
    routes.add(route.prefix, interface_named(ports, route.port),
               route.via.value_or(packet::IpAddress()));
  }
  for (uint16_t i = 0; i < ports.interfaces(); ++i) {
    const gateway::Interface& interface = plan.interfaces[i];
    if (!interface.pod_address.is_unspecified()) {
      routes.add(packet::Prefix::host(interface.pod_address), i);
      continue;
    }
    for (const auto& address : configured(config, interface.name).addresses) {
      // A host prefix is our own address and leads nowhere.
      if (address.length < (address.address.is_v4() ? 32 : 128)) routes.add(address.network(), i);
    }
  }
  return routes.build();
}

// The host sends its tunnels' packets to our address on the port where it is.
geneve::EndpointConfig tunnels_of(const gateway::Plan& plan) {
  geneve::EndpointConfig tunnels;
  tunnels.hosts = plan.hosts;
  for (const auto& interface : plan.interfaces) {
    if (interface.role != capture::PortRole::node || interface.addresses.empty()) continue;
    tunnels.gateway = interface.addresses.front();
    break;
  }
  return tunnels;
}

std::vector<tls::IdentityPtr> identities_of(const mesh::Names& names,
                                            tls::IdentityTable& identities) {
  std::vector<tls::IdentityPtr> result(names.identities.size() + 1);
  for (uint32_t id = 1; id < result.size(); ++id) {
    const auto identity = tls::Identity::parse(names.identities.text(id));
    if (identity) result[id] = identities.intern(*identity);
  }
  return result;
}

std::shared_ptr<const capture::Rules> rules_of(const config::Config& config) {
  if (config.capture.rules.empty()) return nullptr;
  capture::Rules::BuildError error{};
  auto rules = capture::Rules::build(config.capture.rules, &error);
  if (rules == nullptr) {
    throw std::runtime_error(fmt::format("capture rules: {}", capture::text(error)));
  }
  return rules;
}

}  // namespace

std::unique_ptr<const gateway::Plan> build_plan(const Inputs& inputs, const Ports& ports,
                                                mesh::Names& names,
                                                tls::IdentityTable& identities) {
  const config::Config& config = inputs.config;
  auto plan = std::make_unique<gateway::Plan>();
  for (const auto& port : ports.list()) {
    const config::Port& wanted = configured(config, port.config->name);
    for (uint16_t i = 0; i < port.interfaces; ++i) {
      plan->interfaces.push_back(interface_of(port, i, wanted));
      const auto& own = plan->interfaces.back().addresses;
      plan->own_addresses.insert(plan->own_addresses.end(), own.begin(), own.end());
    }
  }
  for (const auto& neighbour : config.neighbours) {
    plan->interfaces[interface_named(ports, neighbour.port)].neighbours.emplace_back(
        neighbour.address, neighbour.mac);
  }
  plan->routes = routes_of(config, ports, *plan);
  plan->hosts = config.node.hosts;
  plan->tunnels = geneve::TunnelEndpoints(tunnels_of(*plan));
  plan->profile = config.profile;
  plan->plaintext_past_waypoint = config.capture.plaintext_past_waypoint;
  plan->mesh = mesh::Snapshot::build(
      inputs.model, {config.node.name, config.node.network, std::random_device{}()}, names);
  plan->rules = rules_of(config);
  plan->trust = inputs.credentials->trust();
  plan->identities = identities_of(names, identities);
  return plan;
}

}  // namespace isthmus::app
