// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Istio's L4 authorization: may this connection reach this workload? DENY policies first, then
// ALLOW; no ALLOW policy at all allows. Evaluated where the destination is ours: for HBONE on the
// CONNECT, for plaintext on the SYN (without identity), in memory for two pods of one node.
//
// Beyond Istio: a policy that the workload names and that the snapshot does not have denies
// (ztunnel skips it, so a missing DENY, or the only ALLOW missing, would open the workload).
#pragma once

#include <cstdint>
#include <optional>

#include "mesh/identity.h"
#include "mesh/model.h"
#include "mesh/snapshot.h"
#include "packet/address.h"

namespace isthmus::mesh {

struct Connection {
  // What the peer proved by its certificate; none for plaintext. An absent identity has an empty
  // namespace and matches no principal, so every not_principals matches it (that is STRICT).
  std::optional<Identity> source_identity;
  packet::IpAddress source;      // the TCP peer, never a header's claim
  packet::Endpoint destination;  // the pod's address and its target port
};

struct RbacDecision {
  enum class Why : uint8_t {
    no_policy,         // allowed: no ALLOW policy applies
    allow_matched,     // allowed by policy, rule
    deny_matched,      // denied by policy, rule
    strict,            // denied by policy, rule: it asks for an identity, and there is none
    no_allow_matched,  // denied: ALLOW policies apply, none matched
    policy_missing,    // denied: policy is named by the workload, and nobody has sent it
  };
  bool allowed = false;
  Why why = Why::no_allow_matched;
  NameId policy = kNoName;  // "namespace/name"
  uint16_t rule = 0;        // index in the policy's rules
  // The first dry-run DENY policy that would have denied; for telemetry.
  NameId dry_run = kNoName;
};

RbacDecision evaluate(Profile profile, const WorkloadEntry& destination,
                      const Connection& connection) noexcept;

// The index of the policy's first rule that matches; none when no rule does.
std::optional<uint16_t> matching_rule(Profile profile, const Authorization& policy,
                                      const Connection& connection) noexcept;

// One line for people, without names: "denied: a DENY policy matches".
const char* text(RbacDecision::Why why) noexcept;

}  // namespace isthmus::mesh
