// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What no single key can say about itself: references, uniqueness, limits over the whole.
#include <algorithm>
#include <set>
#include <string>

#include "config/fields.h"

namespace isthmus::config {

namespace {

using capture::PortRole;
using yaml::Failure;

class Checker {
 public:
  explicit Checker(const Document& document) : config_(document.config), places_(document.places) {}

  void run() {
    check_ports();
    check_pods();
    check_node();
    for (size_t i = 0; i < config_.routes.size(); ++i) {
      check_route(places_.routes->items[i], config_.routes[i]);
    }
    for (size_t i = 0; i < config_.neighbours.size(); ++i) {
      check_neighbour(places_.neighbours->items[i], config_.neighbours[i]);
    }
    for (size_t i = 0; i < config_.capture.rules.size(); ++i) {
      check_rule(places_.rules->items[i], config_.capture.rules[i]);
    }
    if (config_.capture.rules.size() > capture::Rules::kMaxRules) {
      throw Failure(*places_.rules, text(capture::Rules::BuildError::too_many));
    }
    check_identity();
  }

 private:
  const yaml::Node& port_place(size_t i) const { return places_.ports->items[i]; }
  bool has_role(PortRole role) const {
    return std::any_of(config_.ports.begin(), config_.ports.end(),
                       [&](const Port& port) { return port.role == role; });
  }
  const Port* find_port(const std::string& name) const {
    for (const Port& port : config_.ports) {
      if (port.name == name) return &port;
    }
    return nullptr;
  }

  void check_ports() {
    if (config_.ports.empty()) throw Failure(*places_.ports, "there are no ports");
    if (config_.ports.size() > kMaxPorts) {
      throw Failure(port_place(kMaxPorts), fmt::format("more than {} ports", kMaxPorts));
    }
    unsigned virtio_user = 0;
    for (size_t i = 0; i < config_.ports.size(); ++i) {
      const Port& port = config_.ports[i];
      const yaml::Node& place = port_place(i);
      if (!port_names_.insert(port.name).second) {
        throw Failure(place, fmt::format("a second port with the name {}", port.name));
      }
      if (port.device.driver == Driver::virtio_user && ++virtio_user > kMaxVirtioUserPorts) {
        throw Failure(
            place, fmt::format("more than {} ports with driver virtio_user", kMaxVirtioUserPorts));
      }
      check_device_place(place, port);
      for (const auto& own : port.addresses) {
        if (!own_addresses_.insert(own.address).second) {
          throw Failure(place,
                        fmt::format("a second port with the address {}", own.address.to_string()));
        }
      }
    }
  }

  // One kernel interface cannot be two ports; a vtap of pods has its interfaces with the pods.
  void check_device_place(const yaml::Node& place, const Port& port) {
    if (port.device.driver != Driver::vtap) return;
    if (port.role == PortRole::pod) {
      if (!port.device.iface.empty() || !port.device.netns.empty()) {
        throw Failure(place, "iface and netns of a vtap of role pod stand with its pods");
      }
      return;
    }
    if (port.device.iface.empty()) throw Failure(place, "device.iface is missing");
    add_interface(place, port.device.netns, port.device.iface);
  }

  void add_interface(const yaml::Node& place, const std::string& netns, const std::string& iface) {
    if (!interfaces_.emplace(netns, iface).second) {
      throw Failure(place, fmt::format("a second port on the interface {}", iface));
    }
  }

  void check_pods() {
    for (size_t i = 0; i < config_.ports.size(); ++i) {
      const Port& port = config_.ports[i];
      const yaml::Node& place = port_place(i);
      if (port.role != PortRole::pod) {
        if (!port.pods.empty()) throw Failure(place, "pods go with role pod only");
        continue;
      }
      if (port.pods.empty()) throw Failure(place, "a port of role pod needs its pods");
      if (port.pods.size() > kMaxPodsPerPort) {
        throw Failure(place, fmt::format("more than {} pods on one port", kMaxPodsPerPort));
      }
      const bool vtap = port.device.driver == Driver::vtap;
      if (!vtap && port.pods.size() != 1) {
        throw Failure(place, "only a vtap serves more than one pod");
      }
      for (const Pod& pod : port.pods) check_pod(place, pod, vtap);
    }
  }

  void check_pod(const yaml::Node& place, const Pod& pod, bool vtap) {
    if (pod.address.is_unspecified() || pod.address.is_multicast() || pod.address.is_loopback()) {
      throw Failure(place, fmt::format("{} can be no pod's address", pod.address.to_string()));
    }
    if (!pods_.insert(pod.address).second) {
      throw Failure(place,
                    fmt::format("a second pod with the address {}", pod.address.to_string()));
    }
    if (own_addresses_.contains(pod.address)) {
      throw Failure(place,
                    fmt::format("{} is an address of the gateway itself", pod.address.to_string()));
    }
    if (vtap && pod.netns.empty()) {
      throw Failure(place, fmt::format("pod {} needs its netns", pod.name));
    }
    if (!vtap && !pod.netns.empty()) {
      throw Failure(place, fmt::format("pod {}: netns goes with driver vtap only", pod.name));
    }
    if (vtap) add_interface(place, pod.netns, pod.iface);
  }

  void check_node() {
    const bool needs_hosts = has_role(PortRole::node) || has_role(PortRole::host);
    if (needs_hosts && config_.node.hosts.empty()) {
      throw Failure(*places_.root, "node.hosts is missing: ports of role node and host need it");
    }
    std::set<packet::IpAddress> seen;
    for (const auto& host : config_.node.hosts) {
      if (!seen.insert(host).second) {
        throw Failure(*places_.root, fmt::format("node.hosts names {} twice", host.to_string()));
      }
      if (own_addresses_.contains(host)) {
        throw Failure(
            *places_.root,
            fmt::format("node.hosts: {} is an address of the gateway itself", host.to_string()));
      }
    }
    for (size_t i = 0; i < config_.ports.size(); ++i) {
      const Port& port = config_.ports[i];
      if (port.role == PortRole::node && port.addresses.empty()) {
        throw Failure(port_place(i), "a port of role node needs an address: Geneve is sent to it");
      }
    }
  }

  // By an address of the port, or by a route without via: a /32 may be its own link.
  bool on_link(const packet::IpAddress& via, const Port& port) const {
    const auto& own = port.addresses;
    const auto& routes = config_.routes;
    return std::any_of(own.begin(), own.end(),
                       [&](const InterfaceAddress& a) { return a.network().contains(via); }) ||
           std::any_of(routes.begin(), routes.end(), [&](const Route& route) {
             return !route.via && route.port == port.name && route.prefix.contains(via);
           });
  }

  void check_route(const yaml::Node& place, const Route& route) {
    const Port* port = find_port(route.port);
    if (port == nullptr) throw Failure(place, fmt::format("there is no port {}", route.port));
    if (port->role == PortRole::pod) {
      throw Failure(place, "pods are reached by their own addresses, not by routes");
    }
    if (!routes_.insert(route.prefix).second) {
      throw Failure(place, fmt::format("a second route for {}", route.prefix.to_string()));
    }
    if (!route.via) return;
    if (route.via->is_v4() != route.prefix.address.is_v4()) {
      throw Failure(place, "prefix and via are of different families");
    }
    if (!on_link(*route.via, *port)) {
      throw Failure(
          place, fmt::format("{} is on no network of port {}", route.via->to_string(), route.port));
    }
  }

  void check_neighbour(const yaml::Node& place, const Neighbour& neighbour) {
    if (find_port(neighbour.port) == nullptr) {
      throw Failure(place, fmt::format("there is no port {}", neighbour.port));
    }
    if (neighbour.mac.is_multicast()) throw Failure(place, "the MAC address is a group's");
    if (!neighbours_.emplace(neighbour.port, neighbour.address).second) {
      throw Failure(place, fmt::format("a second neighbour {} on port {}",
                                       neighbour.address.to_string(), neighbour.port));
    }
  }

  static void check_rule(const yaml::Node& place, const capture::Rule& rule) {
    if (rule.source && rule.destination &&
        rule.source->address.is_v4() != rule.destination->address.is_v4()) {
      throw Failure(place, text(capture::Rules::BuildError::mixed_families));
    }
  }

  void check_identity() {
    const Identity& identity = config_.identity;
    if (identity.pem_dir.empty() != identity.test_ca.has_value()) {
      throw Failure(*places_.root, "identity needs one of pem_dir and test_ca");
    }
    const auto& aliases = config_.node.trust_domain_aliases;
    if (std::find(aliases.begin(), aliases.end(), config_.node.trust_domain) != aliases.end()) {
      throw Failure(*places_.root, "node.trust_domain_aliases names the trust domain itself");
    }
  }

  const Config& config_;
  const Places& places_;
  std::set<std::string> port_names_;
  std::set<packet::IpAddress> own_addresses_;
  std::set<packet::IpAddress> pods_;
  std::set<std::pair<std::string, std::string>> interfaces_;
  std::set<packet::Prefix> routes_;
  std::set<std::pair<std::string, packet::IpAddress>> neighbours_;
};

}  // namespace

void check(const Document& document) {
  Checker(document).run();
}

}  // namespace isthmus::config
