// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the numbers in flow records are called, by the plan of the moment.
#pragma once

#include <string>

#include "flow/walk.h"
#include "gateway/plan.h"

namespace isthmus::app {

class PlanNames final : public flow::Names {
 public:
  explicit PlanNames(const gateway::Plan& plan) : plan_(plan) {}

  std::string interface(uint16_t index) const override;
  bool is_pod_interface(uint16_t index) const override;
  std::string identity(uint32_t id) const override;
  std::string policy(uint32_t name) const override;
  std::string hostname(uint32_t service) const override;
  // "namespace/name" of the workload or the service there.
  std::string address(const packet::IpAddress& address) const override;

 private:
  const gateway::Plan& plan_;
};

}  // namespace isthmus::app
