// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/walk.h"

#include <fmt/format.h>

namespace isthmus::proxy {

namespace {

const char* text(mesh::NoUpstream why) {
  switch (why) {
    case mesh::NoUpstream::no_port:
      return "it has no such port";
    case mesh::NoUpstream::no_endpoint:
      return "none is healthy, reachable and untried";
    case mesh::NoUpstream::no_workload:
      return "the mesh does not know it";
  }
  return "";
}

}  // namespace

std::string describe(const Step& step, const mesh::Snapshot& snapshot) {
  const std::string at = step.endpoint.to_string();
  const std::string host = step.endpoint.address.to_string();
  const std::string_view id = snapshot.identity(step.identity);
  const std::string_view name = snapshot.name(step.name);
  const auto why = static_cast<mesh::NoUpstream>(step.detail);
  switch (step.kind) {
    case StepKind::source_workload:
      return fmt::format("source {} is {}", at, id);
    case StepKind::source_unknown:
      return fmt::format("source {} is not in the mesh", at);
    case StepKind::to_service:
      return fmt::format("destination {} is service {}", at, name);
    case StepKind::to_workload:
      return fmt::format("destination {} is workload {}", at, id);
    case StepKind::to_unknown:
      return fmt::format("destination {} is outside the mesh", at);
    case StepKind::endpoint_chosen:
      return step.count == 0
                 ? fmt::format("endpoint {} ({}) of {}", at, id, name)
                 : fmt::format("endpoint {} ({}) of {}, {} tried before", at, id, name, step.count);
    case StepKind::no_endpoint:
      return fmt::format("no endpoint of {} for {}: {}", name, at, text(why));
    case StepKind::service_waypoint:
      return fmt::format("service {} has a waypoint", name);
    case StepKind::workload_waypoint:
      return fmt::format("workload {} has a waypoint", host);
    case StepKind::waypoint_chosen:
      return fmt::format("waypoint {} ({})", at, id);
    case StepKind::waypoint_missing:
      return fmt::format("no waypoint pod: {}", text(why));
    case StepKind::same_node:
      return fmt::format("{} ({}) is on this node", at, id);
    case StepKind::tunnel:
      return fmt::format("HBONE to {}, which must be {}", at, id);
    case StepKind::plaintext:
      return fmt::format("plaintext to {}", at);
    case StepKind::authority:
      return fmt::format("CONNECT {}", at);
    case StepKind::from_waypoint:
      return fmt::format("peer {} is the pod's waypoint {}: its policy has been applied", at, id);
    case StepKind::rbac: {
      const auto rbac = static_cast<mesh::RbacDecision::Why>(step.detail);
      if (step.name == mesh::kNoName) return mesh::text(rbac);
      return fmt::format("{} ({} rule {})", mesh::text(rbac), name, step.count);
    }
    case StepKind::upstream:
      return fmt::format("to pod {} ({})", at, id);
    case StepKind::self_call:
      return fmt::format("destination {} is the gateway itself", at);
  }
  return {};
}

}  // namespace isthmus::proxy
