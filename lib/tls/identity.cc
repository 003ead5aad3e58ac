// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/identity.h"

#include <algorithm>
#include <utility>

namespace isthmus::tls {
namespace {

constexpr std::string_view kSchemeText = "spiffe://";
constexpr std::string_view kNamespaceText = "/ns/";
constexpr std::string_view kServiceAccountText = "/sa/";

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_mark(char c) {
  return c == '.' || c == '-' || c == '_';
}

// A path segment of a SPIFFE id (SPIFFE-ID section 2.2).
bool valid_segment(std::string_view text, size_t limit) {
  if (text.empty() || text.size() > limit || text == "." || text == "..") return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_lower_or_digit(c) || is_mark(c) || (c >= 'A' && c <= 'Z');
  });
}

}  // namespace

bool valid_trust_domain(std::string_view text) {
  if (text.empty() || text.size() > kMaxTrustDomain) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_lower_or_digit(c) || is_mark(c); });
}

std::optional<Identity> Identity::parse(std::string_view uri) {
  if (!uri.starts_with(kSchemeText)) return {};
  uri.remove_prefix(kSchemeText.size());
  const size_t domain_end = uri.find('/');
  if (domain_end == std::string_view::npos) return {};
  const std::string_view domain = uri.substr(0, domain_end);
  uri.remove_prefix(domain_end);
  if (!uri.starts_with(kNamespaceText)) return {};
  uri.remove_prefix(kNamespaceText.size());
  const size_t namespace_end = uri.find('/');
  if (namespace_end == std::string_view::npos) return {};
  const std::string_view namespace_name = uri.substr(0, namespace_end);
  uri.remove_prefix(namespace_end);
  if (!uri.starts_with(kServiceAccountText)) return {};
  return make(domain, namespace_name, uri.substr(kServiceAccountText.size()));
}

std::optional<Identity> Identity::make(std::string_view trust_domain,
                                       std::string_view namespace_name,
                                       std::string_view service_account) {
  if (!valid_trust_domain(trust_domain) || !valid_segment(namespace_name, kMaxNamespace) ||
      !valid_segment(service_account, kMaxServiceAccount)) {
    return {};
  }
  std::string uri;
  for (const std::string_view part : {kSchemeText, trust_domain, kNamespaceText, namespace_name,
                                      kServiceAccountText, service_account}) {
    uri += part;
  }
  return Identity(std::move(uri), static_cast<uint8_t>(trust_domain.size()),
                  static_cast<uint8_t>(namespace_name.size()));
}

IdentityPtr IdentityTable::intern(const Identity& identity) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(identity.to_string()); found != entries_.end()) {
    return found->second.get();
  }
  if (entries_.size() >= capacity_) return nullptr;
  const auto added =
      entries_.emplace(identity.to_string(), std::make_unique<const Identity>(identity));
  return added.first->second.get();
}

size_t IdentityTable::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace isthmus::tls
