// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The steps that a decision took, kept as numbers with the flow and told by the control side
// (show flow N walk).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "mesh/identity.h"
#include "mesh/rbac.h"
#include "mesh/snapshot.h"
#include "packet/address.h"

namespace isthmus::proxy {

enum class StepKind : uint8_t {
  source_workload,    // endpoint.address is a workload; identity
  source_unknown,     // endpoint.address is none
  to_service,         // endpoint (VIP:port) is the service name
  to_workload,        // endpoint is a workload's address; identity
  to_unknown,         // endpoint is outside the mesh
  endpoint_chosen,    // endpoint of the service name, identity; count: endpoints already tried
  no_endpoint,        // of the service name; detail: mesh::NoUpstream
  service_waypoint,   // the service name has a waypoint
  workload_waypoint,  // the workload at endpoint.address has a waypoint
  waypoint_chosen,    // endpoint is the waypoint pod's 15008, identity
  waypoint_missing,   // the waypoint cannot be reached; detail: mesh::NoUpstream
  same_node,          // both ends are here: joined in memory
  tunnel,             // HBONE to endpoint, which must prove identity
  plaintext,          // plain TCP to endpoint
  authority,          // the CONNECT names endpoint
  from_waypoint,      // the peer is the pod's own waypoint: identity
  rbac,               // detail: mesh::RbacDecision::Why; name: the policy; count: its rule
  upstream,           // TCP to the pod at endpoint; identity
  self_call,          // endpoint is the gateway's own
};

struct Step {
  StepKind kind = StepKind::to_unknown;
  uint8_t detail = 0;
  uint16_t count = 0;
  mesh::NameId name = mesh::kNoName;
  mesh::IdentityId identity = mesh::kNoIdentity;
  packet::Endpoint endpoint;
};

class Walk {
 public:
  static constexpr unsigned kMaxSteps = 8;
  // What does not fit is left out; no decision takes so many.
  void add(const Step& step) noexcept {
    if (count_ < kMaxSteps) steps_[count_++] = step;
  }
  std::span<const Step> steps() const noexcept { return {steps_.data(), count_}; }

 private:
  std::array<Step, kMaxSteps> steps_{};
  uint8_t count_ = 0;
};

// One line for people. Control side: allocates.
std::string describe(const Step& step, const mesh::Snapshot& snapshot);

}  // namespace isthmus::proxy
