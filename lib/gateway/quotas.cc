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
bool is_inbound(const flow::Record& record) {
  return by_hbone(record) || record.capture == capture::Class::inbound_plaintext_15006;
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
      asking_(limits.workloads, key),
      serving_(limits.workloads, key),
      // Each has an HBONE connection, or asks for one.
      clients_(limits.transports == 0 ? 0 : limits.transports + 1, key) {
  for (uint32_t i = 0; i <= limits.workloads; ++i) {
    asking_[i].share = relay::Share(limits.bytes_in_flight, shares_);
    serving_[i].share = relay::Share(limits.bytes_in_flight, shares_);
    serving_[i].serves = true;
  }
}

Accounts<Quotas::Account>& Quotas::accounts_of(const flow::Record& record) {
  return is_inbound(record) ? serving_ : asking_;
}

bool Quotas::has_flows_enough(Account& account) const {
  if (limits_.flows == 0 || account.flows < limits_.flows) return false;
  ++account.refused;
  return true;
}

// A client has an account as long as it has an HBONE connection, so there is one for each.
Quotas::Party* Quotas::client_of(const flow::Record& record) {
  if (!by_hbone(record)) return nullptr;
  return &clients_[clients_.find(record.client.source.address)];
}

stats::Refusal Quotas::admit(flow::Record& record) {
  Accounts<Account>& accounts = accounts_of(record);
  const packet::Tuple& tuple = record.client;
  const packet::Endpoint& captured = is_inbound(record) ? tuple.destination : tuple.source;
  const uint32_t at = accounts.find_or_take(captured.address);
  const bool stranger = record.kind == flow::Kind::tunnel;
  if (!stranger && has_flows_enough(accounts[at])) return Reason::gateway_workload_flows;
  uint32_t Party::*const count = stranger ? &Party::strangers : &Party::flows;
  ++(accounts[at].*count);
  record.account = at;
  if (by_hbone(record)) ++(clients_[clients_.find_or_take(tuple.source.address)].*count);
  stats::Refusal refused;
  if (stranger) {
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
  const auto has_enough = [&](Party& party, Places::Of whom) {
    const uint32_t has = party.*kind.count;
    if (has < places.limit(has, whom)) return false;
    ++party.refused;
    return true;
  };
  if (has_enough(of(record), Places::Of::workload)) return kind.workload_has_enough;
  Party* client = client_of(record);
  if (client != nullptr && has_enough(*client, Places::Of::client)) return kind.client_has_enough;
  return std::nullopt;
}

stats::Refusal Quotas::hold(flow::Record& record, const Kind& kind) {
  if (const auto refused = objection(record, kind)) return refused;
  ++(of(record).*kind.count);
  if (Party* client = client_of(record)) ++(client->*kind.count);
  (this->*kind.places).take();
  record.holds = kind.holds;
  return std::nullopt;
}

stats::Refusal Quotas::hold_transport(flow::Record& record) {
  Account& account = of(record);
  if (has_flows_enough(account)) return Reason::gateway_workload_flows;
  if (const auto refused = hold(record, kTransports)) return refused;
  for (Party* party : {static_cast<Party*>(&account), client_of(record)}) {
    --party->strangers;
    ++party->flows;
  }
  return std::nullopt;
}

void Quotas::release(flow::Record& record) {
  if (record.account == flow::kNoAccount) return;
  Account& account = of(record);
  Party* client = client_of(record);
  const flow::Holds held = std::exchange(record.holds, flow::Holds::nothing);
  for (const Kind* kind : {&kRelayed, &kTransports}) {
    if (held != kind->holds) continue;
    --(account.*kind->count);
    if (client != nullptr) --(client->*kind->count);
    (this->*kind->places).give_back();
  }
  const bool stranger = record.kind == flow::Kind::tunnel && held == flow::Holds::nothing;
  uint32_t Party::*const count = stranger ? &Party::strangers : &Party::flows;
  --(account.*count);
  settle(accounts_of(record), std::exchange(record.account, flow::kNoAccount));
  if (client == nullptr) return;
  --(client->*count);
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
  account = asking_.find_or_take(workload);
  Account& dialling = asking_[account];
  if (dialling.transports >= transports_limit(dialling)) {
    ++dialling.refused;
    settle(asking_, account);
    return Reason::gateway_workload_transports;
  }
  ++dialling.transports;
  transports_.take();
  return std::nullopt;
}

void Quotas::end_dial(uint32_t account) {
  --asking_[account].transports;
  transports_.give_back();
  settle(asking_, account);
}

uint32_t Quotas::held_syns(const packet::IpAddress& workload) const {
  return asking_[asking_.find(workload)].held_syns;
}

}  // namespace isthmus::gateway
