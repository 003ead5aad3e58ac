// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/outbound.h"

#include <algorithm>
#include <utility>

#include "gateway/endings.h"
#include "gateway/review.h"
#include "hbone/request.h"

namespace isthmus::gateway {

using stats::Reason;

Outbound::Outbound(const OutboundOptions& options, Context& context, hbone::Pool& pool)
    : context_(context), pool_(pool), options_(options), flows_(options.flows) {}

tcp::Options Outbound::client_options(const packet::Parsed& syn) const {
  tcp::Options options;
  options.mtu = context_.mtu_to(syn.tuple.source.address);
  options.keepalive_idle = kPodKeepalive;
  return options;
}

bool Outbound::answer_by_cookie(const packet::Parsed& syn) {
  const uint32_t held = context_.quotas.held_syns(syn.tuple.source.address);
  if (held < options_.held_per_pod) return false;
  if (!context_.tcp.crowded(syn)) return false;
  context_.tcp.send_cookie(syn, client_options(syn), kOutboundCookie, context_.now);
  return true;
}

void Outbound::open(const packet::Parsed& syn, flow::Record& record,
                    const proxy::OutboundDecision& decision) {
  Flow* flow = flows_.take(*this);
  if (flow == nullptr) {
    context_.tcp.send_reset(syn, 0, context_.now);
    fail_record(context_, &record, Reason::gateway_flows_full);
    return;
  }
  flow->record = &record;

  uint32_t& held = context_.quotas.of(record).held_syns;
  const bool hold = held < options_.held_per_pod && opens(syn);
  tcp::Options options = client_options(syn);
  if (hold) options.handshake_timeout = options_.hold_timeout;
  tcp::Connection* client = context_.tcp.accept(
      syn, nullptr, options, context_.now, hold ? tcp::AcceptMode::held : tcp::AcceptMode::now);
  if (client == nullptr) {
    context_.tcp.send_reset(syn, 0, context_.now);
    close_record(context_, &record, Reason::tcp_table_full);  // counted there
    flows_.give_back(flow);
    return;
  }
  if (hold) {
    ++held;
    flow->opening()->counted_as_held = true;
  } else {
    record.at.mark(flow::kAccepted, context_.now);
    flow->opening()->waits_for_client = true;
  }
  flow->client.attach(*client);
  flow->client.observe(flow);
  if (!hold) return;
  if (const auto refused = dial(*flow, decision)) refuse(*flow, *refused);
}

stats::Refusal Outbound::dial(Flow& flow, const proxy::OutboundDecision& decision) {
  flow::Record& record = *flow.record;
  record.at.mark(flow::kDecided, context_.now);
  record.upstream = {{record.client.source.address, 0}, decision.upstream};
  record.out_interface = context_.interface_to(decision.upstream.address);
  record.endpoint = decision.authority;
  record.authority = decision.authority;
  record.through_waypoint = decision.to_waypoint;
  record.source_identity = decision.source_identity;
  record.destination_identity = decision.expected.count != 0 ? decision.expected.ids[0] : 0;
  Opening& opening = *flow.opening();
  opening.retry_key = decision.retry_key;
  if (!opening.counted_as_pending) {
    if (const auto refused = context_.quotas.begin_tunnel(context_.quotas.of(record))) {
      context_.reasons.count(*refused);
      return *refused;
    }
    opening.counted_as_pending = true;
  }

  hbone::PoolKey key;
  key.source = context_.plan->identity(decision.source_identity);
  key.destination = decision.upstream;
  key.source_address = record.client.source.address;
  std::array<tls::IdentityPtr, hbone::kMaxDestinations> expected{};
  unsigned count = 0;
  for (mesh::IdentityId id : decision.expected.list()) {
    tls::IdentityPtr identity = context_.plan->identity(id);
    if (identity != nullptr && count < expected.size()) expected[count++] = identity;
  }
  if (key.source == nullptr || !key.set_destinations({expected.data(), count})) {
    context_.reasons.count(Reason::gateway_no_identity);
    return Reason::gateway_no_identity;
  }

  hbone::ConnectRequest request;
  request.authority = hbone::make_authority(decision.authority);
  const mesh::Workload& source = *decision.source->workload;
  const hbone::Profile profile = context_.plan->profile == proxy::Profile::v1_18
                                     ? hbone::Profile::istio_1_18
                                     : hbone::Profile::head;
  hbone::make_baggage({.cluster = source.cluster_id,
                       .namespace_name = source.namespace_,
                       .workload_type = source.workload_type,
                       .workload_name = source.workload_name,
                       .service_name = source.canonical_name,
                       .service_version = source.canonical_revision,
                       .region = source.locality.region,
                       .zone = source.locality.zone},
                      profile, request.baggage);
  hbone::make_forwarded(record.client.source, {}, profile, request.forwarded);
  request.traceparent = hbone::make_traceparent(context_.random.next(), context_.random.next(),
                                                context_.random.next());

  record.at.mark(flow::kDialled, context_.now);
  // The pod's address is its key in limits per workload.
  const auto workload = packet::load_be<uint64_t>(record.client.source.address.bytes().data() + 8);
  opening.ticket =
      pool_.open(key, request, workload, *this, reinterpret_cast<uint64_t>(&flow), context_.now);
  if (!opening.ticket.valid()) return Reason::hbone_waiters_full;
  return std::nullopt;
}

void Outbound::on_tunnel_open(uint64_t cookie, hbone::Tunnel& tunnel) {
  Flow& flow = *reinterpret_cast<Flow*>(cookie);
  flow.tunnel = &tunnel;
  flow::Record& record = *flow.record;
  record.state = flow::State::open;
  record.http_status = 200;
  record.upstream = tunnel.outer();
  record.at.mark(flow::kUpstream, context_.now);
  if (flow.opening()->counted_as_held) {
    record.at.mark(flow::kAccepted, context_.now);
    flow.client.connection()->complete_accept();
  }
  release_opening(flow);
  if (tunnel.peer() != nullptr) record.peer = tunnel.peer()->to_string();
  relay::Share& share = context_.quotas.of(record).share;
  flow.stage.emplace<relay::Pump>().start(flow.client, tunnel, flow, &share);
}

void Outbound::on_tunnel_failed(uint64_t cookie, const hbone::Failure& failure) {
  Flow& flow = *reinterpret_cast<Flow*>(cookie);
  flow.opening()->ticket = {};
  if (failure.kind == hbone::Failure::Kind::http) {
    flow.record->http_status = static_cast<uint16_t>(failure.code);
  }
  flow.record->tls_alert = alert_of(failure);
  if (failure.retry && retry(flow)) return;
  refuse(flow, failure.reason);
}

// Another healthy endpoint of the same service: no byte has passed yet, so nobody sees the attempt
// that failed.
bool Outbound::retry(Flow& flow) {
  Opening& opening = *flow.opening();
  if (opening.retry_key.is_unspecified() || opening.attempts == Opening::kMaxAttempts) return false;
  opening.tried[opening.attempts++] = opening.retry_key;
  const auto decision = decide(flow);
  if (decision.kind != proxy::OutboundKind::hbone) return false;
  return !dial(flow, decision);
}

proxy::OutboundDecision Outbound::decide(Flow& flow) {
  const Opening& opening = *flow.opening();
  return proxy::decide_outbound(*context_.plan->mesh, context_.settings(),
                                {flow.record->client.source,
                                 flow.record->client.destination,
                                 context_.random.next(),
                                 {opening.tried.data(), opening.attempts}});
}

// Nobody is dialled for a client that may not exist: its ACK shows that it does.
void Outbound::client_is_there(Flow& flow) {
  Opening* opening = flow.opening();
  if (opening == nullptr || !opening->waits_for_client) return;
  opening->waits_for_client = false;
  const auto decision = decide(flow);
  if (decision.kind != proxy::OutboundKind::hbone) {
    const bool denied = decision.kind == proxy::OutboundKind::refuse;
    const Reason reason = denied ? decision.reason : Reason::gateway_plan_changed;
    context_.reasons.count(reason);
    return refuse(flow, reason);
  }
  if (const auto refused = dial(flow, decision)) refuse(flow, *refused);
}

void Outbound::refuse(Flow& flow, Reason reason) {
  flow.record->kind = flow::Kind::refused;
  flow::Record* record = flow.record;
  let_go(flow);
  close_record(context_, record, reason);
}

void Outbound::abandoned(Flow& flow, relay::Cause cause) {
  if (flow.opening() != nullptr) pool_.cancel(flow.opening()->ticket);
  end(flow, reason_of(cause));
}

void Outbound::finished(Flow& flow, const relay::Outcome& outcome) {
  flow.record->bytes_to_upstream = outcome.first_to_second;
  flow.record->bytes_to_client = outcome.second_to_first;
  end(flow, reason_of(outcome.cause, *flow.tunnel));
}

void Outbound::release_opening(Flow& flow) {
  Opening* opening = flow.opening();
  if (opening == nullptr) return;
  Quotas::Account& account = context_.quotas.of(*flow.record);
  if (std::exchange(opening->counted_as_held, false)) --account.held_syns;
  if (std::exchange(opening->counted_as_pending, false)) context_.quotas.end_tunnel(account);
}

void Outbound::end(Flow& flow, Reason reason) {
  flow::Record* record = flow.record;
  let_go(flow);
  fail_record(context_, record, reason);
}

void Outbound::let_go(Flow& flow) {
  release_opening(flow);
  flow.client.release();  // refused when it is still held
  if (flow.tunnel != nullptr) flow.tunnel->release();
  flows_.give_back(&flow);
}

void Outbound::refresh() {
  flows_.for_each([](Flow& flow) {
    const relay::Pump* pump = flow.pump();
    if (pump == nullptr) return;
    flow.record->bytes_to_upstream = pump->first_to_second();
    flow.record->bytes_to_client = pump->second_to_first();
  });
}

void Outbound::cut(Flow& flow, Reason reason) {
  if (flow.opening() != nullptr) {
    pool_.cancel(flow.opening()->ticket);
  } else {
    flow.pump()->cancel(relay::Cause::cancelled);
  }
  end(flow, reason);
}

uint32_t Outbound::review(uint32_t& next, uint32_t limit) {
  return flows_.for_range(next, limit, [&](Flow& flow) {
    if (const auto why = objection_to_outbound(context_, *flow.record)) cut(flow, *why);
  });
}

void Outbound::close_all(Reason reason) {
  flows_.for_each([&](Flow& flow) { cut(flow, reason); });
}

}  // namespace isthmus::gateway
