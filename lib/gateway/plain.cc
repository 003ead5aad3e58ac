// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/plain.h"

#include "gateway/edge.h"
#include "gateway/ports.h"
#include "gateway/review.h"
#include "packet/offload.h"

namespace isthmus::gateway {
namespace {

using nat::Side;
using stats::Reason;

constexpr unsigned kExpirationsPerTurn = 64;

// Null once the flow has ended: the entry stays a little longer than its record is live.
flow::Record* record_of(const nat::Entry& entry) {
  return reinterpret_cast<flow::Record*>(entry.cookie);
}

void count_bytes(const nat::Entry& entry, flow::Record& record) {
  record.bytes_to_upstream = entry.half(Side::client).bytes;
  record.bytes_to_client = entry.half(Side::upstream).bytes;
}

}  // namespace

void Plain::open(packet::Parsed& syn, flow::Record& record, const packet::IpAddress& source,
                 const packet::Endpoint& upstream) {
  const packet::Tuple& client = syn.tuple;
  nat::PortChoice port;
  // A node's conntrack holds the captured 4-tuple; elsewhere the client's own port is as good, as
  // long as the replies come to this worker.
  port.keep = source == client.source.address &&
              context_.plan->interfaces[record.in_interface].role == capture::PortRole::pod &&
              context_.owners.owner({client.source, upstream}) == context_.index;
  port.owners = &context_.owners;
  port.worker = static_cast<uint8_t>(context_.index);
  port.range = kOriginatedPorts;
  port.start = static_cast<uint32_t>(context_.random.next());
  port.others = this;
  nat::Entry* entry = nullptr;
  const auto refused = context_.nat.create(
      client, source, upstream, port, reinterpret_cast<uint64_t>(&record), context_.now, entry);
  if (refused) {
    context_.tcp.send_reset(syn, 0, context_.now);
    rte_pktmbuf_free(syn.mbuf);
    record.kind = flow::Kind::refused;
    return fail_record(context_, &record, *refused);
  }
  record.upstream = entry->upstream;
  record.out_interface = context_.interface_to(upstream.address);
  record.at.mark(flow::kDialled, context_.now);
  translate({entry, Side::client}, syn);
}

bool Plain::forward(packet::Parsed& packet) {
  const nat::Found found = context_.nat.find(packet.tuple);
  if (!found) return false;
  if (nat::Table::reopens(found, packet)) {
    end(*found.entry, Reason::gateway_client_gone);
    context_.nat.remove(*found.entry);
    return false;
  }
  translate(found, packet);
  return true;
}

void Plain::translate(const nat::Found& found, packet::Parsed& packet) {
  const bool rst = (packet.tcp()->flags & packet::Tcp::kRst) != 0;
  const bool first = found.entry->half(found.from).packets == 0;
  const uint32_t payload = packet.payload_length;
  if (const auto reason = context_.nat.translate(found, packet, context_.now)) {
    context_.reasons.count(*reason);
    if (*reason == Reason::nat_ttl_exceeded) {
      edge_.send_error(packet, ip::ErrorKind::time_exceeded, 0);
    } else if (rte_mbuf* answer =
                   *reason == Reason::nat_unexpected_syn
                       ? context_.nat.make_challenge(found, context_.pools.small, context_.now)
                       : nat::make_reset_reply(packet, context_.pools.small)) {
      edge_.send(answer);
    }
    return rte_pktmbuf_free(packet.mbuf);
  }
  // A RST that was not believed is its receiver's to judge, and says nothing here.
  if (!rst || found.entry->state == nat::State::closing) {
    follow(*found.entry, found.from, {rst, first, payload != 0});
  }
  packet::prepare_forward(packet);
  edge_.send(packet.mbuf);
}

void Plain::follow(nat::Entry& entry, Side from, const Seen& seen) {
  flow::Record* record = record_of(entry);
  if (record == nullptr) return;
  if (from == Side::upstream && seen.first) {
    record->at.mark(flow::kUpstream, context_.now);
    if (seen.reset) return end(entry, Reason::gateway_upstream_refused);
    record->state = flow::State::open;
    record->at.mark(flow::kAccepted, context_.now);
  }
  if (from == Side::upstream && seen.payload && !record->at.happened(flow::kFirstByte)) {
    record->at.mark(flow::kFirstByte, context_.now);
  }
  if (entry.state == nat::State::closing) {
    end(entry, seen.reset ? Reason::gateway_reset : Reason::count_);
  }
}

bool Plain::forward_error(const packet::Tuple& embedded, packet::Parsed& packet) {
  const nat::Found found = context_.nat.find(embedded.reversed());
  if (!found) return false;
  if (const auto reason = context_.nat.translate_error(found, packet)) {
    context_.reasons.count(*reason);
    rte_pktmbuf_free(packet.mbuf);
  } else {
    packet::prepare_forward(packet);
    edge_.send(packet.mbuf);
  }
  return true;
}

void Plain::end(nat::Entry& entry, Reason reason) {
  flow::Record* record = record_of(entry);
  if (record == nullptr) return;
  count_bytes(entry, *record);
  fail_record(context_, record, reason);
  entry.cookie = 0;
}

bool Plain::in_use(const packet::Tuple& upstream) const {
  return context_.tcp.in_use(upstream.source, upstream.destination);
}

void Plain::advance() {
  context_.nat.advance(context_.now, kExpirationsPerTurn, [this](const nat::Entry& entry) {
    if (flow::Record* record = record_of(entry)) {
      count_bytes(entry, *record);
      fail_record(context_, record, Reason::gateway_timed_out);
    }
  });
}

void Plain::refresh() {
  context_.nat.for_each([](nat::Entry& entry) {
    if (flow::Record* record = record_of(entry)) count_bytes(entry, *record);
  });
}

void Plain::cut(nat::Entry& entry, Reason reason) {
  const auto resets = context_.nat.reset(entry, context_.pools.small, context_.now);
  for (rte_mbuf* reset : {resets.to_client, resets.to_upstream}) {
    if (reset != nullptr) edge_.send(reset);
  }
  end(entry, reason);
}

uint32_t Plain::review(uint32_t& next, uint32_t limit) {
  return context_.nat.for_range(next, limit, [&](nat::Entry& entry) {
    const flow::Record* record = record_of(entry);
    if (record == nullptr) return;
    if (const auto why = objection_to_plain(context_, *record)) cut(entry, *why);
  });
}

void Plain::close_all(Reason reason) {
  context_.nat.for_each([&](nat::Entry& entry) {
    if (record_of(entry) != nullptr) cut(entry, reason);
  });
}

}  // namespace isthmus::gateway
