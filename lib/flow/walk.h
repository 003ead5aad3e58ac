// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A flow's way told in the numbered steps of the coexistence traffic-path article, with the flow's
// own addresses, ports, VNI, identities, verdicts and times. Says only what the record holds. For
// the console: control side, allocates.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "flow/record.h"

namespace isthmus::flow {

// What the numbers of a record are called; from the plan and the mesh of the moment.
class Names {
 public:
  virtual std::string interface(uint16_t index) const = 0;  // "node0"; empty: unknown
  virtual bool is_pod_interface(uint16_t index) const = 0;
  virtual std::string identity(uint32_t id) const = 0;  // SPIFFE URI; empty: none
  virtual std::string policy(uint32_t name) const = 0;  // "namespace/name"; empty: none
  virtual std::string hostname(uint32_t service) const = 0;
  virtual std::string address(const packet::IpAddress& address) const = 0;  // "default/sleep"

 protected:
  ~Names() = default;
};

struct Step {
  std::string number;  // "(4)(5)"; empty: a remark that has no number in the article
  std::string text;
};

const char* to_string(Kind kind) noexcept;
const char* to_string(State state) noexcept;

// Which of the article's paths the record belongs to, as far as this gateway can tell.
std::string title(const Record& record);
std::vector<Step> walk(const Report& report, const Names& names);

// The authority of the flow's CONNECT; empty when there was none. hostname: of authority_service.
std::string authority(const Report& report, std::string_view hostname);

}  // namespace isthmus::flow
