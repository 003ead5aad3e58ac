// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/quotas.h"

#include <utility>

namespace isthmus::gateway {

using stats::Reason;

namespace {

bool by_hbone(const flow::Record& record) {
  return record.capture == capture::Class::inbound_hbone_15008;
}

}  // namespace

// One kind of places: who has how many, and what they are refused for.
struct Quotas::Kind {
  flow::Holds holds;
  Places Quotas::*places;
  uint32_t Party::*count;
  Reason workload_has_enough;
  Reason client_has_enough;
};

constexpr Quotas::Kind Quotas::kRelayed = {flow::Holds::relayed, &Quotas::relayed_, &Party::relayed,
                                           Reason::gateway_workload_relayed,
                                           Reason::gateway_client_relayed};
constexpr Quotas::Kind Quotas::kTransports = {
    flow::Holds::transport, &Quotas::transports_, &Party::transports,
    Reason::gateway_workload_transports, Reason::gateway_client_transports};

Quotas::Quotas(const QuotaLimits& limits, const packet::SipKey& key)
    : limits_(limits),
      relayed_(limits.relayed),
      transports_(limits.transports),
      workloads_(limits.workloads, key),
      // Each has an HBONE connection, or asks for one.
      clients_(limits.transports == 0 ? 0 : limits.transports + 1, key) {
  for (uint32_t i = 0; i <= limits.workloads; ++i) {
    workloads_[i].share = relay::Share(limits.bytes_in_flight, shares_);
  }
}

// A client has an account as long as it has an HBONE connection, so there is one for each.
Quotas::Party* Quotas::client_of(const flow::Record& record) {
  if (!by_hbone(record)) return nullptr;
  return &clients_[clients_.find(record.client.source.address)];
}

stats::Refusal Quotas::admit(flow::Record& record) {
  const bool inbound =
      by_hbone(record) || record.capture == capture::Class::inbound_plaintext_15006;
  const packet::Endpoint& captured = inbound ? record.client.destination : record.client.source;
  const uint32_t at = workloads_.find_or_take(captured.address);
  Account& account = workloads_[at];
  if (limits_.flows != 0 && account.flows == limits_.flows) {
    ++account.refused;
    return Reason::gateway_workload_flows;
  }
  ++account.flows;
  record.account = at;
  if (by_hbone(record)) ++clients_[clients_.find_or_take(record.client.source.address)].flows;
  stats::Refusal refused;
  if (record.kind == flow::Kind::tunnel) {
    refused = objection(record, kTransports);
  } else if (record.kind == flow::Kind::inbound_stream ||
             record.kind == flow::Kind::outbound_hbone) {
    refused = hold(record, kRelayed);
  }
  if (refused) release(record);
  return refused;
}

stats::Refusal Quotas::objection(const flow::Record& record, const Kind& kind) {
  const Places& places = this->*kind.places;
  const auto has_enough = [&](Party& party) {
    const uint32_t has = party.*kind.count;
    if (has < places.limit(has)) return false;
    ++party.refused;
    return true;
  };
  if (has_enough(workloads_[record.account])) return kind.workload_has_enough;
  Party* client = client_of(record);
  if (client != nullptr && has_enough(*client)) return kind.client_has_enough;
  return std::nullopt;
}

stats::Refusal Quotas::hold(flow::Record& record, const Kind& kind) {
  if (const auto refused = objection(record, kind)) return refused;
  ++(workloads_[record.account].*kind.count);
  if (Party* client = client_of(record)) ++(client->*kind.count);
  (this->*kind.places).take();
  record.holds = kind.holds;
  return std::nullopt;
}

stats::Refusal Quotas::hold_transport(flow::Record& record) {
  return hold(record, kTransports);
}

void Quotas::release(flow::Record& record) {
  const uint32_t at = std::exchange(record.account, flow::kNoAccount);
  if (at == flow::kNoAccount) return;
  Party* client = client_of(record);
  const flow::Holds held = std::exchange(record.holds, flow::Holds::nothing);
  for (const Kind* kind : {&kRelayed, &kTransports}) {
    if (held != kind->holds) continue;
    --(workloads_[at].*kind->count);
    if (client != nullptr) --(client->*kind->count);
    (this->*kind->places).give_back();
  }
  --workloads_[at].flows;
  settle(workloads_, at);
  if (client == nullptr) return;
  --client->flows;
  settle(clients_, clients_.find(client->address));
}

// An account that has nothing is another's.
template <typename Each>
void Quotas::settle(Accounts<Each>& accounts, uint32_t at) {
  if (accounts[at].idle()) accounts.give_back(at);
}

stats::Refusal Quotas::begin_tunnel(Account& account) {
  if (limits_.pending_tunnels != 0 && account.pending_tunnels >= limits_.pending_tunnels) {
    ++account.refused;
    return Reason::gateway_workload_pending;
  }
  ++account.pending_tunnels;
  return std::nullopt;
}

stats::Refusal Quotas::begin_dial(const packet::IpAddress& workload, uint32_t& account) {
  account = workloads_.find_or_take(workload);
  Account& dialling = workloads_[account];
  if (dialling.transports >= transports_.limit(dialling.transports)) {
    ++dialling.refused;
    settle(workloads_, account);
    return Reason::gateway_workload_transports;
  }
  ++dialling.transports;
  transports_.take();
  return std::nullopt;
}

void Quotas::end_dial(uint32_t account) {
  --workloads_[account].transports;
  transports_.give_back();
  settle(workloads_, account);
}

uint32_t Quotas::held_syns(const packet::IpAddress& workload) const {
  return workloads_[workloads_.find(workload)].held_syns;
}

}  // namespace isthmus::gateway
