// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/quotas.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace isthmus::gateway {

using stats::Reason;

Quotas::Quotas(const QuotaLimits& limits, const packet::SipKey& key)
    : limits_(limits),
      key_(key),
      accounts_(std::make_unique<Account[]>(size_t{limits.workloads} + 1)),
      buckets_(std::bit_ceil(std::max(limits.workloads, 2u)), kShared) {
  for (uint32_t i = 0; i <= limits.workloads; ++i) {
    accounts_[i].share = relay::Share(limits.bytes_in_flight, shares_);
  }
  for (uint32_t i = limits.workloads; i > kShared; --i) {
    accounts_[i].next = std::exchange(free_, i);
  }
}

uint32_t Quotas::find(const packet::IpAddress& address) const {
  uint32_t at = buckets_[packet::siphash(key_, address) & (buckets_.size() - 1)];
  while (at != kShared && accounts_[at].address != address) at = accounts_[at].next;
  return at;
}

uint32_t Quotas::find_or_take(const packet::IpAddress& address) {
  uint32_t at = find(address);
  if (at != kShared || free_ == kShared) return at;
  at = free_;
  Account& account = accounts_[at];
  free_ = account.next;
  account.address = address;
  account.refused = 0;
  account.next = std::exchange(bucket_of(address), at);
  return at;
}

stats::Refusal Quotas::admit(flow::Record& record) {
  const bool inbound = record.capture == capture::Class::inbound_hbone_15008 ||
                       record.capture == capture::Class::inbound_plaintext_15006;
  const packet::Endpoint& captured = inbound ? record.client.destination : record.client.source;
  const uint32_t at = find_or_take(captured.address);
  Account& account = accounts_[at];
  if (limits_.flows != 0 && account.flows == limits_.flows) {
    ++account.refused;
    return Reason::gateway_workload_flows;
  }
  ++account.flows;
  record.account = at;
  return std::nullopt;
}

void Quotas::release(flow::Record& record) {
  const uint32_t at = std::exchange(record.account, flow::kNoAccount);
  if (at == flow::kNoAccount || --accounts_[at].flows != 0 || at == kShared) return;
  Account& account = accounts_[at];
  uint32_t* link = &bucket_of(account.address);
  while (*link != at) link = &accounts_[*link].next;
  *link = account.next;
  account.next = std::exchange(free_, at);
}

stats::Refusal Quotas::begin_tunnel(Account& account) {
  if (limits_.pending_tunnels != 0 && account.pending_tunnels >= limits_.pending_tunnels) {
    ++account.refused;
    return Reason::gateway_workload_pending;
  }
  ++account.pending_tunnels;
  return std::nullopt;
}

uint32_t Quotas::held_syns(const packet::IpAddress& workload) const {
  return accounts_[find(workload)].held_syns;
}

}  // namespace isthmus::gateway
