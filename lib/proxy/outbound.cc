// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/outbound.h"

#include <algorithm>

#include "capture/class.h"
#include "proxy/reasons.h"

namespace isthmus::proxy {

namespace {

using mesh::NoUpstream;
using mesh::Upstream;
using mesh::UpstreamResult;
using mesh::WorkloadEntry;
using Reason = stats::Reason;

// One decision in the making: what was asked, and what has been found out.
class Outbound {
 public:
  Outbound(const mesh::Snapshot& snapshot, const Settings& settings,
           const OutboundRequest& request) noexcept
      : snapshot_(snapshot), settings_(settings), request_(request) {}

  OutboundDecision decide() noexcept;

 private:
  bool head() const noexcept { return settings_.profile == Profile::head; }
  void step(const Step& s) noexcept { out_.walk.add(s); }

  OutboundDecision& refuse(Reason reason) noexcept {
    out_.kind = OutboundKind::refuse;
    out_.reason = reason;
    return out_;
  }
  OutboundDecision& passthrough() noexcept;
  OutboundDecision& to_service(const mesh::ServiceEntry& service) noexcept;
  OutboundDecision& to_workload(const WorkloadEntry& workload) noexcept;
  OutboundDecision& no_upstream(const mesh::ServiceEntry& service, NoUpstream why) noexcept;
  OutboundDecision& through_waypoint(const mesh::GatewayAddress& waypoint) noexcept;
  OutboundDecision& to_upstream(const Upstream& upstream) noexcept;
  OutboundDecision& local(const Upstream& upstream) noexcept;
  OutboundDecision& tunnel(const Upstream& upstream, const packet::Endpoint& to,
                           const packet::Endpoint& authority) noexcept;
  const mesh::GatewayAddress* pick_service_waypoint(const mesh::Service& service) const noexcept;
  bool source_is_waypoint_of(const mesh::Workload& workload) const noexcept;

  const mesh::Snapshot& snapshot_;
  const Settings& settings_;
  const OutboundRequest& request_;
  OutboundDecision out_;
};

// Independent bits for a second draw of the same decision (SplitMix64).
uint64_t next_random(uint64_t random) noexcept {
  uint64_t x = random + 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

OutboundDecision Outbound::decide() noexcept {
  const packet::Endpoint& to = request_.destination;
  const auto own = settings_.own_addresses;
  if (std::find(own.begin(), own.end(), to.address) != own.end()) {
    step({.kind = StepKind::self_call, .endpoint = to});
    return refuse(Reason::proxy_self_call);
  }
  out_.source = snapshot_.find_workload(request_.source.address);
  if (out_.source == nullptr) {
    step({.kind = StepKind::source_unknown, .endpoint = request_.source});
    return refuse(Reason::proxy_unknown_source);
  }
  out_.source_identity = out_.source->identity;
  step({.kind = StepKind::source_workload,
        .identity = out_.source_identity,
        .endpoint = request_.source});

  const auto* service = snapshot_.find_service(to.address, out_.source->workload->namespace_);
  const auto* workload = snapshot_.find_workload(to.address);
  if (service != nullptr) return to_service(*service);
  if (workload != nullptr) return to_workload(*workload);
  step({.kind = StepKind::to_unknown, .endpoint = to});
  return passthrough();
}

OutboundDecision& Outbound::passthrough() noexcept {
  out_.kind = OutboundKind::passthrough;
  out_.upstream = request_.destination;
  step({.kind = StepKind::plaintext, .endpoint = out_.upstream});
  return out_;
}

const mesh::GatewayAddress* Outbound::pick_service_waypoint(
    const mesh::Service& service) const noexcept {
  uint64_t total = 0;
  for (const auto& candidate : service.weighted_waypoints) total += candidate.weight;
  const uint64_t random = next_random(request_.random);
  auto left = static_cast<uint64_t>((static_cast<unsigned __int128>(random) * total) >> 64);
  for (const auto& candidate : service.weighted_waypoints) {
    if (left < candidate.weight) return &candidate.destination;
    left -= candidate.weight;
  }
  return service.waypoint ? &*service.waypoint : nullptr;
}

OutboundDecision& Outbound::no_upstream(const mesh::ServiceEntry& service,
                                        NoUpstream why) noexcept {
  step({.kind = StepKind::no_endpoint,
        .detail = static_cast<uint8_t>(why),
        .name = service.name,
        .endpoint = request_.destination});
  // 1.18 passes what it finds no endpoint for to where it was going (kube-proxy then answers).
  if (!head() && request_.tried.empty()) return passthrough();
  return refuse(why == NoUpstream::no_port ? Reason::proxy_no_port : Reason::proxy_no_endpoint);
}

OutboundDecision& Outbound::to_service(const mesh::ServiceEntry& service) noexcept {
  out_.service = service.name;
  step({.kind = StepKind::to_service, .name = service.name, .endpoint = request_.destination});
  const auto* waypoint = pick_service_waypoint(*service.service);
  if (head() && waypoint != nullptr) {
    step({.kind = StepKind::service_waypoint, .name = service.name});
    return through_waypoint(*waypoint);
  }
  if (head() && service.service->load_balancing.mode == mesh::LoadBalancing::Mode::passthrough) {
    return passthrough();
  }
  const UpstreamResult found =
      snapshot_.choose_endpoint(settings_.profile, service, request_.destination.port, *out_.source,
                                request_.destination.address, request_.random, request_.tried);
  if (!found.upstream) return no_upstream(service, found.why);
  // 1.18 knows waypoints of workloads only; a model that gives one to the service means the same.
  const auto& of_workload = found.upstream->workload->workload->waypoint;
  if (!head() && (of_workload || waypoint != nullptr)) {
    step({.kind = of_workload ? StepKind::workload_waypoint : StepKind::service_waypoint,
          .name = service.name,
          .endpoint = found.upstream->endpoint});
    return through_waypoint(of_workload ? *of_workload : *waypoint);
  }
  out_.retry_key = found.upstream->endpoint.address;
  step({.kind = StepKind::endpoint_chosen,
        .count = static_cast<uint16_t>(request_.tried.size()),
        .name = service.name,
        .identity = found.upstream->workload->identity,
        .endpoint = found.upstream->endpoint});
  return to_upstream(*found.upstream);
}

// Head: a waypoint that sends to the workload that it serves does not go through itself.
bool Outbound::source_is_waypoint_of(const mesh::Workload& workload) const noexcept {
  return head() && snapshot_.is_waypoint_identity(*workload.waypoint, workload.namespace_,
                                                  snapshot_.identity(out_.source_identity));
}

OutboundDecision& Outbound::to_workload(const WorkloadEntry& workload) noexcept {
  step({.kind = StepKind::to_workload,
        .identity = workload.identity,
        .endpoint = request_.destination});
  const auto& waypoint = workload.workload->waypoint;
  if (waypoint && !source_is_waypoint_of(*workload.workload)) {
    step({.kind = StepKind::workload_waypoint,
          .identity = workload.identity,
          .endpoint = request_.destination});
    return through_waypoint(*waypoint);
  }
  return to_upstream({&workload, nullptr, request_.destination});
}

OutboundDecision& Outbound::through_waypoint(const mesh::GatewayAddress& waypoint) noexcept {
  const UpstreamResult found =
      snapshot_.choose_waypoint(settings_.profile, waypoint, *out_.source,
                                request_.destination.address, request_.random, request_.tried);
  if (!found.upstream) {
    step({.kind = StepKind::waypoint_missing, .detail = static_cast<uint8_t>(found.why)});
    return refuse(Reason::proxy_no_waypoint);
  }
  out_.to_waypoint = true;
  out_.retry_key = found.upstream->endpoint.address;
  step({.kind = StepKind::waypoint_chosen,
        .count = static_cast<uint16_t>(request_.tried.size()),
        .identity = found.upstream->workload->identity,
        .endpoint = found.upstream->endpoint});
  // The waypoint is told what the pod asked for, before any translation.
  return tunnel(*found.upstream, found.upstream->endpoint, request_.destination);
}

OutboundDecision& Outbound::to_upstream(const Upstream& upstream) noexcept {
  const WorkloadEntry& workload = *upstream.workload;
  if (workload.local_ambient) return local(upstream);
  if (workload.workload->tunnel_protocol == mesh::TunnelProtocol::hbone) {
    return tunnel(upstream, {upstream.endpoint.address, capture::kHbonePort}, upstream.endpoint);
  }
  out_.kind = OutboundKind::direct;
  out_.destination = &workload;
  out_.upstream = upstream.endpoint;
  step({.kind = StepKind::plaintext, .identity = workload.identity, .endpoint = out_.upstream});
  return out_;
}

// Both pods are ours: the destination's policy is applied here and now, with the source's identity
// as its certificate would say it, and no tunnel is needed.
OutboundDecision& Outbound::local(const Upstream& upstream) noexcept {
  out_.destination = upstream.workload;
  out_.upstream = upstream.endpoint;
  out_.own_source = upstream.endpoint.address == request_.source.address;
  step({.kind = StepKind::same_node,
        .identity = upstream.workload->identity,
        .endpoint = upstream.endpoint});
  const mesh::Connection connection{mesh::Identity::parse(snapshot_.identity(out_.source_identity)),
                                    request_.source.address, upstream.endpoint};
  out_.rbac = mesh::evaluate(settings_.profile, *upstream.workload, connection);
  step(rbac_step(out_.rbac));
  if (!out_.rbac.allowed) return refuse(rbac_reason(out_.rbac.why));
  out_.kind = OutboundKind::local;
  return out_;
}

OutboundDecision& Outbound::tunnel(const Upstream& upstream, const packet::Endpoint& to,
                                   const packet::Endpoint& authority) noexcept {
  out_.kind = OutboundKind::hbone;
  out_.destination = upstream.workload;
  out_.upstream = to;
  out_.authority = authority;
  // 1.18 expects the workload's identity alone; head also any name of the service.
  if (head() && upstream.service != nullptr) {
    for (const auto id : upstream.service->subject_alt_names) out_.expected.add(id);
  }
  out_.expected.add(upstream.workload->identity);
  step({.kind = StepKind::tunnel, .identity = upstream.workload->identity, .endpoint = to});
  step({.kind = StepKind::authority, .endpoint = authority});
  return out_;
}

}  // namespace

OutboundDecision decide_outbound(const mesh::Snapshot& snapshot, const Settings& settings,
                                 const OutboundRequest& request) noexcept {
  return Outbound(snapshot, settings, request).decide();
}

}  // namespace isthmus::proxy
