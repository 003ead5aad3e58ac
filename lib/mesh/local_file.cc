// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/local_file.h"

#include <set>
#include <tuple>

#include "mesh/identity.h"
#include "mesh/local_file_fields.h"
#include "yaml/values.h"

namespace isthmus::mesh {

namespace {

using yaml::Failure;
using yaml::Field;
using yaml::Node;
using enum yaml::Presence;

// The file's three lists; read one by one so that a refusal can point at what it refuses.
struct Sections {
  const Node* workloads = nullptr;
  const Node* services = nullptr;
  const Node* policies = nullptr;
};

constexpr Field<Sections> kSections[] = {
    {"workloads", optional, [](const Node& n, Sections& s) { s.workloads = &n; },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Workload>(workload_fields(), path, keys);
     },
     true},
    {"services", optional, [](const Node& n, Sections& s) { s.services = &n; },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Service>(service_fields(), path, keys);
     },
     true},
    {"policies", optional, [](const Node& n, Sections& s) { s.policies = &n; },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Authorization>(policy_fields(), path, keys);
     },
     true},
};

class Reader {
 public:
  explicit Reader(const LocalFileOptions& options) : options_(options) {}

  Model read(const Node& root) {
    Sections sections;
    yaml::read_map<Sections>(root, kSections, sections);
    for (const Node& node : elements(sections.services)) add_service(node);
    for (const Node& node : elements(sections.workloads)) add_workload(node);
    for (const Node& node : elements(sections.policies)) add_policy(node);
    check_endpoints(elements(sections.services));
    check_waypoints(elements(sections.workloads), elements(sections.services));
    return std::move(model_);
  }

 private:
  static std::span<const Node> elements(const Node* section) {
    return section == nullptr ? std::span<const Node>() : yaml::sequence(*section);
  }

  void add_workload(const Node& node) {
    Workload workload;
    workload.trust_domain = options_.trust_domain;
    workload.cluster_id = options_.cluster;
    yaml::read_map<Workload>(node, workload_fields(), workload);
    if (workload.trust_domain.empty()) workload.trust_domain = options_.trust_domain;
    if (workload.service_account.empty()) workload.service_account = "default";
    if (workload.cluster_id.empty()) workload.cluster_id = options_.cluster;
    if (workload.uid.empty() && workload.name.empty())
      throw Failure(node, "has no uid and no name");
    if (workload.uid.empty()) workload.uid = workload.namespace_ + "/" + workload.name;
    if (!uids_.insert(workload.uid).second) {
      throw Failure(node, fmt::format("a second workload with the uid {}", workload.uid));
    }
    if (!Identity::parse(workload.identity())) {
      throw Failure(node, fmt::format("{} is no SPIFFE id of Istio's form", workload.identity()));
    }
    for (const auto& address : workload.addresses) {
      const bool shared = workload.network_mode == NetworkMode::host_network;
      if (!shared && !addresses_.emplace(workload.network, address).second) {
        throw Failure(node,
                      fmt::format("a second workload with the address {}", address.to_string()));
      }
    }
    for (const auto& [name, ports] : workload.services) {
      if (!services_.contains(name)) {
        throw Failure(node,
                      fmt::format("serves {}, which is no service of this file", name.to_string()));
      }
    }
    if (!workload.hostname.empty()) hostnames_.insert({workload.namespace_, workload.hostname});
    model_.workloads.push_back(std::move(workload));
  }

  void add_service(const Node& node) {
    Service service;
    yaml::read_map<Service>(node, service_fields(), service);
    const NamespacedHostname name{service.namespace_, service.hostname};
    if (!services_.insert(name).second) {
      throw Failure(node, fmt::format("a second service {}", name.to_string()));
    }
    for (const auto& vip : service.addresses) {
      vips_.emplace(vip.network, vip.address);
      if (!vips_of_namespace_.emplace(service.namespace_, vip.network, vip.address).second) {
        throw Failure(node, fmt::format("a second service of {} with the address {}",
                                        service.namespace_, vip.address.to_string()));
      }
    }
    model_.services.push_back(std::move(service));
  }

  void add_policy(const Node& node) {
    Authorization policy;
    yaml::read_map<Authorization>(node, policy_fields(), policy);
    if (!policies_.insert(policy.key()).second) {
      throw Failure(node, fmt::format("a second policy {}", policy.key()));
    }
    if (options_.profile == Profile::v1_18) check_1_18(node, policy);
    model_.policies.push_back(std::move(policy));
  }

  // Istio 1.18's Match has no service accounts: it would not see them, and match more.
  static void check_1_18(const Node& node, const Authorization& policy) {
    for (const Rule& rule : policy.rules) {
      for (const Clause& clause : rule.clauses) {
        for (const Match& match : clause.matches) {
          if (!match.service_accounts.empty() || !match.not_service_accounts.empty()) {
            throw Failure(node, "serviceAccounts needs profile head: 1.18 does not know it");
          }
        }
      }
    }
  }

  void check_endpoints(std::span<const Node> nodes) const {
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const auto& endpoint : model_.services[i].endpoints) {
        if (uids_.contains(endpoint.workload_uid)) continue;
        throw Failure(nodes[i], fmt::format("endpoint {} is no workload of this file",
                                            endpoint.workload_uid));
      }
    }
  }

  void check_waypoint(const Node& node, const GatewayAddress& waypoint) const {
    if (const auto* host = std::get_if<NamespacedHostname>(&waypoint.destination)) {
      if (services_.contains(*host) || hostnames_.contains(*host)) return;
      throw Failure(node, fmt::format("waypoint {} is no service or workload of this file",
                                      host->to_string()));
    }
    const auto& at = std::get<NetworkAddress>(waypoint.destination);
    const std::pair key(at.network, at.address);
    if (addresses_.contains(key) || vips_.contains(key)) return;
    throw Failure(node, fmt::format("waypoint {} is no service or workload of this file",
                                    at.address.to_string()));
  }

  void check_waypoints(std::span<const Node> workloads, std::span<const Node> services) const {
    for (size_t i = 0; i < workloads.size(); ++i) {
      const auto& waypoint = model_.workloads[i].waypoint;
      if (waypoint) check_waypoint(workloads[i], *waypoint);
    }
    for (size_t i = 0; i < services.size(); ++i) {
      const Service& service = model_.services[i];
      if (service.waypoint) check_waypoint(services[i], *service.waypoint);
      for (const auto& weighted : service.weighted_waypoints) {
        check_waypoint(services[i], weighted.destination);
      }
    }
  }

  const LocalFileOptions& options_;
  Model model_;
  std::set<std::string> uids_;
  std::set<std::pair<std::string, packet::IpAddress>> addresses_;
  std::set<std::pair<std::string, packet::IpAddress>> vips_;
  std::set<std::tuple<std::string, std::string, packet::IpAddress>> vips_of_namespace_;
  std::set<NamespacedHostname> services_;
  std::set<NamespacedHostname> hostnames_;
  std::set<std::string> policies_;
};

}  // namespace

std::variant<Model, yaml::Error> read_local_file(std::string_view text,
                                                 const LocalFileOptions& options) {
  try {
    return Reader(options).read(yaml::parse(text));
  } catch (Failure& failure) {
    failure.error.file = options.file;
    return failure.error;
  }
}

std::vector<std::string> local_file_keys() {
  std::vector<std::string> keys;
  yaml::list_keys<Sections>(kSections, "", keys);
  return keys;
}

}  // namespace isthmus::mesh
