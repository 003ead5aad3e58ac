// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/review.h"

#include "gateway/inbound.h"
#include "gateway/outbound.h"
#include "gateway/plain.h"
#include "proxy/inbound.h"
#include "proxy/reasons.h"

namespace isthmus::gateway {
namespace {

using stats::Reason;

constexpr uint32_t kPlacesPerTurn = 64;

mesh::IdentityId identity_at(const Plan& plan, const packet::IpAddress& address) {
  const auto* workload = plan.mesh->find_workload(address);
  return workload == nullptr ? mesh::kNoIdentity : workload->identity;
}

// Of a flow between two pods of this node, which no tunnel's end decides about.
stats::Refusal objection_to_local(const Plan& plan, const flow::Record& record) {
  const auto* destination = plan.mesh->find_workload(record.endpoint.address);
  if (destination == nullptr) return Reason::gateway_identity_changed;
  const auto decision =
      mesh::evaluate(plan.profile, *destination,
                     {mesh::Identity::parse(plan.mesh->identity(record.source_identity)),
                      record.client.source.address, record.endpoint});
  if (decision.allowed) return std::nullopt;
  return proxy::rbac_reason(decision.why);
}

}  // namespace

stats::Refusal objection_to_outbound(const Context& context, const flow::Record& record) {
  // One that has not been decided yet will be, by this plan.
  if (record.source_identity == mesh::kNoIdentity ||
      record.source_identity == identity_at(*context.plan, record.client.source.address)) {
    return std::nullopt;
  }
  return Reason::gateway_identity_changed;
}

stats::Refusal objection_to_stream(const Context& context, const flow::Record& record,
                                   const hbone::Tunnel& tunnel) {
  const mesh::Snapshot& mesh = *context.plan->mesh;
  const hbone::AuthorityText authority =
      record.authority_service == mesh::kNoName
          ? hbone::make_authority(record.authority)
          : hbone::make_authority(mesh.hostname(record.authority_service), record.authority.port);
  proxy::ConnectRequest request;
  request.method = "CONNECT";
  request.authority = authority.view();
  request.peer = mesh::Identity::parse(record.peer);
  request.source = tunnel.outer().source;
  request.original_destination = tunnel.outer().destination;
  const auto decision = proxy::decide_inbound_hbone(mesh, context.settings(), request);
  if (decision.status != 200) return decision.reason;
  if (decision.destination_identity == record.destination_identity) return std::nullopt;
  return Reason::gateway_identity_changed;
}

stats::Refusal objection_to_plain(const Context& context, const flow::Record& record) {
  const Plan& plan = *context.plan;
  if (record.capture == capture::Class::bypass) return std::nullopt;
  if (record.kind == flow::Kind::inbound_plain) {
    const auto decision =
        proxy::decide_inbound_plaintext(*plan.mesh, context.settings(), record.client);
    if (decision.status != 200) return decision.reason;
    if (decision.destination_identity == record.destination_identity) return std::nullopt;
    return Reason::gateway_identity_changed;
  }
  if (identity_at(plan, record.client.source.address) != record.source_identity ||
      identity_at(plan, record.endpoint.address) != record.destination_identity) {
    return Reason::gateway_identity_changed;
  }
  if (record.kind == flow::Kind::local) return objection_to_local(plan, record);
  return std::nullopt;
}

void Review::start(const Plan& before, const Plan& now) {
  stage_ = Stage::peers;
  next_ = 0;
  const auto changed = [&](const packet::IpAddress& address) {
    return identity_at(before, address) != identity_at(now, address);
  };
  hbone_.close_if(
      [&](const hbone::TransportInfo& transport) {
        return changed(transport.outer.source.address) ||
               changed(transport.outer.destination.address);
      },
      Reason::gateway_identity_changed);
}

unsigned Review::run() {
  unsigned looked = 0;
  while (looked == 0 && stage_ != Stage::done) {
    switch (stage_) {
      case Stage::peers:
        looked = hbone_.review_peers(next_, kPlacesPerTurn);
        break;
      case Stage::outbound:
        looked = outbound_.review(next_, kPlacesPerTurn);
        break;
      case Stage::inbound:
        looked = inbound_.review(next_, kPlacesPerTurn);
        break;
      case Stage::plain:
        looked = plain_.review(next_, kPlacesPerTurn);
        break;
      case Stage::done:
        break;
    }
    if (looked != 0) break;
    stage_ = static_cast<Stage>(static_cast<uint8_t>(stage_) + 1);
    next_ = 0;
  }
  return looked;
}

}  // namespace isthmus::gateway
