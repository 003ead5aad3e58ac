// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/trust.h"

#include <algorithm>
#include <utility>

namespace isthmus::tls {
namespace {

void sort(std::vector<Tag>& tags) {
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
}

bool has(const std::vector<Tag>& tags, Tag tag) {
  return std::binary_search(tags.begin(), tags.end(), tag);
}

}  // namespace

bool TrustDomains::contains(std::string_view trust_domain) const {
  return trust_domain == own ||
         std::find(aliases.begin(), aliases.end(), trust_domain) != aliases.end();
}

Trust::Trust(TrustDomains domains, std::vector<Tag> roots, Revocations revoked)
    : domains_(std::move(domains)), roots_(std::move(roots)), revoked_(std::move(revoked)) {
  sort(roots_);
  sort(revoked_.by_key);
  sort(revoked_.by_name);
}

// An authority that was taken back vouches for nobody.
bool Trust::revoked(const ChainTags& chain) const {
  return std::any_of(chain.certificates.begin(), chain.certificates.begin() + chain.count,
                     [this](const ChainTags::Certificate& certificate) {
                       return has(revoked_.by_key, certificate.by_key) ||
                              has(revoked_.by_name, certificate.by_name);
                     });
}

Failure Trust::objection(Role role, const ChainTags& chain, IdentityPtr peer) const {
  if (chain.count == 0 || peer == nullptr) return Failure::none;
  if (revoked(chain)) return Failure::revoked;
  if (!has(roots_, chain.root)) return Failure::unknown_ca;
  if (role == Role::server && !domains_.contains(peer->trust_domain())) {
    return Failure::wrong_trust_domain;
  }
  return Failure::none;
}

}  // namespace isthmus::tls
