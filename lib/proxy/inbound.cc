// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/inbound.h"

#include <algorithm>

#include "capture/class.h"
#include "proxy/authority.h"
#include "proxy/reasons.h"

namespace isthmus::proxy {

namespace {

using Reason = stats::Reason;

constexpr uint16_t kOk = 200;
constexpr uint16_t kBadRequest = 400;
constexpr uint16_t kUnauthorized = 401;
constexpr uint16_t kNotFound = 404;
constexpr uint16_t kUnavailable = 503;

// ztunnel's own ports: a CONNECT to one of them would lead back into the mesh.
bool is_proxy_port(uint16_t port) noexcept {
  return port == 15001 || port == 15006 || port == capture::kHbonePort;
}

packet::IpAddress spoof(const packet::IpAddress& source, const packet::Endpoint& pod) noexcept {
  return source == pod.address ? packet::IpAddress() : source;
}

class InboundHbone {
 public:
  InboundHbone(const mesh::Snapshot& snapshot, const Settings& settings,
               const ConnectRequest& request) noexcept
      : snapshot_(snapshot), settings_(settings), request_(request) {}

  InboundDecision decide() noexcept {
    if (request_.method != "CONNECT") {
      return refuse(head() ? kBadRequest : kNotFound, Reason::proxy_not_connect);
    }
    authority_ = parse_authority(request_.authority);
    out_.authority = {authority_.endpoint.address, authority_.port};
    if (authority_.kind == Authority::Kind::invalid ||
        (!head() && authority_.kind == Authority::Kind::hostname)) {
      return refuse(kBadRequest, Reason::proxy_bad_authority);
    }
    return head() ? decide_head() : decide_1_18();
  }

 private:
  bool head() const noexcept { return settings_.profile == Profile::head; }

  InboundDecision& refuse(uint16_t status, Reason reason) noexcept {
    out_.status = status;
    out_.reason = reason;
    return out_;
  }

  // Beyond 1.18, which asks only that the workload is known: it must be ours.
  bool find_destination() noexcept {
    out_.destination = snapshot_.find_workload(request_.original_destination.address);
    if (out_.destination == nullptr || !out_.destination->local) return false;
    out_.destination_identity = out_.destination->identity;
    return true;
  }

  InboundDecision& decide_1_18() noexcept {
    if (authority_.endpoint.address != request_.original_destination.address) {
      return refuse(kBadRequest, Reason::proxy_wrong_authority);
    }
    if (!find_destination()) return refuse(kNotFound, Reason::proxy_unknown_destination);
    out_.upstream = authority_.endpoint;
    const auto& waypoint = out_.destination->workload->waypoint;
    out_.from_waypoint = waypoint && request_.peer &&
                         snapshot_.is_waypoint_identity(
                             *waypoint, out_.destination->workload->namespace_, request_.peer->uri);
    if (out_.from_waypoint) {
      out_.walk.add({.kind = StepKind::from_waypoint,
                     .identity = snapshot_.find_identity(request_.peer->uri),
                     .endpoint = request_.source});
    } else {
      if (!allowed()) return refuse(kUnauthorized, rbac_reason(out_.rbac.why));
      if (waypoint) return refuse(kUnauthorized, Reason::proxy_waypoint_bypassed);
    }
    packet::IpAddress source = request_.source.address;
    if (out_.from_waypoint) {
      // A pod that reaches itself through its waypoint keeps the waypoint's address.
      const auto client = parse_forwarded_for(request_.forwarded);
      if (client && *client != out_.upstream.address) source = *client;
    }
    return connect_from(source);
  }

  InboundDecision& decide_head() noexcept {
    if (!find_destination()) return refuse(kUnavailable, Reason::proxy_unknown_destination);
    if (!authority_is_ours()) return refuse(kBadRequest, Reason::proxy_wrong_authority);
    out_.upstream = {request_.original_destination.address, target_port()};
    if (out_.upstream.port == 0) return refuse(kUnavailable, Reason::proxy_unknown_hostname);
    if (is_proxy_port(out_.upstream.port)) return refuse(kUnavailable, Reason::proxy_self_call);
    const auto& tunnel = out_.destination->workload->application_tunnel;
    if (tunnel && tunnel->port != 0) out_.upstream.port = tunnel->port;
    if (!allowed()) return refuse(kUnauthorized, rbac_reason(out_.rbac.why));
    return connect_from(request_.source.address);
  }

  // Head takes only the port from the authority, so a foreign address is an error, unless the pod
  // is a waypoint that the address names, or has a tunnel that carries the address on.
  bool authority_is_ours() const noexcept {
    if (authority_.kind == Authority::Kind::hostname) return true;
    const auto& target = authority_.endpoint.address;
    if (target == request_.original_destination.address) return true;
    const mesh::Workload& local = *out_.destination->workload;
    if (local.application_tunnel) return true;
    const auto* workload = snapshot_.find_workload(target);
    const auto* service =
        workload != nullptr ? nullptr : snapshot_.find_service(target, local.namespace_);
    const auto* waypoint = workload != nullptr  ? &workload->workload->waypoint
                           : service != nullptr ? &service->service->waypoint
                                                : nullptr;
    return waypoint != nullptr && waypoint->has_value() &&
           snapshot_.is_waypoint_identity(**waypoint, local.namespace_,
                                          snapshot_.identity(out_.destination->identity));
  }

  // 0: the hostname is not known, or the service has no such port.
  uint16_t target_port() noexcept {
    if (authority_.kind == Authority::Kind::address) return authority_.port;
    const auto* service = snapshot_.find_service_by_hostname(
        authority_.hostname, out_.destination->workload->namespace_);
    if (service == nullptr) return 0;
    out_.authority_service = service->name;
    for (const auto& endpoint : service->endpoints) {
      if (endpoint.workload != out_.destination) continue;
      const auto own = endpoint.ports->find(authority_.port);
      if (own != endpoint.ports->end()) return own->second;
    }
    const auto common = service->service->ports.find(authority_.port);
    return common == service->service->ports.end() ? 0 : common->second;
  }

  bool allowed() noexcept {
    out_.rbac = mesh::evaluate(settings_.profile, *out_.destination,
                               {request_.peer, request_.source.address, out_.upstream});
    out_.walk.add(rbac_step(out_.rbac));
    return out_.rbac.allowed;
  }

  InboundDecision& connect_from(const packet::IpAddress& source) noexcept {
    out_.status = kOk;
    out_.spoofed_source = spoof(source, out_.upstream);
    out_.walk.add({.kind = StepKind::upstream,
                   .identity = out_.destination_identity,
                   .endpoint = out_.upstream});
    return out_;
  }

  const mesh::Snapshot& snapshot_;
  const Settings& settings_;
  const ConnectRequest& request_;
  Authority authority_;
  InboundDecision out_;
};

}  // namespace

InboundDecision decide_inbound_hbone(const mesh::Snapshot& snapshot, const Settings& settings,
                                     const ConnectRequest& request) noexcept {
  return InboundHbone(snapshot, settings, request).decide();
}

InboundDecision decide_inbound_plaintext(const mesh::Snapshot& snapshot, const Settings& settings,
                                         const packet::Tuple& tuple) noexcept {
  InboundDecision out;
  const auto refuse = [&out](uint16_t status, Reason reason) {
    out.status = status;
    out.reason = reason;
    return out;
  };
  const auto own = settings.own_addresses;
  if (std::find(own.begin(), own.end(), tuple.destination.address) != own.end()) {
    out.walk.add({.kind = StepKind::self_call, .endpoint = tuple.destination});
    return refuse(kUnavailable, Reason::proxy_self_call);
  }
  out.destination = snapshot.find_workload(tuple.destination.address);
  if (out.destination == nullptr || !out.destination->local) {
    return refuse(kNotFound, Reason::proxy_unknown_destination);
  }
  out.destination_identity = out.destination->identity;
  if (settings.profile == Profile::head && is_proxy_port(tuple.destination.port)) {
    return refuse(kUnavailable, Reason::proxy_self_call);
  }
  out.upstream = tuple.destination;
  out.rbac = mesh::evaluate(settings.profile, *out.destination,
                            {{}, tuple.source.address, tuple.destination});
  out.walk.add(rbac_step(out.rbac));
  if (!out.rbac.allowed) return refuse(kUnauthorized, rbac_reason(out.rbac.why));
  if (out.destination->workload->waypoint && !settings.plaintext_past_waypoint) {
    out.walk.add({.kind = StepKind::workload_waypoint, .endpoint = tuple.destination});
    return refuse(kUnauthorized, Reason::proxy_waypoint_bypassed);
  }
  out.status = kOk;
  out.spoofed_source = spoof(tuple.source.address, tuple.destination);
  out.walk.add({.kind = StepKind::upstream,
                .identity = out.destination_identity,
                .endpoint = tuple.destination});
  return out;
}

mesh::IdentityId server_identity(const mesh::Snapshot& snapshot,
                                 const packet::IpAddress& original_destination) noexcept {
  const auto* entry = snapshot.find_workload(original_destination);
  const bool ours = entry != nullptr && entry->local && !entry->workload->native_tunnel;
  return ours ? entry->identity : mesh::kNoIdentity;
}

}  // namespace isthmus::proxy
