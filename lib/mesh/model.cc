// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/model.h"

#include "mesh/identity.h"

namespace isthmus::mesh {

std::string Workload::identity() const {
  return make_identity(trust_domain, namespace_, service_account);
}

bool StringMatch::matches(std::string_view text) const noexcept {
  switch (type) {
    case Type::exact:
      return text == value;
    case Type::prefix:
      return text.starts_with(value);
    case Type::suffix:
      return text.ends_with(value);
    case Type::presence:
      return !text.empty();
  }
  return false;
}

bool Match::empty() const noexcept {
  return namespaces.empty() && not_namespaces.empty() && principals.empty() &&
         not_principals.empty() && source_ips.empty() && not_source_ips.empty() &&
         destination_ips.empty() && not_destination_ips.empty() && destination_ports.empty() &&
         not_destination_ports.empty() && service_accounts.empty() && not_service_accounts.empty();
}

}  // namespace isthmus::mesh
