// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What each workload may have of this worker, so that none of them can starve the others. A flow is
// of the workload whose traffic was captured: the source of an outbound flow, the destination of an
// inbound one. A workload has one account for each, so that whoever connects to it does not keep it
// from connecting to others. What comes by HBONE is of the client, too, who may go from workload to
// workload.
#pragma once

#include <algorithm>
#include <cstdint>

#include "flow/record.h"
#include "gateway/accounts.h"
#include "packet/address.h"
#include "packet/siphash.h"
#include "relay/share.h"
#include "stats/reason.h"

namespace isthmus::gateway {

// Of one account of a workload on one worker; 0: none.
struct QuotaLimits {
  uint32_t flows = 0;            // those are refused that exceed it
  uint32_t pending_tunnels = 0;  // asked for, not answered; inbound: the pod has not accepted yet
  uint64_t bytes_in_flight = 0;  // relayed bytes between its legs; its flows are read no further
  uint32_t workloads = 1024;     // at once, each way: those beyond it share one account
  // Places of the whole worker, shared out by Places; 0: whoever comes first has them.
  uint32_t relayed = 0;
  uint32_t transports = 0;
};

// Places that are shared out. A workload has at most three quarters of what the others leave: alone
// three quarters of all, of two each 3/7, and however many take what they can get, there is some
// left for whoever comes next. A client has at most half, so that the places of a workload which it
// is after are not all its own.
class Places {
 public:
  enum class Of : uint8_t { workload = 4, client = 2 };  // one part in so many is left

  explicit Places(uint32_t size) : size_(size) {}

  // Of one that has so many now; at least 1: that there is none left is said elsewhere.
  uint32_t limit(uint32_t has, Of whom) const {
    if (size_ == 0) return UINT32_MAX;
    const uint32_t left = size_ - std::min(size_, taken_ - has);
    return std::max(left - left / static_cast<uint32_t>(whom), 1U);
  }
  void take() { ++taken_; }
  void give_back() { --taken_; }

 private:
  const uint32_t size_;
  uint32_t taken_ = 0;
};

class Quotas {
 public:
  // A client of HBONE, or what a workload has likewise.
  struct Party {
    packet::IpAddress address;  // unspecified: of those that share
    uint32_t flows = 0;
    uint32_t relayed = 0;     // of those: they end here, both legs
    uint32_t transports = 0;  // HBONE connections whose client is known, and those to others
    uint32_t strangers = 0;   // and those whose client is not known yet: no flows, bounded by none
    uint64_t refused = 0;     // since its first flow of those that are live
    uint32_t next = 0;        // in its bucket, or of the free ones

    bool idle() const { return flows == 0 && transports == 0 && strangers == 0; }
  };
  struct Account : Party {
    bool serves = false;  // for what is asked of the workload; otherwise for what it asks
    uint32_t pending_tunnels = 0;
    uint32_t held_syns = 0;
    relay::Share share;

    bool unused() const {
      return idle() && pending_tunnels == 0 && held_syns == 0 && share.used() == 0;
    }
  };

  Quotas(const QuotaLimits& limits, const packet::SipKey& key);
  Quotas(const Quotas&) = delete;
  Quotas& operator=(const Quotas&) = delete;

  // Counts a flow of its kind; release() when it is over. A reason, not counted, when its workload
  // or client has enough.
  stats::Refusal admit(flow::Record& record);
  void release(flow::Record& record);
  // Of a flow that was admitted.
  Account& of(const flow::Record& record) { return accounts_of(record)[record.account]; }
  // Likewise for a tunnel of such a flow.
  stats::Refusal begin_tunnel(Account& account);
  void end_tunnel(Account& account) { --account.pending_tunnels; }
  // An HBONE connection that was admitted has a client who proved who it is. Those that have not
  // cannot use up what is shared out: they make way (hbone::Engine). Until release().
  stats::Refusal hold_transport(flow::Record& record);
  // An HBONE connection of a workload to others: its account, for end_dial().
  stats::Refusal begin_dial(const packet::IpAddress& workload, uint32_t& account);
  void end_dial(uint32_t account);
  // SYNs of the workload that are held.
  uint32_t held_syns(const packet::IpAddress& workload) const;

  // Flows that wait for their workload's bytes to go: some are looked at. Returns whether others
  // are left.
  bool resume() { return shares_.resume(kLookedAtPerTurn); }

  const QuotaLimits& limits() const { return limits_; }
  // What one may have now.
  uint32_t relayed_limit(const Account& workload) const {
    return relayed_.limit(workload.relayed, Places::Of::workload);
  }
  uint32_t relayed_limit(const Party& client) const {
    return relayed_.limit(client.relayed, Places::Of::client);
  }
  uint32_t transports_limit(const Account& workload) const {
    return transports_.limit(workload.transports, Places::Of::workload);
  }
  uint32_t transports_limit(const Party& client) const {
    return transports_.limit(client.transports, Places::Of::client);
  }
  // visit(const Account&) of each that has something. Linear in limits().workloads.
  template <typename Visitor>
  void for_each(Visitor&& visit) const {
    for (const Accounts<Account>* accounts : {&asking_, &serving_}) {
      for (uint32_t i = 0; i <= accounts->capacity(); ++i) {
        if (!(*accounts)[i].unused()) visit((*accounts)[i]);
      }
    }
  }
  // visit(const Party&), likewise of clients. Linear in limits().transports.
  template <typename Visitor>
  void for_each_client(Visitor&& visit) const {
    for (uint32_t i = 0; i <= clients_.capacity(); ++i) {
      if (!clients_[i].idle()) visit(clients_[i]);
    }
  }

 private:
  static constexpr unsigned kLookedAtPerTurn = 64;
  struct Kind;
  static const Kind kRelayed;
  static const Kind kTransports;

  // Why the flow cannot have a place of the kind.
  stats::Refusal objection(const flow::Record& record, const Kind& kind);
  stats::Refusal hold(flow::Record& record, const Kind& kind);
  Accounts<Account>& accounts_of(const flow::Record& record);
  bool has_flows_enough(Account& account) const;
  // Null when it did not come by HBONE. It is there as long as the flow counts.
  Party* client_of(const flow::Record& record);
  template <typename Each>
  static void settle(Accounts<Each>& accounts, uint32_t at);

  const QuotaLimits limits_;
  Places relayed_;
  Places transports_;
  relay::Shares shares_;
  Accounts<Account> asking_;
  Accounts<Account> serving_;
  Accounts<Party> clients_;
};

}  // namespace isthmus::gateway
