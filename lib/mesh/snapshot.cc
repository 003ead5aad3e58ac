// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/snapshot.h"

#include <algorithm>
#include <tuple>

namespace isthmus::mesh {

namespace {

bool visible_to(const Service& service, std::string_view client_namespace) noexcept {
  return service.visibility == Visibility::public_ || service.namespace_ == client_namespace;
}

}  // namespace

const WorkloadEntry* Snapshot::find_workload(const packet::IpAddress& address) const noexcept {
  const uint32_t* index = workload_by_address_.find(address);
  return index == nullptr ? nullptr : &workloads_[*index];
}

const ServiceEntry* Snapshot::best_of(std::span<const ServiceEntry* const> candidates,
                                      std::string_view client_namespace) const noexcept {
  const ServiceEntry* best = nullptr;
  for (const ServiceEntry* candidate : candidates) {
    if (!visible_to(*candidate->service, client_namespace)) continue;
    if (candidate->service->namespace_ == client_namespace) return candidate;
    const bool better =
        best == nullptr || (candidate->service->canonical && !best->service->canonical);
    if (better) best = candidate;
  }
  return best;
}

const ServiceEntry* Snapshot::find_service(const packet::IpAddress& vip,
                                           std::string_view client_namespace) const noexcept {
  if (const Range* range = services_by_vip_.find(vip)) {
    const std::span candidates(vip_services_.data() + range->first, range->count);
    if (const ServiceEntry* best = best_of(candidates, client_namespace)) return best;
  }
  const CidrEntry* best = nullptr;
  const auto rank = [&](const CidrEntry& entry) {
    return std::tuple(entry.service->service->namespace_ == client_namespace, entry.prefix.length,
                      entry.service->service->canonical);
  };
  for (const CidrEntry& entry : cidr_services_) {
    if (!entry.prefix.contains(vip)) continue;
    if (!visible_to(*entry.service->service, client_namespace)) continue;
    if (best == nullptr || rank(entry) > rank(*best)) best = &entry;
  }
  return best == nullptr ? nullptr : best->service;
}

const ServiceEntry* Snapshot::find_service(std::string_view namespace_,
                                           std::string_view hostname) const noexcept {
  const auto found = services_by_hostname_.find(hostname);
  if (found == services_by_hostname_.end()) return nullptr;
  for (const ServiceEntry* entry : found->second) {
    if (entry->service->namespace_ == namespace_) return entry;
  }
  return nullptr;
}

const ServiceEntry* Snapshot::find_service_by_hostname(
    std::string_view hostname, std::string_view preferred_namespace) const noexcept {
  const auto found = services_by_hostname_.find(hostname);
  if (found == services_by_hostname_.end()) return nullptr;
  return best_of(found->second, preferred_namespace);
}

Snapshot::Target Snapshot::resolve(const GatewayAddress& waypoint,
                                   std::string_view client_namespace) const noexcept {
  Target target;
  if (const auto* host = std::get_if<NamespacedHostname>(&waypoint.destination)) {
    target.service = find_service(host->namespace_, host->hostname);
    const auto found = workloads_by_hostname_.find(host->hostname);
    if (target.service != nullptr || found == workloads_by_hostname_.end()) return target;
    for (const WorkloadEntry* entry : found->second) {
      if (entry->workload->namespace_ == host->namespace_) target.workload = entry;
    }
  } else if (const auto* at = std::get_if<NetworkAddress>(&waypoint.destination);
             at->network == options_.network) {
    target.service = find_service(at->address, client_namespace);
    if (target.service == nullptr) target.workload = find_workload(at->address);
  }
  return target;
}

bool Snapshot::is_waypoint_identity(const GatewayAddress& waypoint,
                                    std::string_view client_namespace,
                                    std::string_view uri) const noexcept {
  const IdentityId id = find_identity(uri);
  if (id == kNoIdentity) return false;
  const Target target = resolve(waypoint, client_namespace);
  if (target.workload != nullptr) return target.workload->identity == id;
  if (target.service == nullptr) return false;
  const auto& known = target.service->endpoint_identities;
  return std::find(known.begin(), known.end(), id) != known.end();
}

IdentityId Snapshot::find_identity(std::string_view uri) const noexcept {
  const auto found = identity_ids_.find(uri);
  return found == identity_ids_.end() ? kNoIdentity : found->second;
}

std::string_view Snapshot::identity(IdentityId id) const noexcept {
  return id < identities_.size() ? identities_[id] : std::string_view();
}

std::string_view Snapshot::name(NameId id) const noexcept {
  return id < names_.size() ? names_[id] : std::string_view();
}

std::string_view Snapshot::hostname(NameId service) const noexcept {
  const std::string_view full = name(service);  // "namespace/hostname"
  return full.substr(full.find('/') + 1);
}

}  // namespace isthmus::mesh
