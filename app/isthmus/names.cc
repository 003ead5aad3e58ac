// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "names.h"

namespace isthmus::app {

std::string PlanNames::interface(uint16_t index) const {
  return index < plan_.interfaces.size() ? plan_.interfaces[index].name : std::string();
}

bool PlanNames::is_pod_interface(uint16_t index) const {
  return index < plan_.interfaces.size() && plan_.interfaces[index].role == capture::PortRole::pod;
}

std::string PlanNames::identity(uint32_t id) const {
  return std::string(plan_.mesh->identity(id));
}

std::string PlanNames::policy(uint32_t name) const {
  return std::string(plan_.mesh->name(name));
}

std::string PlanNames::hostname(uint32_t service) const {
  return std::string(plan_.mesh->hostname(service));
}

std::string PlanNames::address(const packet::IpAddress& address) const {
  if (const auto* entry = plan_.mesh->find_workload(address); entry != nullptr) {
    return entry->workload->namespace_ + "/" + entry->workload->name;
  }
  if (const auto* entry = plan_.mesh->find_service(address, ""); entry != nullptr) {
    return entry->service->namespace_ + "/" + entry->service->name;
  }
  return "";
}

}  // namespace isthmus::app
