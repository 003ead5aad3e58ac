// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mesh as a worker sees it: an immutable index over a Model. Built on the control side,
// published by pointer, freed after every worker has reported quiescence. Every const member
// function is noexcept, allocates nothing and takes no lock. References, views and spans that it
// gives are good until the worker's next quiescent state; ids (identity.h) are good for ever.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mesh/address_table.h"
#include "mesh/identity.h"
#include "mesh/interner.h"
#include "mesh/model.h"
#include "packet/address.h"

namespace isthmus::mesh {

struct ServiceEntry;

// A policy that applies to a workload, in the order of evaluation.
struct PolicyRef {
  const Authorization* policy;
  NameId name;  // "namespace/name"
};

// The policies of a workload: its namespace's, the global ones and those that name it.
struct PolicySet {
  std::vector<PolicyRef> deny;
  std::vector<PolicyRef> allow;
  // A policy that the workload names and that nobody has sent; kNoName when there is none.
  NameId missing = kNoName;
};

struct WorkloadEntry {
  const Workload* workload = nullptr;
  IdentityId identity = kNoIdentity;
  const PolicySet* policies = nullptr;  // never null
  std::vector<const ServiceEntry*> services;
  // On our node, in the mesh, and not speaking HBONE itself: its traffic is ours to carry.
  bool local_ambient = false;
  bool local = false;  // on our node
};

struct EndpointEntry {
  const WorkloadEntry* workload;
  const PortMap* ports;  // service port to target port; wins over the service's. Never null.
  bool healthy;
};

struct ServiceEntry {
  const Service* service = nullptr;
  NameId name = kNoName;                 // "namespace/hostname"
  std::vector<EndpointEntry> endpoints;  // those that may be chosen: health and address seen to
  std::vector<IdentityId> subject_alt_names;
  // Of every workload behind the service, healthy or not: each once.
  std::vector<IdentityId> endpoint_identities;
};

// A next hop: a workload, the address of it to use, and the port there.
struct Upstream {
  const WorkloadEntry* workload = nullptr;
  const ServiceEntry* service = nullptr;  // null when the workload itself was addressed
  packet::Endpoint endpoint;
};

// Why there is no upstream.
enum class NoUpstream : uint8_t {
  no_port,      // the service has no such port
  no_endpoint,  // no endpoint is healthy, reachable and not excluded
  no_workload,  // the waypoint names nothing that exists
};

struct UpstreamResult {
  std::optional<Upstream> upstream;
  NoUpstream why = NoUpstream::no_endpoint;  // meaningful without an upstream
};

struct SnapshotOptions {
  std::string node;     // ours; workloads with this node are local
  std::string network;  // ours; addresses of other networks are not looked up
  uint64_t seed = 0;    // of the address tables' hash: random in production
};

class Snapshot {
 public:
  // Takes the model over. A model that breaks uniqueness is indexed by its first occurrence; the
  // sources refuse such models before.
  static std::shared_ptr<const Snapshot> build(Model model, const SnapshotOptions& options,
                                               Names& names);

  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // By address, in our network. Host-network workloads are not found by address. Where several
  // share one, a Pod wins over others, then one that speaks HBONE.
  const WorkloadEntry* find_workload(const packet::IpAddress& address) const noexcept;

  // By virtual address as a client in that namespace sees it: its own namespace's service first,
  // then a canonical one; exact addresses before blocks, longer blocks before shorter.
  const ServiceEntry* find_service(const packet::IpAddress& vip,
                                   std::string_view client_namespace) const noexcept;
  const ServiceEntry* find_service(std::string_view namespace_,
                                   std::string_view hostname) const noexcept;
  // The best service of that hostname: of this namespace, else canonical, else any.
  const ServiceEntry* find_service_by_hostname(std::string_view hostname,
                                               std::string_view preferred_namespace) const noexcept;

  // One endpoint of the service for a client, weighted by capacity among those that its load
  // balancing mode leaves (1.18: uniformly, mode not looked at). random: 64 fresh random bits.
  // tried: workload addresses that must not be chosen again. hint: the address that the client
  // asked for; its family is preferred.
  UpstreamResult choose_endpoint(Profile profile, const ServiceEntry& service, uint16_t port,
                                 const WorkloadEntry& client, const packet::IpAddress& hint,
                                 uint64_t random,
                                 std::span<const packet::IpAddress> tried = {}) const noexcept;

  // The pod that serves a waypoint, by the address or the hostname that the reference holds.
  UpstreamResult choose_waypoint(Profile profile, const GatewayAddress& waypoint,
                                 const WorkloadEntry& client, const packet::IpAddress& hint,
                                 uint64_t random,
                                 std::span<const packet::IpAddress> tried = {}) const noexcept;

  // True when the identity is that of a workload behind the waypoint reference, as a workload of
  // that namespace sees it: its own, or that of an endpoint of its service.
  bool is_waypoint_identity(const GatewayAddress& waypoint, std::string_view client_namespace,
                            std::string_view uri) const noexcept;

  IdentityId find_identity(std::string_view uri) const noexcept;  // kNoIdentity: not in the mesh
  std::string_view identity(IdentityId id) const noexcept;        // the URI; empty for 0
  std::string_view name(NameId id) const noexcept;
  std::string_view hostname(NameId service) const noexcept;  // empty for 0

  std::string_view node() const noexcept { return options_.node; }
  std::string_view network() const noexcept { return options_.network; }
  std::span<const WorkloadEntry> workloads() const noexcept { return workloads_; }
  std::span<const ServiceEntry> services() const noexcept { return services_; }
  std::span<const WorkloadEntry* const> local_workloads() const noexcept { return local_; }
  const Model& model() const noexcept { return model_; }

 private:
  friend class SnapshotBuilder;
  Snapshot() = default;

  // What a waypoint reference stands for: a service, or else a workload, or nothing.
  struct Target {
    const ServiceEntry* service = nullptr;
    const WorkloadEntry* workload = nullptr;
  };
  Target resolve(const GatewayAddress& waypoint, std::string_view client_namespace) const noexcept;
  const ServiceEntry* best_of(std::span<const ServiceEntry* const> candidates,
                              std::string_view client_namespace) const noexcept;

  struct CidrEntry {
    packet::Prefix prefix;
    const ServiceEntry* service;
  };
  struct Range {
    uint32_t first = 0;
    uint32_t count = 0;
  };

  SnapshotOptions options_;
  Model model_;
  std::vector<WorkloadEntry> workloads_;
  std::vector<ServiceEntry> services_;
  std::vector<const WorkloadEntry*> local_;
  std::vector<std::unique_ptr<PolicySet>> policy_sets_;
  AddressTable<uint32_t> workload_by_address_;  // into workloads_
  AddressTable<Range> services_by_vip_;         // into vip_services_
  std::vector<const ServiceEntry*> vip_services_;
  std::vector<CidrEntry> cidr_services_;
  std::unordered_map<std::string_view, std::vector<const ServiceEntry*>> services_by_hostname_;
  std::unordered_map<std::string_view, std::vector<const WorkloadEntry*>> workloads_by_hostname_;
  std::vector<std::string_view> identities_;  // by id
  std::vector<std::string_view> names_;       // by id
  std::unordered_map<std::string_view, IdentityId> identity_ids_;
};

}  // namespace isthmus::mesh
