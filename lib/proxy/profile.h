// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the decisions depend on beside the mesh. The profile's differences stand in a table in
// docs/configuration.md.
#pragma once

#include <span>

#include "mesh/model.h"
#include "packet/address.h"

namespace isthmus::proxy {

using Profile = mesh::Profile;  // v1_18, head

struct Settings {
  Profile profile = Profile::v1_18;
  // The gateway's own addresses: a flow to one of them would be a call to ourselves.
  std::span<const packet::IpAddress> own_addresses;
  // Plaintext to a pod that has a waypoint goes past the waypoint's policy, so it is refused;
  // true lets it pass (ztunnel at head does).
  bool plaintext_past_waypoint = false;
};

}  // namespace isthmus::proxy
