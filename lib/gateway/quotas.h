// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What each workload may have of this worker, so that none of them can starve the others. A flow is
// of the workload whose traffic was captured: the source of an outbound flow, the destination of an
// inbound one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "flow/record.h"
#include "packet/address.h"
#include "packet/siphash.h"
#include "relay/share.h"
#include "stats/reason.h"

namespace isthmus::gateway {

// Of one workload on one worker; 0: none.
struct QuotaLimits {
  uint32_t flows = 0;            // those are refused that exceed it
  uint32_t pending_tunnels = 0;  // asked for, not answered; inbound: the pod has not accepted yet
  uint64_t bytes_in_flight = 0;  // relayed bytes between its legs; its flows are read no further
  uint32_t workloads = 1024;     // at once: those beyond it share one account
};

class Quotas {
 public:
  struct Account {
    packet::IpAddress address;  // unspecified: of those that share
    uint32_t flows = 0;
    uint32_t pending_tunnels = 0;
    uint32_t held_syns = 0;
    uint64_t refused = 0;  // since its first flow of those that are live
    relay::Share share;
    uint32_t next = 0;  // in its bucket, or of the free ones

    bool unused() const {
      return flows == 0 && pending_tunnels == 0 && held_syns == 0 && share.used() == 0;
    }
  };

  Quotas(const QuotaLimits& limits, const packet::SipKey& key);
  Quotas(const Quotas&) = delete;
  Quotas& operator=(const Quotas&) = delete;

  // Counts a flow; release() when it is over. A reason, not counted, when its workload has enough.
  stats::Refusal admit(flow::Record& record);
  void release(flow::Record& record);
  // Of a flow that was admitted.
  Account& of(const flow::Record& record) { return accounts_[record.account]; }
  // Likewise for a tunnel of such a flow.
  stats::Refusal begin_tunnel(Account& account);
  void end_tunnel(Account& account) { --account.pending_tunnels; }
  // SYNs of the workload that are held.
  uint32_t held_syns(const packet::IpAddress& workload) const;

  // Flows that wait for their workload's bytes to go: some are looked at. Returns whether others
  // are left.
  bool resume() { return shares_.resume(kLookedAtPerTurn); }

  const QuotaLimits& limits() const { return limits_; }
  // visit(const Account&) of each workload that has something. Linear in limits().workloads.
  template <typename Visitor>
  void for_each(Visitor&& visit) const {
    for (uint32_t i = 0; i <= limits_.workloads; ++i) {
      if (!accounts_[i].unused()) visit(accounts_[i]);
    }
  }

 private:
  static constexpr uint32_t kShared = 0;  // the account of those that found none; ends lists, too
  static constexpr unsigned kLookedAtPerTurn = 64;

  uint32_t& bucket_of(const packet::IpAddress& address) {
    return buckets_[packet::siphash(key_, address) & (buckets_.size() - 1)];
  }
  uint32_t find(const packet::IpAddress& address) const;
  uint32_t find_or_take(const packet::IpAddress& address);

  const QuotaLimits limits_;
  const packet::SipKey key_;
  relay::Shares shares_;
  std::unique_ptr<Account[]> accounts_;
  std::vector<uint32_t> buckets_;
  uint32_t free_ = kShared;
};

}  // namespace isthmus::gateway
