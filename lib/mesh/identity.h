// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// SPIFFE identities as Istio writes them: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace isthmus::mesh {

// An identity or a name that was interned: a small number that stays the same for the life of the
// process, across snapshots, so that a pool or a flow record may hold it. 0 is "none".
using IdentityId = uint32_t;
using NameId = uint32_t;
inline constexpr IdentityId kNoIdentity = 0;
inline constexpr NameId kNoName = 0;

// The parts of a SPIFFE id, as views into the text that was parsed.
struct Identity {
  std::string_view uri;  // the whole: "spiffe://cluster.local/ns/default/sa/sleep"
  std::string_view trust_domain;
  std::string_view namespace_;
  std::string_view service_account;

  // Strict: exactly the five parts, none of them empty, at most kMaxLength bytes. Empty when the
  // text is anything else.
  static std::optional<Identity> parse(std::string_view uri) noexcept;
  static constexpr size_t kMaxLength = 2048;  // SPIFFE-ID standard, section 2.3

  friend bool operator==(const Identity& a, const Identity& b) { return a.uri == b.uri; }
};

std::string make_identity(std::string_view trust_domain, std::string_view namespace_,
                          std::string_view service_account);

}  // namespace isthmus::mesh
