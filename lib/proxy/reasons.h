// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How an RBAC decision is counted and walked. Shared by both directions.
#pragma once

#include "mesh/rbac.h"
#include "proxy/walk.h"
#include "stats/reason.h"

namespace isthmus::proxy {

inline stats::Reason rbac_reason(mesh::RbacDecision::Why why) noexcept {
  using Why = mesh::RbacDecision::Why;
  switch (why) {
    case Why::strict:
      return stats::Reason::mesh_rbac_strict;
    case Why::no_allow_matched:
      return stats::Reason::mesh_rbac_not_allowed;
    case Why::policy_missing:
      return stats::Reason::mesh_policy_missing;
    default:
      return stats::Reason::mesh_rbac_denied;
  }
}

inline Step rbac_step(const mesh::RbacDecision& decision) noexcept {
  Step step;
  step.kind = StepKind::rbac;
  step.detail = static_cast<uint8_t>(decision.why);
  step.count = decision.rule;
  step.name = decision.policy;
  return step;
}

}  // namespace isthmus::proxy
