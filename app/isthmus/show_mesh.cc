// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mesh in the columns of istioctl ztunnel-config.
#include <fmt/format.h>

#include "mesh/snapshot.h"
#include "show.h"

namespace isthmus::app {
namespace {

std::string waypoint_text(const std::optional<mesh::GatewayAddress>& waypoint) {
  if (!waypoint) return "None";
  if (const auto* name = std::get_if<mesh::NamespacedHostname>(&waypoint->destination)) {
    return name->to_string();
  }
  return packet::Endpoint{std::get<mesh::NetworkAddress>(waypoint->destination).address,
                          waypoint->hbone_mtls_port}
      .to_string();
}

const char* protocol_text(const mesh::Workload& workload) {
  if (workload.native_tunnel) return "HBONE (native)";
  return workload.tunnel_protocol == mesh::TunnelProtocol::hbone ? "HBONE" : "TCP";
}

Json workload_rows(const mesh::Snapshot& mesh) {
  Json rows = Json::array();
  for (const auto& entry : mesh.workloads()) {
    const mesh::Workload& workload = *entry.workload;
    Json addresses = Json::array();
    for (const auto& address : workload.addresses) addresses.push_back(address.to_string());
    rows.push_back({{"namespace", workload.namespace_},
                    {"pod_name", workload.name},
                    {"address", addresses},
                    {"node", workload.node},
                    {"waypoint", waypoint_text(workload.waypoint)},
                    {"protocol", protocol_text(workload)},
                    {"ours", entry.local_ambient},
                    {"healthy", workload.status == mesh::WorkloadStatus::healthy}});
  }
  return rows;
}

Json service_rows(const mesh::Snapshot& mesh) {
  Json rows = Json::array();
  for (const auto& entry : mesh.services()) {
    const mesh::Service& service = *entry.service;
    Json addresses = Json::array();
    for (const auto& vip : service.addresses) addresses.push_back(vip.address.to_string());
    Json ports = Json::array();
    for (const auto& [port, target] : service.ports) {
      ports.push_back(fmt::format("{}:{}", port, target));
    }
    rows.push_back({{"namespace", service.namespace_},
                    {"service_name", service.name},
                    {"service_vip", addresses},
                    {"ports", ports},
                    {"waypoint", waypoint_text(service.waypoint)},
                    {"endpoints", entry.endpoints.size()}});
  }
  return rows;
}

Json policy_rows(const mesh::Snapshot& mesh) {
  static constexpr const char* kScopes[] = {"Global", "Namespace", "WorkloadSelector"};
  Json rows = Json::array();
  for (const auto& policy : mesh.model().policies) {
    rows.push_back(
        {{"namespace", policy.namespace_},
         {"policy_name", policy.name},
         {"action", policy.action == mesh::Authorization::Action::allow ? "Allow" : "Deny"},
         {"scope", kScopes[static_cast<unsigned>(policy.scope)]},
         {"rules", policy.rules.size()},
         {"dry_run", policy.dry_run}});
  }
  return rows;
}

}  // namespace

Json show_mesh(Application& application, const Arguments& arguments) {
  const mesh::Snapshot& mesh = *application.plan().mesh;
  const std::string kind = arguments.text("workloads|services|policies");
  if (kind == "workloads") return workload_rows(mesh);
  if (kind == "services") return service_rows(mesh);
  if (kind == "policies") return policy_rows(mesh);
  return {{"node", std::string(mesh.node())},
          {"network", std::string(mesh.network())},
          {"profile", application.plan().profile == mesh::Profile::v1_18 ? "1.18" : "head"},
          {"workloads", mesh.workloads().size()},
          {"workloads of ours", mesh.local_workloads().size()},
          {"services", mesh.services().size()},
          {"policies", mesh.model().policies.size()}};
}

}  // namespace isthmus::app
