// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/identity.h"

#include <algorithm>

namespace isthmus::mesh {

namespace {

constexpr std::string_view kScheme = "spiffe://";

bool is_segment(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

// Cuts the text at its first slash; what stood before it.
std::string_view next_segment(std::string_view& rest) noexcept {
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view segment = rest.substr(0, slash);
  rest.remove_prefix(std::min(slash + 1, rest.size()));
  return segment;
}

}  // namespace

std::optional<Identity> Identity::parse(std::string_view uri) noexcept {
  if (uri.size() > kMaxLength || !uri.starts_with(kScheme) || uri.ends_with('/')) return {};
  std::string_view rest = uri.substr(kScheme.size());
  Identity identity;
  identity.uri = uri;
  identity.trust_domain = next_segment(rest);
  if (next_segment(rest) != "ns") return {};
  identity.namespace_ = next_segment(rest);
  if (next_segment(rest) != "sa") return {};
  identity.service_account = next_segment(rest);
  if (!rest.empty() || !is_segment(identity.trust_domain) || !is_segment(identity.namespace_) ||
      !is_segment(identity.service_account)) {
    return {};
  }
  return identity;
}

std::string make_identity(std::string_view trust_domain, std::string_view namespace_,
                          std::string_view service_account) {
  std::string uri(kScheme);
  uri.append(trust_domain).append("/ns/").append(namespace_).append("/sa/");
  return uri.append(service_account);
}

}  // namespace isthmus::mesh
