// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mesh as the control plane describes it: today's istio.workload (Address) and istio.security
// (Authorization) messages in C++ types. Field names are the protos'; the numbers in the comments
// are the protos' field numbers. Sources fill it (local_file.h, later XDS), Snapshot reads it.
//
// Istio 1.18's messages map onto it: Workload.address is one of addresses, protocol HTTP is
// TunnelProtocol::hbone, native_hbone is native_tunnel, virtual_ips become Services with the
// workload as their endpoint, waypoint_addresses become waypoint, Authorization.groups are rules.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "packet/address.h"

namespace isthmus::mesh {

// Which Istio the gateway behaves as where the two differ (docs/configuration.md has the table).
enum class Profile : uint8_t { v1_18, head };

// workload.proto: NetworkAddress. An empty network is the network of this cluster's mesh.
struct NetworkAddress {
  std::string network;        // 1
  packet::IpAddress address;  // 2
  friend bool operator==(const NetworkAddress&, const NetworkAddress&) = default;
};

// NetworkAddress with its length (3): a block of virtual addresses.
struct NetworkCidr {
  std::string network;
  packet::Prefix prefix;
  friend bool operator==(const NetworkCidr&, const NetworkCidr&) = default;
};

struct NamespacedHostname {
  std::string namespace_;  // 1
  std::string hostname;    // 2
  friend auto operator<=>(const NamespacedHostname&, const NamespacedHostname&) = default;
  std::string to_string() const { return namespace_ + "/" + hostname; }
};

// Where a waypoint or a network gateway is reached: by hostname (1) or address (2).
struct GatewayAddress {
  std::variant<NetworkAddress, NamespacedHostname> destination;
  uint16_t hbone_mtls_port = 15008;  // 3
  friend bool operator==(const GatewayAddress&, const GatewayAddress&) = default;
};

// PortList: service port to target port. A target of 0 names no number: the endpoint has it.
using PortMap = std::map<uint16_t, uint16_t>;

enum class TunnelProtocol : uint8_t { none = 0, hbone = 1 };
enum class NetworkMode : uint8_t { standard = 0, host_network = 1 };
enum class WorkloadStatus : uint8_t { healthy = 0, unhealthy = 1 };

struct ApplicationTunnel {
  enum class Protocol : uint8_t { none = 0, proxy = 1 };
  Protocol protocol = Protocol::none;  // 1
  uint16_t port = 0;                   // 2; 0: the port of the request
  friend bool operator==(const ApplicationTunnel&, const ApplicationTunnel&) = default;
};

struct Locality {
  std::string region;   // 1
  std::string zone;     // 2
  std::string subzone;  // 3
  friend bool operator==(const Locality&, const Locality&) = default;
};

struct Workload {
  std::string name;                                       // 1
  std::string namespace_;                                 // 2
  std::vector<packet::IpAddress> addresses;               // 3
  std::string network;                                    // 4
  TunnelProtocol tunnel_protocol = TunnelProtocol::none;  // 5
  std::string trust_domain = "cluster.local";             // 6
  std::string service_account = "default";                // 7
  std::optional<GatewayAddress> waypoint;                 // 8
  std::string node;                                       // 9
  std::string canonical_name;                             // 10
  std::string canonical_revision;                         // 11
  std::string workload_type = "pod";                      // 12: deployment, cronjob, pod, job
  std::string workload_name;                              // 13
  bool native_tunnel = false;                             // 14: speaks HBONE itself (sidecar)
  std::vector<std::string> authorization_policies;        // 16: "namespace/name"
  WorkloadStatus status = WorkloadStatus::healthy;        // 17
  std::string cluster_id = "Kubernetes";                  // 18
  std::optional<GatewayAddress> network_gateway;          // 19
  std::string uid;                                        // 20: unique
  std::string hostname;                                   // 21
  std::map<NamespacedHostname, PortMap> services;         // 22
  std::optional<ApplicationTunnel> application_tunnel;    // 23
  Locality locality;                                      // 24
  NetworkMode network_mode = NetworkMode::standard;       // 25
  uint32_t capacity = 1;                                  // 27: weight among endpoints

  std::string identity() const;  // its SPIFFE id
};

struct LoadBalancing {
  enum class Scope : uint8_t { region = 1, zone, subzone, node, cluster, network };
  enum class Mode : uint8_t { unspecified = 0, strict = 1, failover = 2, passthrough = 3 };
  enum class HealthPolicy : uint8_t { only_healthy = 0, allow_all = 1 };
  std::vector<Scope> routing_preference;                    // 1
  Mode mode = Mode::unspecified;                            // 2
  HealthPolicy health_policy = HealthPolicy::only_healthy;  // 3
};

struct WeightedWaypoint {
  GatewayAddress destination;  // 1
  uint32_t weight = 0;         // 2
};

enum class IpFamilies : uint8_t { automatic = 0, ipv4_only = 1, ipv6_only = 2, dual = 3 };
enum class Visibility : uint8_t { public_ = 0, namespace_ = 1 };

// An endpoint that a source names in the service itself; most come from Workload::services.
struct ServiceEndpoint {
  std::string workload_uid;
  PortMap port;
  WorkloadStatus status = WorkloadStatus::healthy;
};

struct Service {
  std::string name;                                  // 1
  std::string namespace_;                            // 2
  std::string hostname;                              // 3: unique within the namespace
  std::vector<NetworkAddress> addresses;             // 4, length 0: one virtual address each
  std::vector<NetworkCidr> cidr_addresses;           // 4 with a length
  PortMap ports;                                     // 5
  std::vector<std::string> subject_alt_names;        // 6: SPIFFE ids, at most kMaxServiceSans
  std::optional<GatewayAddress> waypoint;            // 7
  LoadBalancing load_balancing;                      // 8
  IpFamilies ip_families = IpFamilies::automatic;    // 9
  bool canonical = false;                            // 11
  std::vector<WeightedWaypoint> weighted_waypoints;  // 13
  Visibility visibility = Visibility::public_;       // 14
  std::vector<ServiceEndpoint> endpoints;
};

// A peer must prove one of its workload's identity and its service's names; a pool's key holds them
// all, so their number has a limit.
inline constexpr size_t kMaxServiceSans = 7;

// authorization.proto: StringMatch.
struct StringMatch {
  enum class Type : uint8_t { exact = 1, prefix = 2, suffix = 3, presence = 4 };
  Type type = Type::exact;
  std::string value;  // unused with presence

  // Presence means "is not empty".
  bool matches(std::string_view text) const noexcept;
};

// authorization.proto: ServiceAccountMatch. The trust domain does not matter. Head only.
struct ServiceAccountMatch {
  std::string namespace_;       // 1
  std::string service_account;  // 2
};

// authorization.proto: Match. Every field that is present must match; one value of a field is
// enough; none of a not_ field may match. Ports and addresses are those of the pod, not of a VIP.
struct Match {
  std::vector<StringMatch> namespaces;                    // 1
  std::vector<StringMatch> not_namespaces;                // 2
  std::vector<StringMatch> principals;                    // 3: without "spiffe://"
  std::vector<StringMatch> not_principals;                // 4
  std::vector<packet::Prefix> source_ips;                 // 5
  std::vector<packet::Prefix> not_source_ips;             // 6
  std::vector<packet::Prefix> destination_ips;            // 7
  std::vector<packet::Prefix> not_destination_ips;        // 8
  std::vector<uint16_t> destination_ports;                // 9
  std::vector<uint16_t> not_destination_ports;            // 10
  std::vector<ServiceAccountMatch> service_accounts;      // 11
  std::vector<ServiceAccountMatch> not_service_accounts;  // 12

  bool empty() const noexcept;
};

// from, to or one "when" of a rule: any of its matches (head), all of them (1.18).
struct Clause {
  std::vector<Match> matches;  // 2
};

// All of its clauses.
struct Rule {
  std::vector<Clause> clauses;  // 2
};

struct Authorization {
  enum class Scope : uint8_t { global = 0, namespace_ = 1, workload_selector = 2 };
  enum class Action : uint8_t { allow = 0, deny = 1 };
  std::string name;               // 1
  std::string namespace_;         // 2
  Scope scope = Scope::global;    // 3
  Action action = Action::allow;  // 4
  std::vector<Rule> rules;        // 5: any of them
  bool dry_run = false;           // 6: reported, never enforced

  std::string key() const { return namespace_ + "/" + name; }
};

struct Model {
  std::vector<Workload> workloads;
  std::vector<Service> services;
  std::vector<Authorization> policies;
};

}  // namespace isthmus::mesh
