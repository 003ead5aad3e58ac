// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/snapshot_builder.h"

#include <algorithm>

namespace isthmus::mesh {

namespace {

// Among workloads of one address: a Pod is what is truly behind it, and one in the mesh says more.
int address_rank(const Workload& workload) {
  const bool is_pod = workload.uid.find("//Pod/") != std::string::npos;
  return (is_pod ? 2 : 0) + (workload.tunnel_protocol == TunnelProtocol::hbone ? 1 : 0);
}

}  // namespace

SnapshotBuilder::SnapshotBuilder(Model model, const SnapshotOptions& options, Names& names)
    : snapshot_(new Snapshot), names_(names) {
  snapshot_->options_ = options;
  snapshot_->model_ = std::move(model);
}

std::shared_ptr<const Snapshot> SnapshotBuilder::build() {
  index_policies();
  add_workloads();
  add_services();
  add_endpoints();
  index_workload_addresses();
  index_service_addresses();
  copy_names();
  return std::move(snapshot_);
}

void SnapshotBuilder::index_policies() {
  for (const Authorization& policy : snapshot_->model_.policies) {
    if (!policy_by_key_.emplace(policy.key(), &policy).second) continue;
    if (policy.scope == Authorization::Scope::namespace_) {
      policies_by_namespace_[policy.namespace_].push_back(&policy);
    } else if (policy.scope == Authorization::Scope::global) {
      policies_by_namespace_[""].push_back(&policy);
    }
  }
}

void SnapshotBuilder::add_policy(PolicySet& set, const Authorization& policy) {
  auto& list = policy.action == Authorization::Action::deny ? set.deny : set.allow;
  list.push_back({&policy, names_.names.intern(policy.key())});
}

// Workloads of one namespace with the same list share one set.
const PolicySet* SnapshotBuilder::policies_of(const Workload& workload) {
  std::string key = workload.namespace_;
  for (const auto& name : workload.authorization_policies) key.append(1, '\n').append(name);
  const auto [at, is_new] = policy_set_by_key_.emplace(std::move(key), nullptr);
  if (!is_new) return at->second;

  auto set = std::make_unique<PolicySet>();
  for (const std::string_view scope : {std::string_view(workload.namespace_), std::string_view()}) {
    const auto found = policies_by_namespace_.find(scope);
    if (found == policies_by_namespace_.end()) continue;
    for (const Authorization* policy : found->second) add_policy(*set, *policy);
  }
  for (const auto& name : workload.authorization_policies) {
    if (const auto found = policy_by_key_.find(name); found != policy_by_key_.end()) {
      add_policy(*set, *found->second);
    } else if (set->missing == kNoName) {
      set->missing = names_.names.intern(name);
    }
  }
  at->second = set.get();
  snapshot_->policy_sets_.push_back(std::move(set));
  return at->second;
}

void SnapshotBuilder::add_workloads() {
  const std::string& node = snapshot_->options_.node;
  snapshot_->workloads_.reserve(snapshot_->model_.workloads.size());
  for (const Workload& workload : snapshot_->model_.workloads) {
    WorkloadEntry entry;
    entry.workload = &workload;
    entry.identity = names_.identities.intern(workload.identity());
    entry.policies = policies_of(workload);
    entry.local = !node.empty() && workload.node == node;
    entry.local_ambient = entry.local && workload.tunnel_protocol == TunnelProtocol::hbone &&
                          !workload.native_tunnel && workload.network_mode == NetworkMode::standard;
    snapshot_->workloads_.push_back(std::move(entry));
  }
  for (WorkloadEntry& entry : snapshot_->workloads_) {
    workload_by_uid_.emplace(entry.workload->uid, &entry);
    if (entry.local) snapshot_->local_.push_back(&entry);
    if (!entry.workload->hostname.empty()) {
      snapshot_->workloads_by_hostname_[entry.workload->hostname].push_back(&entry);
    }
  }
}

void SnapshotBuilder::add_services() {
  snapshot_->services_.reserve(snapshot_->model_.services.size());
  for (const Service& service : snapshot_->model_.services) {
    const NamespacedHostname key{service.namespace_, service.hostname};
    if (service_by_name_.contains(key)) continue;
    ServiceEntry& entry = snapshot_->services_.emplace_back();
    entry.service = &service;
    entry.name = names_.names.intern(key.to_string());
    for (const auto& san : service.subject_alt_names) {
      entry.subject_alt_names.push_back(names_.identities.intern(san));
    }
    service_by_name_.emplace(key, &entry);
    snapshot_->services_by_hostname_[service.hostname].push_back(&entry);
  }
}

void SnapshotBuilder::add_endpoint(ServiceEntry& service, const WorkloadEntry& workload,
                                   const PortMap& ports, WorkloadStatus status) {
  auto& identities = service.endpoint_identities;
  if (std::find(identities.begin(), identities.end(), workload.identity) == identities.end()) {
    identities.push_back(workload.identity);
  }
  const bool healthy = status == WorkloadStatus::healthy;
  const bool accepts_all =
      service.service->load_balancing.health_policy == LoadBalancing::HealthPolicy::allow_all;
  if (healthy || accepts_all) service.endpoints.push_back({&workload, &ports, healthy});
}

void SnapshotBuilder::add_endpoints() {
  for (WorkloadEntry& entry : snapshot_->workloads_) {
    for (const auto& [name, ports] : entry.workload->services) {
      const auto found = service_by_name_.find(name);
      if (found == service_by_name_.end()) continue;
      entry.services.push_back(found->second);
      add_endpoint(*found->second, entry, ports, entry.workload->status);
    }
  }
  for (ServiceEntry& entry : snapshot_->services_) {
    for (const ServiceEndpoint& endpoint : entry.service->endpoints) {
      const auto found = workload_by_uid_.find(endpoint.workload_uid);
      if (found == workload_by_uid_.end()) continue;
      found->second->services.push_back(&entry);
      add_endpoint(entry, *found->second, endpoint.port, endpoint.status);
    }
  }
}

void SnapshotBuilder::index_workload_addresses() {
  size_t count = 0;
  for (const auto& entry : snapshot_->workloads_) count += entry.workload->addresses.size();
  auto& table = snapshot_->workload_by_address_;
  table = AddressTable<uint32_t>(count, snapshot_->options_.seed);
  for (uint32_t i = 0; i < snapshot_->workloads_.size(); ++i) {
    const Workload& workload = *snapshot_->workloads_[i].workload;
    if (workload.network != snapshot_->options_.network ||
        workload.network_mode == NetworkMode::host_network) {
      continue;
    }
    for (const auto& address : workload.addresses) {
      if (table.insert(address, i)) continue;
      uint32_t& holder = *table.find(address);
      if (address_rank(workload) > address_rank(*snapshot_->workloads_[holder].workload)) {
        holder = i;
      }
    }
  }
}

void SnapshotBuilder::index_service_addresses() {
  std::map<packet::IpAddress, std::vector<const ServiceEntry*>> by_vip;
  for (const ServiceEntry& entry : snapshot_->services_) {
    for (const auto& vip : entry.service->addresses) {
      if (vip.network == snapshot_->options_.network) by_vip[vip.address].push_back(&entry);
    }
    for (const auto& block : entry.service->cidr_addresses) {
      if (block.network == snapshot_->options_.network) {
        snapshot_->cidr_services_.push_back({block.prefix, &entry});
      }
    }
  }
  auto& table = snapshot_->services_by_vip_;
  table = AddressTable<Snapshot::Range>(by_vip.size(), snapshot_->options_.seed);
  for (const auto& [vip, entries] : by_vip) {
    auto& all = snapshot_->vip_services_;
    table.insert(vip, {static_cast<uint32_t>(all.size()), static_cast<uint32_t>(entries.size())});
    all.insert(all.end(), entries.begin(), entries.end());
  }
}

void SnapshotBuilder::copy_names() {
  const auto copy = [](const Interner& from, std::vector<std::string_view>& to) {
    to.reserve(from.size() + 1);
    for (uint32_t id = 0; id <= from.size(); ++id) to.push_back(from.text(id));
  };
  copy(names_.identities, snapshot_->identities_);
  copy(names_.names, snapshot_->names_);
  for (IdentityId id = 1; id < snapshot_->identities_.size(); ++id) {
    snapshot_->identity_ids_.emplace(snapshot_->identities_[id], id);
  }
}

std::shared_ptr<const Snapshot> Snapshot::build(Model model, const SnapshotOptions& options,
                                                Names& names) {
  return SnapshotBuilder(std::move(model), options, names).build();
}

}  // namespace isthmus::mesh
