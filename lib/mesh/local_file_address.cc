// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Workloads and services in the local file.
#include "mesh/identity.h"
#include "mesh/local_file_fields.h"
#include "yaml/values.h"

namespace isthmus::mesh {

namespace {

using yaml::Field;
using yaml::Node;
using enum yaml::Presence;

// A field whose value is a text, and may be empty.
template <auto Member, typename T>
void text_field(const Node& node, T& into) {
  into.*Member = yaml::text_or_empty(node);
}

// "NETWORK/REST", where the network may be empty.
std::pair<std::string, std::string_view> split_network(const Node& node) {
  const std::string& spelling = yaml::text(node);
  const size_t slash = spelling.find('/');
  if (slash == std::string::npos) {
    throw yaml::Failure(node, fmt::format("\"{}\" has no \"NETWORK/\" in front", spelling));
  }
  return {spelling.substr(0, slash), std::string_view(spelling).substr(slash + 1)};
}

NetworkAddress network_address(const Node& node) {
  const auto [network, rest] = split_network(node);
  if (const auto address = packet::IpAddress::parse(rest)) return {network, *address};
  throw yaml::Failure(node, fmt::format("\"{}\" is no NETWORK/ADDRESS", node.text));
}

NetworkCidr network_cidr(const Node& node) {
  const auto [network, rest] = split_network(node);
  if (const auto prefix = packet::Prefix::parse(rest)) return {network, *prefix};
  throw yaml::Failure(node, fmt::format("\"{}\" is no NETWORK/ADDRESS/LENGTH", node.text));
}

NamespacedHostname hostname(const Node& node) {
  const std::string& spelling = yaml::text(node);
  const size_t slash = spelling.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == spelling.size()) {
    throw yaml::Failure(node, fmt::format("\"{}\" is no NAMESPACE/HOSTNAME", spelling));
  }
  return {spelling.substr(0, slash), spelling.substr(slash + 1)};
}

constexpr Field<GatewayAddress> kGatewayFields[] = {
    {"destination", required,
     [](const Node& n, GatewayAddress& g) {
       // ztunnel reads an address where it can, and else a hostname.
       const size_t slash = yaml::text(n).find('/');
       const bool is_address =
           slash != std::string::npos &&
           packet::IpAddress::parse(std::string_view(n.text).substr(slash + 1)).has_value();
       if (is_address) {
         g.destination = network_address(n);
       } else {
         g.destination = hostname(n);
       }
     }},
    {"hboneMtlsPort", required,
     [](const Node& n, GatewayAddress& g) { g.hbone_mtls_port = yaml::integer<uint16_t>(n, 1); }},
};

void list_gateway_keys(const std::string& path, std::vector<std::string>& keys) {
  yaml::list_keys<GatewayAddress>(kGatewayFields, path, keys);
}

GatewayAddress gateway(const Node& node) {
  GatewayAddress address;
  yaml::read_map<GatewayAddress>(node, kGatewayFields, address);
  return address;
}

template <auto Member, typename T>
void gateway_field(const Node& node, T& into) {
  into.*Member = gateway(node);
}

// Service port to target port. ztunnel takes 0 for "named: see the endpoint".
PortMap port_map(const Node& node) {
  if (node.kind != Node::Kind::map) throw yaml::Failure(node, "expected a map of ports");
  PortMap ports;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const auto port = yaml::integer<uint16_t>(node.keys[i], 1);
    if (!ports.emplace(port, yaml::integer<uint16_t>(node.items[i])).second) {
      throw yaml::Failure(node.keys[i], "the port stands here twice");
    }
  }
  return ports;
}

WorkloadStatus status(const Node& node) {
  return yaml::one_of<WorkloadStatus>(
      node, {{"Healthy", WorkloadStatus::healthy}, {"Unhealthy", WorkloadStatus::unhealthy}});
}

constexpr Field<ApplicationTunnel> kTunnelFields[] = {
    {"protocol", required,
     [](const Node& n, ApplicationTunnel& t) {
       t.protocol = yaml::one_of<ApplicationTunnel::Protocol>(
           n, {{"NONE", ApplicationTunnel::Protocol::none},
               {"PROXY", ApplicationTunnel::Protocol::proxy}});
     }},
    {"port", optional,
     [](const Node& n, ApplicationTunnel& t) { t.port = yaml::integer<uint16_t>(n, 1); }},
};

constexpr Field<Locality> kLocalityFields[] = {
    {"region", optional, text_field<&Locality::region, Locality>},
    {"zone", optional, text_field<&Locality::zone, Locality>},
    {"subzone", optional, text_field<&Locality::subzone, Locality>},
};

constexpr Field<Workload> kWorkloadFields[] = {
    {"workloadIps", required,
     [](const Node& n, Workload& w) { w.addresses = yaml::list(n, yaml::address); }, nullptr, true},
    {"waypoint", optional, gateway_field<&Workload::waypoint, Workload>, list_gateway_keys},
    {"networkGateway", optional, gateway_field<&Workload::network_gateway, Workload>,
     list_gateway_keys},
    {"protocol", optional,
     [](const Node& n, Workload& w) {
       w.tunnel_protocol = yaml::one_of<TunnelProtocol>(
           n, {{"TCP", TunnelProtocol::none}, {"HBONE", TunnelProtocol::hbone}});
     }},
    {"networkMode", optional,
     [](const Node& n, Workload& w) {
       w.network_mode = yaml::one_of<NetworkMode>(
           n, {{"Standard", NetworkMode::standard}, {"HostNetwork", NetworkMode::host_network}});
     }},
    {"uid", optional, text_field<&Workload::uid, Workload>},
    {"name", optional, text_field<&Workload::name, Workload>},
    {"namespace", required, [](const Node& n, Workload& w) { w.namespace_ = yaml::text(n); }},
    {"trustDomain", optional, text_field<&Workload::trust_domain, Workload>},
    {"serviceAccount", optional, text_field<&Workload::service_account, Workload>},
    {"network", optional, text_field<&Workload::network, Workload>},
    {"workloadName", optional, text_field<&Workload::workload_name, Workload>},
    {"workloadType", optional, text_field<&Workload::workload_type, Workload>},
    {"canonicalName", optional, text_field<&Workload::canonical_name, Workload>},
    {"canonicalRevision", optional, text_field<&Workload::canonical_revision, Workload>},
    {"hostname", optional, text_field<&Workload::hostname, Workload>},
    {"node", optional, text_field<&Workload::node, Workload>},
    {"nativeTunnel", optional,
     [](const Node& n, Workload& w) { w.native_tunnel = yaml::boolean(n); }},
    {"applicationTunnel", optional,
     [](const Node& n, Workload& w) {
       yaml::read_map<ApplicationTunnel>(n, kTunnelFields, w.application_tunnel.emplace());
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<ApplicationTunnel>(kTunnelFields, path, keys);
     }},
    {"authorizationPolicies", optional,
     [](const Node& n, Workload& w) {
       w.authorization_policies =
           yaml::list(n, [](const Node& name) { return hostname(name).to_string(); });
     },
     nullptr, true},
    {"status", optional, [](const Node& n, Workload& w) { w.status = status(n); }},
    {"clusterId", optional, text_field<&Workload::cluster_id, Workload>},
    {"locality", optional,
     [](const Node& n, Workload& w) { yaml::read_map<Locality>(n, kLocalityFields, w.locality); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Locality>(kLocalityFields, path, keys);
     }},
    {"services", optional,
     [](const Node& n, Workload& w) {
       if (n.kind != Node::Kind::map) throw yaml::Failure(n, "expected a map of services");
       for (size_t i = 0; i < n.keys.size(); ++i) {
         w.services.emplace(hostname(n.keys[i]), port_map(n.items[i]));
       }
     }},
    {"capacity", optional,
     [](const Node& n, Workload& w) { w.capacity = yaml::integer<uint32_t>(n); }},
};

LoadBalancing::Scope scope(const Node& node) {
  using Scope = LoadBalancing::Scope;
  return yaml::one_of<Scope>(node, {{"Region", Scope::region},
                                    {"Zone", Scope::zone},
                                    {"Subzone", Scope::subzone},
                                    {"Node", Scope::node},
                                    {"Cluster", Scope::cluster},
                                    {"Network", Scope::network}});
}

constexpr Field<LoadBalancing> kBalancerFields[] = {
    {"routingPreferences", optional,
     [](const Node& n, LoadBalancing& b) { b.routing_preference = yaml::list(n, scope); }, nullptr,
     true},
    {"mode", optional,
     [](const Node& n, LoadBalancing& b) {
       using Mode = LoadBalancing::Mode;
       b.mode = yaml::one_of<Mode>(n, {{"Standard", Mode::unspecified},
                                       {"Strict", Mode::strict},
                                       {"Failover", Mode::failover},
                                       {"Passthrough", Mode::passthrough}});
     }},
    {"healthPolicy", optional,
     [](const Node& n, LoadBalancing& b) {
       using Policy = LoadBalancing::HealthPolicy;
       b.health_policy = yaml::one_of<Policy>(
           n, {{"OnlyHealthy", Policy::only_healthy}, {"AllowAll", Policy::allow_all}});
     }},
};

constexpr Field<ServiceEndpoint> kEndpointFields[] = {
    {"workloadUid", required,
     [](const Node& n, ServiceEndpoint& e) { e.workload_uid = yaml::text(n); }},
    {"port", required, [](const Node& n, ServiceEndpoint& e) { e.port = port_map(n); }},
    {"status", required, [](const Node& n, ServiceEndpoint& e) { e.status = status(n); }},
};

// Keyed by the workload's uid, which each endpoint repeats.
std::vector<ServiceEndpoint> endpoints(const Node& node) {
  if (node.kind != Node::Kind::map) throw yaml::Failure(node, "expected a map of endpoints");
  std::vector<ServiceEndpoint> out;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    ServiceEndpoint& endpoint = out.emplace_back();
    yaml::read_map<ServiceEndpoint>(node.items[i], kEndpointFields, endpoint);
    if (endpoint.workload_uid != node.keys[i].text) {
      throw yaml::Failure(node.keys[i], "is not the workloadUid inside");
    }
  }
  return out;
}

constexpr Field<WeightedWaypoint> kWeightedFields[] = {
    {"destination", required,
     [](const Node& n, WeightedWaypoint& w) { w.destination = gateway(n); }, list_gateway_keys},
    {"weight", required,
     [](const Node& n, WeightedWaypoint& w) { w.weight = yaml::integer<uint32_t>(n); }},
};

WeightedWaypoint weighted(const Node& node) {
  WeightedWaypoint waypoint;
  yaml::read_map<WeightedWaypoint>(node, kWeightedFields, waypoint);
  return waypoint;
}

void read_sans(const Node& node, Service& service) {
  service.subject_alt_names = yaml::list(node, [](const Node& san) {
    if (!Identity::parse(yaml::text(san))) {
      throw yaml::Failure(san, fmt::format("\"{}\" is no SPIFFE id of Istio's form", san.text));
    }
    return san.text;
  });
  if (service.subject_alt_names.size() > kMaxServiceSans) {
    throw yaml::Failure(node, fmt::format("has more than {} names", kMaxServiceSans));
  }
}

constexpr Field<Service> kServiceFields[] = {
    {"name", required, [](const Node& n, Service& s) { s.name = yaml::text(n); }},
    {"namespace", required, [](const Node& n, Service& s) { s.namespace_ = yaml::text(n); }},
    {"hostname", required, [](const Node& n, Service& s) { s.hostname = yaml::text(n); }},
    {"vips", required,
     [](const Node& n, Service& s) { s.addresses = yaml::list(n, network_address); }, nullptr,
     true},
    {"cidrVips", optional,
     [](const Node& n, Service& s) { s.cidr_addresses = yaml::list(n, network_cidr); }, nullptr,
     true},
    {"ports", required, [](const Node& n, Service& s) { s.ports = port_map(n); }},
    {"endpoints", optional, [](const Node& n, Service& s) { s.endpoints = endpoints(n); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<ServiceEndpoint>(kEndpointFields, path + ".UID", keys);
     }},
    {"subjectAltNames", optional, read_sans, nullptr, true},
    {"waypoint", optional, gateway_field<&Service::waypoint, Service>, list_gateway_keys},
    {"weightedWaypoints", optional,
     [](const Node& n, Service& s) { s.weighted_waypoints = yaml::list(n, weighted); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<WeightedWaypoint>(kWeightedFields, path, keys);
     },
     true},
    {"loadBalancer", optional,
     [](const Node& n, Service& s) {
       yaml::read_map<LoadBalancing>(n, kBalancerFields, s.load_balancing);
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<LoadBalancing>(kBalancerFields, path, keys);
     }},
    {"ipFamilies", optional,
     [](const Node& n, Service& s) {
       s.ip_families = yaml::one_of<IpFamilies>(n, {{"Dual", IpFamilies::dual},
                                                    {"IPv4", IpFamilies::ipv4_only},
                                                    {"IPv6", IpFamilies::ipv6_only}});
     }},
    {"canonical", optional, [](const Node& n, Service& s) { s.canonical = yaml::boolean(n); }},
    {"visibility", optional,
     [](const Node& n, Service& s) {
       s.visibility = yaml::one_of<Visibility>(
           n, {{"Public", Visibility::public_}, {"Namespace", Visibility::namespace_}});
     }},
};

}  // namespace

std::span<const Field<Workload>> workload_fields() {
  return kWorkloadFields;
}
std::span<const Field<Service>> service_fields() {
  return kServiceFields;
}

}  // namespace isthmus::mesh
