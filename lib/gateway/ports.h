// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Source ports of the connections that the gateway originates. A port is fresh (on a node port the
// captured 4-tuple is taken in the host's conntrack), random (RFC 6056), free in the worker's
// tables, and such that the replies are owned by this worker.
#pragma once

#include <cstdint>

#include "gateway/context.h"

namespace isthmus::gateway {

// Below what hosts take for their own connections to the same destination (Linux: from 32768).
inline constexpr packet::PortRange kOriginatedPorts{.low = 1024, .high = 32767};

class Ports {
 public:
  explicit Ports(Context& context) : context_(context) {}

  // A free port for a connection from that address; 0 when none was found among the candidates
  // that are tried.
  uint16_t choose(const packet::IpAddress& from, const packet::Endpoint& to);

 private:
  Context& context_;
};

}  // namespace isthmus::gateway
