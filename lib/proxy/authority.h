// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a decision reads of a CONNECT: its :authority, and the Forwarded that a waypoint may have
// sent. Nothing here is authenticated: hints, except where inbound.h says. How these texts are
// written is hbone/request.h's business.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "packet/address.h"

namespace isthmus::proxy {

inline constexpr size_t kMaxHostname = 253;                // RFC 1035 section 2.3.4
inline constexpr size_t kMaxAuthority = kMaxHostname + 6;  // and ":65535"

struct Authority {
  enum class Kind : uint8_t { invalid, address, hostname };
  Kind kind = Kind::invalid;
  packet::Endpoint endpoint;  // address
  std::string_view hostname;  // hostname: a view into what was parsed
  uint16_t port = 0;          // both
};

// "10.0.0.1:80", "[fd00::1]:80" or "host.name:80". Userinfo, a missing port, port 0, and labels
// that are no LDH labels (RFC 1123 section 2.1; underscore allowed) are invalid.
Authority parse_authority(std::string_view text) noexcept;

// The first for= node of a Forwarded value, when it is an address (port ignored).
std::optional<packet::IpAddress> parse_forwarded_for(std::string_view value) noexcept;

}  // namespace isthmus::proxy
