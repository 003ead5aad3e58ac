// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What becomes of a flow towards a pod of ours: a CONNECT on an HBONE connection (class 15008) or
// plaintext (class 15006). Pure and without allocation, as outbound.h.
//
// CONNECT is answered, in this order:
//   1.18                                             head
//   404 the method is not CONNECT                    400
//   400 :authority is no address and port            400 nor a hostname and port
//   400 its address is not the connection's          503 the pod is not known, or not on this node
//   404 the pod is not known, or not on this node    400 the address is not the connection's, and
//   the
//                                                        pod is not its waypoint and has no tunnel
//   (skipped when the peer is the pod's waypoint:)   503 the hostname is unknown, or lacks the port
//   401 RBAC denies                                  503 the port is 15001, 15006 or 15008
//   401 the pod has a waypoint                       401 RBAC denies
//   503 the pod did not accept the TCP connection (the caller's)
//   200 once it did
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mesh/rbac.h"
#include "mesh/snapshot.h"
#include "packet/address.h"
#include "proxy/profile.h"
#include "proxy/walk.h"
#include "stats/reason.h"

namespace isthmus::proxy {

struct ConnectRequest {
  std::string_view method;                // of the request: only CONNECT is served
  std::string_view authority;             // as received
  std::string_view forwarded;             // empty when there is none
  std::optional<mesh::Identity> peer;     // proved by the client's certificate
  packet::Endpoint source;                // the TCP peer
  packet::Endpoint original_destination;  // of the HBONE connection: pod address, 15008
};

struct InboundDecision {
  // 200: connect to upstream, then answer 200, or 503 when that fails. Else the code to answer.
  // Plaintext: 200 passes, everything else resets.
  uint16_t status = 503;
  stats::Reason reason = stats::Reason::count_;  // when it is not 200
  packet::Endpoint upstream;                     // the pod's address and port
  // The source address of the upstream leg: the client's, so that the pod sees it. Unspecified when
  // that is the pod's own, which it would take for a martian: then the gateway's own.
  packet::IpAddress spoofed_source;
  packet::Endpoint authority;  // as understood; an unspecified address where it had a hostname
  mesh::NameId authority_service = mesh::kNoName;  // that the hostname names, where it is known
  bool from_waypoint = false;
  const mesh::WorkloadEntry* destination = nullptr;  // good while the snapshot is
  mesh::IdentityId destination_identity = mesh::kNoIdentity;
  mesh::RbacDecision rbac;
  Walk walk;
};

InboundDecision decide_inbound_hbone(const mesh::Snapshot& snapshot, const Settings& settings,
                                     const ConnectRequest& request) noexcept;

// tuple: as captured, from the client to the pod.
InboundDecision decide_inbound_plaintext(const mesh::Snapshot& snapshot, const Settings& settings,
                                         const packet::Tuple& tuple) noexcept;

// The identity whose certificate the gateway presents on an HBONE connection to that address;
// kNoIdentity when the address is no pod of ours, or one that speaks HBONE itself (the handshake is
// then refused).
mesh::IdentityId server_identity(const mesh::Snapshot& snapshot,
                                 const packet::IpAddress& original_destination) noexcept;

}  // namespace isthmus::proxy
