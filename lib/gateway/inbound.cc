// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/inbound.h"

#include "gateway/endings.h"
#include "gateway/review.h"

namespace isthmus::gateway {

using stats::Reason;

Inbound::Inbound(uint32_t streams, Context& context, hbone::Engine& hbone, Ports& ports)
    : context_(context), hbone_(hbone), ports_(ports), streams_(streams) {}

tcp::Options Inbound::peer_options(const packet::Parsed& syn) const {
  tcp::Options options;
  options.mtu = context_.mtu_to(syn.tuple.source.address);
  return options;
}

bool Inbound::answer_by_cookie(const packet::Parsed& syn) {
  if (!context_.tcp.crowded(syn)) return false;
  context_.tcp.send_cookie(syn, peer_options(syn), kInboundCookie, context_.now);
  return true;
}

void Inbound::open(const packet::Parsed& syn, const Arrival& arrival) {
  flow::Record* record = open_record(context_, flow::Kind::tunnel,
                                     capture::Class::inbound_hbone_15008, syn.tuple, arrival);
  if (record == nullptr) {
    context_.reasons.count(Reason::gateway_flows_full);
    context_.tcp.send_reset(syn, 0, context_.now);
    return;
  }
  if (const auto refused = context_.quotas.admit(*record)) {
    context_.reasons.count(*refused);
    return refuse(syn, *record, *refused);
  }
  const packet::IpAddress& pod = syn.tuple.destination.address;
  record->destination_identity = proxy::server_identity(*context_.plan->mesh, pod);
  record->at.mark(flow::kDecided, context_.now);
  const tls::IdentityPtr local = context_.plan->identity(record->destination_identity);
  if (local == nullptr) {
    context_.reasons.count(Reason::gateway_no_identity);
    return refuse(syn, *record, Reason::gateway_no_identity);
  }
  tcp::Connection* connection = context_.tcp.accept(syn, nullptr, peer_options(syn), context_.now);
  if (connection == nullptr) return refuse(syn, *record, Reason::tcp_table_full);
  const auto workload = packet::load_be<uint64_t>(pod.bytes().data() + 8);
  if (!hbone_.accept(*connection, {local, workload, reinterpret_cast<uint64_t>(record)}, *this,
                     context_.now)) {
    connection->abort();
    record->kind = flow::Kind::refused;
    return close_record(context_, record, Reason::hbone_transports_full);
  }
  record->at.mark(flow::kAccepted, context_.now);
}

// The reason has been counted.
void Inbound::refuse(const packet::Parsed& syn, flow::Record& record, Reason reason) {
  context_.tcp.send_reset(syn, 0, context_.now);
  record.kind = flow::Kind::refused;
  close_record(context_, &record, reason);
}

void Inbound::on_inbound_ended(uint64_t cookie, const hbone::Failure& failure) {
  auto* record = reinterpret_cast<flow::Record*>(cookie);
  const bool failed = failure.kind != hbone::Failure::Kind::none;
  record->tls_alert = alert_of(failure);
  close_record(context_, record, failed ? failure.reason : Reason::count_);
}

void Inbound::on_connect(hbone::Tunnel& tunnel, const hbone::Connect& connect) {
  auto* carrier = reinterpret_cast<flow::Record*>(connect.cookie);
  if (carrier->state == flow::State::opening) {
    carrier->state = flow::State::open;
    if (connect.peer != nullptr) carrier->peer = connect.peer->to_string();
  }
  flow::Record* record =
      open_record(context_, flow::Kind::inbound_stream, capture::Class::inbound_hbone_15008,
                  connect.outer, {carrier->in_interface, carrier->vni, carrier->geneve_source});
  if (record == nullptr) return refuse(tunnel, connect, nullptr, 503, Reason::gateway_flows_full);
  record->tunnel = carrier->id;
  record->peer = carrier->peer;

  proxy::ConnectRequest request;
  request.method = "CONNECT";  // h2 answers the others
  request.authority = connect.authority;
  request.forwarded = connect.forwarded;
  request.peer = mesh::Identity::parse(record->peer);
  request.source = connect.outer.source;
  request.original_destination = connect.outer.destination;
  const auto decision =
      proxy::decide_inbound_hbone(*context_.plan->mesh, context_.settings(), request);
  record->at.mark(flow::kDecided, context_.now);
  record->endpoint = decision.upstream;
  record->authority = decision.authority;
  record->authority_service = decision.authority_service;
  record->through_waypoint = decision.from_waypoint;
  record->destination_identity = decision.destination_identity;
  if (request.peer) record->source_identity = context_.plan->mesh->find_identity(request.peer->uri);
  record->policy = decision.rbac.policy;
  if (decision.status != 200) {
    return refuse(tunnel, connect, record, decision.status, decision.reason);
  }
  dial(tunnel, connect, *record, decision);
}

void Inbound::dial(hbone::Tunnel& tunnel, const hbone::Connect& connect, flow::Record& record,
                   const proxy::InboundDecision& decision) {
  if (const auto refused = context_.quotas.admit(record)) {
    return refuse(tunnel, connect, &record, 503, *refused);
  }
  const packet::IpAddress source = context_.source_to(decision.spoofed_source, decision.upstream);
  const packet::Endpoint local{source, ports_.choose(source, decision.upstream)};
  if (local.port == 0) return refuse(tunnel, connect, &record, 503, Reason::gateway_no_port);
  Quotas::Account& account = context_.quotas.of(record);
  if (const auto refused = context_.quotas.begin_tunnel(account)) {
    return refuse(tunnel, connect, &record, 503, *refused);
  }
  Stream* stream = streams_.take(*this);
  if (stream == nullptr) {
    context_.quotas.end_tunnel(account);
    return refuse(tunnel, connect, &record, 503, Reason::gateway_flows_full);
  }
  tcp::Options options;
  options.mtu = context_.mtu_to(decision.upstream.address);
  options.keepalive_idle = kPodKeepalive;
  stream->dialling = context_.tcp.connect(local, decision.upstream, stream, options, context_.now);
  if (stream->dialling == nullptr) {
    context_.quotas.end_tunnel(account);
    streams_.give_back(stream);
    return refuse(tunnel, connect, &record, 503, Reason::tcp_table_full);
  }
  stream->record = &record;
  stream->tunnel = &tunnel;
  tunnel.user = stream;
  record.upstream = {local, decision.upstream};
  record.out_interface = context_.interface_to(decision.upstream.address);
  record.at.mark(flow::kDialled, context_.now);
}

void Inbound::refuse(hbone::Tunnel& tunnel, const hbone::Connect& connect, flow::Record* record,
                     uint16_t status, Reason reason) {
  // What the TCP engine refuses it has counted.
  tunnel.refuse(status, reason == Reason::tcp_table_full ? Reason::count_ : reason);
  tunnel.release();
  if (record == nullptr) return;
  record->kind = flow::Kind::refused;
  record->http_status = status;
  close_record(context_, record, reason, connect.authority);
}

void Inbound::upstream_event(Stream& stream, tcp::Connection& connection, uint16_t events) {
  if ((events & (tcp::kFailed | tcp::kClosed)) != 0) {
    dialled(stream);
    stream.record->http_status = 503;
    stream.tunnel->refuse(503, Reason::count_);
    const bool failed = connection.failure() != tcp::Failure::none;
    return end(stream, failed ? reason_of(connection.failure()) : Reason::gateway_upstream_refused);
  }
  if ((events & tcp::kConnected) == 0) return;
  flow::Record& record = *stream.record;
  record.at.mark(flow::kUpstream, context_.now);
  stream.upstream.attach(connection);
  dialled(stream);
  if (!stream.tunnel->accept()) {
    stream.tunnel->refuse(503, Reason::count_);
    return end(stream, Reason::packet_no_buffer);
  }
  record.state = flow::State::open;
  record.http_status = 200;
  record.at.mark(flow::kAccepted, context_.now);
  relay::Share& share = context_.quotas.of(record).share;
  stream.pump.start(*stream.tunnel, stream.upstream, stream, &share);
}

void Inbound::dialled(Stream& stream) {
  stream.dialling = nullptr;
  context_.quotas.end_tunnel(context_.quotas.of(*stream.record));
}

void Inbound::on_connect_cancelled(hbone::Tunnel& tunnel, relay::Cause) {
  const stats::Refusal why = tunnel.transport_ended_for();
  end(*static_cast<Stream*>(tunnel.user), why ? *why : Reason::gateway_client_gone);
}

void Inbound::finished(Stream& stream, const relay::Outcome& outcome) {
  stream.record->bytes_to_upstream = outcome.first_to_second;
  stream.record->bytes_to_client = outcome.second_to_first;
  end(stream, reason_of(outcome.cause, *stream.tunnel));
}

void Inbound::end(Stream& stream, Reason reason) {
  if (stream.dialling != nullptr) {
    stream.dialling->abort();
    dialled(stream);
  } else {
    stream.upstream.release();
  }
  stream.tunnel->release();
  fail_record(context_, stream.record, reason);
  streams_.give_back(&stream);
}

void Inbound::refresh() {
  streams_.for_each([](Stream& stream) {
    stream.record->bytes_to_upstream = stream.pump.first_to_second();
    stream.record->bytes_to_client = stream.pump.second_to_first();
  });
}

void Inbound::cut(Stream& stream, Reason reason) {
  stream.pump.cancel(relay::Cause::cancelled);
  end(stream, reason);
}

uint32_t Inbound::review(uint32_t& next, uint32_t limit) {
  return streams_.for_range(next, limit, [&](Stream& stream) {
    if (const auto why = objection_to_stream(context_, *stream.record, *stream.tunnel)) {
      cut(stream, *why);
    }
  });
}

void Inbound::close_all(Reason reason) {
  streams_.for_each([&](Stream& stream) { cut(stream, reason); });
}

}  // namespace isthmus::gateway
