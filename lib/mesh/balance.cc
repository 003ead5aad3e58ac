// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The choice of an endpoint, as ztunnel at head makes it (ranked by locality, weighted by
// capacity), or as 1.18 does (uniformly among the healthy).
#include <algorithm>

#include "mesh/snapshot.h"

namespace isthmus::mesh {

namespace {

using Scope = LoadBalancing::Scope;
using Mode = LoadBalancing::Mode;

bool accepts(IpFamilies families, const packet::IpAddress& address) noexcept {
  switch (families) {
    case IpFamilies::ipv4_only:
      return address.is_v4();
    case IpFamilies::ipv6_only:
      return !address.is_v4();
    default:
      return true;
  }
}

// The address of a workload to use for a client that asked for hint: that very one, or one of its
// family, or the first. None: the workload has no address that the service's families allow.
const packet::IpAddress* pick_address(const Workload& workload, const packet::IpAddress& hint,
                                      IpFamilies families) noexcept {
  const packet::IpAddress* first = nullptr;
  const packet::IpAddress* same_family = nullptr;
  for (const auto& address : workload.addresses) {
    if (address == hint) return &address;
    if (!accepts(families, address)) continue;
    if (first == nullptr) first = &address;
    if (same_family == nullptr && address.is_v4() == hint.is_v4()) same_family = &address;
  }
  return same_family != nullptr ? same_family : first;
}

bool scope_matches(Scope scope, const Workload& client, const Workload& endpoint) noexcept {
  switch (scope) {
    case Scope::region:
      return client.locality.region == endpoint.locality.region;
    case Scope::zone:
      return client.locality.zone == endpoint.locality.zone;
    case Scope::subzone:
      return client.locality.subzone == endpoint.locality.subzone;
    case Scope::node:
      return client.node == endpoint.node;
    case Scope::cluster:
      return client.cluster_id == endpoint.cluster_id;
    case Scope::network:
      return client.network == endpoint.network;
  }
  return false;
}

// How near an endpoint is: how many preferences match from the front. When NETWORK stands first and
// does not match, the others still count, but below every endpoint of the network. -1: STRICT
// leaves the endpoint out.
int rank(const LoadBalancing& balancing, const Workload& client,
         const Workload& endpoint) noexcept {
  const auto& preference = balancing.routing_preference;
  const bool network_first = !preference.empty() && preference.front() == Scope::network;
  int matched = 0;
  int bonus = 0;
  for (const Scope scope : preference) {
    const bool matches = scope_matches(scope, client, endpoint);
    if (scope == Scope::network && network_first) {
      if (!matches) continue;
      bonus = static_cast<int>(preference.size()) - 1;
    }
    if (!matches) break;
    ++matched;
  }
  if (balancing.mode == Mode::strict && matched != static_cast<int>(preference.size())) return -1;
  return matched + bonus;
}

// One question about a service, put to each of its endpoints.
struct Choice {
  Profile profile;
  const ServiceEntry& service;
  uint16_t port;
  bool for_waypoint;
  const WorkloadEntry& client;
  const packet::IpAddress& hint;
  std::span<const packet::IpAddress> tried;

  struct Candidate {
    packet::Endpoint endpoint;
    int rank = -1;
    uint64_t weight = 0;  // 0: not to be chosen
  };

  uint16_t target_port(const EndpointEntry& endpoint) const noexcept {
    if (const auto own = endpoint.ports->find(port); own != endpoint.ports->end()) {
      return own->second;
    }
    const auto& ports = service.service->ports;
    if (const auto common = ports.find(port); common != ports.end() && common->second != 0) {
      return common->second;
    }
    // A waypoint with an application tunnel needs no such port on its service.
    return for_waypoint && endpoint.workload->workload->application_tunnel ? port : 0;
  }

  Candidate consider(const EndpointEntry& endpoint) const noexcept {
    const Workload& workload = *endpoint.workload->workload;
    const Service& wanted = *service.service;
    Candidate candidate;
    const uint16_t target = target_port(endpoint);
    if (target == 0 || workload.network != client.workload->network) return candidate;
    const packet::IpAddress* address = pick_address(workload, hint, wanted.ip_families);
    if (address == nullptr) return candidate;
    if (std::find(tried.begin(), tried.end(), *address) != tried.end()) return candidate;
    candidate.endpoint = {*address, target};
    if (profile == Profile::v1_18) {
      candidate.rank = 0;
      candidate.weight = endpoint.healthy ? 1 : 0;
      return candidate;
    }
    const Mode mode = wanted.load_balancing.mode;
    const bool ranked = mode == Mode::failover || mode == Mode::strict;
    candidate.rank = ranked ? rank(wanted.load_balancing, *client.workload, workload) : 0;
    candidate.weight = candidate.rank < 0 ? 0 : workload.capacity;
    return candidate;
  }

  bool has_port() const noexcept { return for_waypoint || service.service->ports.contains(port); }

  UpstreamResult make(uint64_t random) const noexcept {
    UpstreamResult result;
    if (!has_port()) {
      result.why = NoUpstream::no_port;
      return result;
    }
    int best = 0;
    uint64_t total = 0;
    for (const EndpointEntry& endpoint : service.endpoints) {
      const Candidate candidate = consider(endpoint);
      if (candidate.weight == 0) continue;
      if (candidate.rank > best) {
        best = candidate.rank;
        total = 0;
      }
      if (candidate.rank == best) total += candidate.weight;
    }
    if (total == 0) return result;
    // 64 random bits scaled to [0, total).
    auto left = static_cast<uint64_t>((static_cast<unsigned __int128>(random) * total) >> 64);
    for (const EndpointEntry& endpoint : service.endpoints) {
      const Candidate candidate = consider(endpoint);
      if (candidate.weight == 0 || candidate.rank != best) continue;
      if (left < candidate.weight) {
        result.upstream = Upstream{endpoint.workload, &service, candidate.endpoint};
        return result;
      }
      left -= candidate.weight;
    }
    return result;
  }
};

}  // namespace

UpstreamResult Snapshot::choose_endpoint(Profile profile, const ServiceEntry& service,
                                         uint16_t port, const WorkloadEntry& client,
                                         const packet::IpAddress& hint, uint64_t random,
                                         std::span<const packet::IpAddress> tried) const noexcept {
  return Choice{profile, service, port, false, client, hint, tried}.make(random);
}

UpstreamResult Snapshot::choose_waypoint(Profile profile, const GatewayAddress& waypoint,
                                         const WorkloadEntry& client, const packet::IpAddress& hint,
                                         uint64_t random,
                                         std::span<const packet::IpAddress> tried) const noexcept {
  const auto [service, workload] = resolve(waypoint, client.workload->namespace_);
  // A reference by address says which address: a caller of the other family is translated.
  const auto* at = std::get_if<NetworkAddress>(&waypoint.destination);
  const packet::IpAddress& wanted = at != nullptr ? at->address : hint;
  const uint16_t port = waypoint.hbone_mtls_port;
  if (service != nullptr) {
    return Choice{profile, *service, port, true, client, wanted, tried}.make(random);
  }
  UpstreamResult result;
  result.why = NoUpstream::no_workload;
  if (workload == nullptr) return result;
  const packet::IpAddress* address =
      pick_address(*workload->workload, wanted, IpFamilies::automatic);
  if (address == nullptr || std::find(tried.begin(), tried.end(), *address) != tried.end()) {
    result.why = NoUpstream::no_endpoint;
    return result;
  }
  result.upstream = Upstream{workload, nullptr, {*address, port}};
  return result;
}

}  // namespace isthmus::mesh
