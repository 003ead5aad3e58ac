// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What becomes of a flow that a pod of ours opens (class 15001). Pure: the same snapshot, settings
// and random bits give the same decision. Allocates nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "mesh/rbac.h"
#include "mesh/snapshot.h"
#include "packet/address.h"
#include "proxy/profile.h"
#include "proxy/walk.h"
#include "stats/reason.h"

namespace isthmus::proxy {

// Any one of these is what the peer of a tunnel must prove (exact SPIFFE id).
struct ExpectedIdentities {
  std::array<mesh::IdentityId, mesh::kMaxServiceSans + 1> ids{};
  uint8_t count = 0;

  void add(mesh::IdentityId id) noexcept {
    if (count < ids.size()) ids[count++] = id;
  }
  std::span<const mesh::IdentityId> list() const noexcept { return {ids.data(), count}; }
  friend bool operator==(const ExpectedIdentities&, const ExpectedIdentities&) = default;
};

enum class OutboundKind : uint8_t {
  passthrough,  // outside the mesh: translated to upstream = the original destination
  direct,       // an endpoint that speaks plaintext: translated to upstream
  local,        // a pod of this node in the mesh: translated to upstream, RBAC already allowed it
  hbone,        // a CONNECT stream through a tunnel to upstream
  refuse,       // reason
};

struct OutboundDecision {
  OutboundKind kind = OutboundKind::refuse;
  stats::Reason reason = stats::Reason::count_;  // refuse only
  // hbone: through a waypoint, which applies the policy of the destination.
  bool to_waypoint = false;
  // local: the pod talks to itself through a service. A packet from its own address would be a
  // martian to it, so the leg leaves with the gateway's own.
  bool own_source = false;
  // Where the leg goes: TCP address and port; for hbone the tunnel's (port 15008).
  packet::Endpoint upstream;
  // The workload address to add to tried when this upstream fails; unspecified when there is no
  // other to try (passthrough, or the workload itself was addressed).
  packet::IpAddress retry_key;
  packet::Endpoint authority;                            // hbone: of the CONNECT
  mesh::IdentityId source_identity = mesh::kNoIdentity;  // the source pod's; hbone presents it
  ExpectedIdentities expected;                           // hbone
  mesh::NameId service = mesh::kNoName;                  // what was addressed, if a service
  const mesh::WorkloadEntry* source = nullptr;           // good while the snapshot is
  const mesh::WorkloadEntry* destination = nullptr;      // the next hop's workload; the same
  mesh::RbacDecision rbac;                               // local
  Walk walk;
};

struct OutboundRequest {
  packet::Endpoint source;                   // the pod's address and port
  packet::Endpoint destination;              // as the pod sent it: a VIP, a pod, anything
  uint64_t random = 0;                       // fresh for each attempt
  std::span<const packet::IpAddress> tried;  // retry_keys of attempts that failed
};

OutboundDecision decide_outbound(const mesh::Snapshot& snapshot, const Settings& settings,
                                 const OutboundRequest& request) noexcept;

}  // namespace isthmus::proxy
