// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The :authority of a CONNECT, and the few headers that HBONE gives a meaning, read and written
// without a heap. Nothing here is authenticated: hints for telemetry, except where inbound.h says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "mesh/model.h"
#include "packet/address.h"

namespace isthmus::proxy {

inline constexpr size_t kMaxHostname = 253;                // RFC 1035 section 2.3.4
inline constexpr size_t kMaxAuthority = kMaxHostname + 6;  // and ":65535"
inline constexpr size_t kMaxEndpointText = 48;             // "[v6]:port"

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

// Writes "10.0.0.1:80" or "[fd00::1]:80"; returns the length. Room: at least kMaxEndpointText.
size_t format_authority(const packet::Endpoint& endpoint, std::span<char> out) noexcept;

// RFC 7239 Forwarded, as ztunnel writes it. 1.18: for=10.0.0.1 (IPv6 quoted and bracketed);
// head: for="10.0.0.1:4000", then ;host=HOSTNAME when there is one. 0 when it does not fit.
size_t format_forwarded(mesh::Profile profile, const packet::Endpoint& client,
                        std::string_view service_hostname, std::span<char> out) noexcept;

// The first for= node of a Forwarded value, when it is an address (port ignored).
std::optional<packet::IpAddress> parse_forwarded_for(std::string_view value) noexcept;

// The baggage of a source workload (k8s.cluster.name=...). Head leaves out what is empty and adds
// the locality. 0 when it does not fit. Characters that a baggage value may not hold are written
// percent-encoded (W3C Baggage 3.3.1.3).
size_t format_baggage(mesh::Profile profile, const mesh::Workload& source,
                      std::span<char> out) noexcept;

}  // namespace isthmus::proxy
