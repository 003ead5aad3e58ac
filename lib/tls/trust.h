// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a peer's verified chain must meet beyond its signatures: none of it taken back, a root that
// is still ours, an accepted trust domain. Handshakes are judged by it, and so are the connections
// that earlier handshakes opened when it changes: of a chain they keep a few tags and no
// certificate.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tls/failure.h"
#include "tls/identity.h"
#include "tls/secrets.h"

namespace isthmus::tls {

// A leaf and its intermediates, the root not counted. Longer chains are refused.
inline constexpr size_t kMaxChain = 6;

struct TrustDomains {
  std::string own = "cluster.local";
  std::vector<std::string> aliases;

  bool contains(std::string_view trust_domain) const;
};

// The first bytes of a SHA-256 over what names a certificate or a key. 64 bits do: nobody gains
// from a certificate that is taken for a revoked one, and chance makes none.
using Tag = uint64_t;

struct ChainTags {
  struct Certificate {
    Tag by_key = 0;   // its issuer's key, its serial number
    Tag by_name = 0;  // its issuer's name, its serial number
  };
  std::array<Certificate, kMaxChain> certificates{};  // the leaf first
  uint8_t count = 0;                                  // 0: the peer showed no certificate
  Tag root = 0;                                       // the key of the root
};

// Certificates that their authorities took back.
struct Revocations {
  std::vector<Tag> by_key;   // of authorities whose key is known, so that their lists are verified
  std::vector<Tag> by_name;  // of the others
};

// Immutable; workers read it.
class Trust {
 public:
  Trust(TrustDomains domains, std::vector<Tag> roots, Revocations revoked);

  const TrustDomains& domains() const { return domains_; }
  bool revoked(const ChainTags& chain) const;
  // none, revoked, unknown_ca (its root is none of ours) or, of our clients, wrong_trust_domain.
  // role is ours; peer is null when it showed no certificate.
  Failure objection(Role role, const ChainTags& chain, IdentityPtr peer) const;

 private:
  TrustDomains domains_;
  std::vector<Tag> roots_;
  Revocations revoked_;
};

}  // namespace isthmus::tls
