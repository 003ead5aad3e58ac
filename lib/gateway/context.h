// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the parts of one worker share: its turn's time and plan, and the machinery below. The Worker
// owns it all and refreshes the first three before each turn.
#pragma once

#include <cstdint>
#include <string_view>

#include "flow/table.h"
#include "gateway/plan.h"
#include "gateway/quotas.h"
#include "gateway/random.h"
#include "hbone/engine.h"
#include "hbone/pool.h"
#include "nat/table.h"
#include "packet/owner.h"
#include "packet/pools.h"
#include "proxy/profile.h"
#include "stats/reason.h"
#include "tcp/engine.h"
#include "timer/time.h"

namespace isthmus::gateway {

// A pod can go without a word, and an idle or half-closed flow would wait for it for ever; ztunnel
// probes its sockets after the same time.
inline constexpr timer::Duration kPodKeepalive = std::chrono::seconds(180);

// How the packet that opened a flow came in.
struct Arrival {
  uint16_t interface = 0;
  uint32_t vni = 0;  // 0: not by Geneve
  packet::IpAddress geneve_source;
};

// What a SYN cookie says of its flow: through Geneve comes only the SYN, so the cookie must bring
// the class back to the ACK.
enum CookieTag : uint8_t { kInboundCookie, kOutboundCookie };

// An opening segment: SYN alone. SYN with FIN or RST opens nothing (RFC 9293 section 3.10.7.2).
bool opens(const packet::Parsed& segment);

struct Context {
  timer::Instant now{};
  tls::WallTime wall{};
  const Plan* plan = nullptr;

  unsigned index = 0;    // of the worker
  unsigned workers = 1;  // in the process
  packet::Pools pools;
  stats::ReasonCounters& reasons;
  flow::Table& flows;
  Quotas& quotas;
  Random& random;
  tcp::Engine& tcp;
  nat::Table& nat;
  packet::IndirectionTable owners;

  proxy::Settings settings() const {
    return {plan->profile, plan->own_addresses, plan->plaintext_past_waypoint};
  }
  // Our own address towards another; unspecified when there is none.
  packet::IpAddress own_address_to(const packet::IpAddress& address) const;
  // The source of a leg to a pod: the client's, or our own where there is none to show.
  packet::IpAddress source_to(const packet::IpAddress& client, const packet::Endpoint& pod) const {
    return client.is_unspecified() ? own_address_to(pod.address) : client;
  }
  // The MTU towards an address, and the interface that leads there.
  uint16_t interface_to(const packet::IpAddress& address) const;
  uint16_t mtu_to(const packet::IpAddress& address) const;
};

// A record filled with what is known on arrival; null when the table is full: gateway_flows_full,
// for the caller to count where that refuses the flow.
flow::Record* open_record(Context& context, flow::Kind kind, capture::Class capture_class,
                          const packet::Tuple& client, const Arrival& arrival);
// The flow is over; count_ for an orderly end. Counts nothing: a reason from below has been counted
// there. refused_authority: of a CONNECT that was refused, as it came.
void close_record(Context& context, flow::Record* record, stats::Reason reason,
                  std::string_view refused_authority = {});
// Likewise, for a reason that is found here: counted.
void fail_record(Context& context, flow::Record* record, stats::Reason reason);

}  // namespace isthmus::gateway
