// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Workload identities as SPIFFE ids in the one form that Istio issues:
// spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace isthmus::tls {

// Limits of the parts: a trust domain is at most 255 bytes (SPIFFE-ID section 2.1), a namespace is
// a DNS label, a service account a DNS subdomain (Kubernetes).
inline constexpr size_t kMaxTrustDomain = 255;
inline constexpr size_t kMaxNamespace = 63;
inline constexpr size_t kMaxServiceAccount = 253;

// Lower-case letters, digits, '.', '-', '_'; 1 to kMaxTrustDomain bytes.
bool valid_trust_domain(std::string_view text);

// Value type of the control side. Holds the URI; the parts are views into it.
class Identity {
 public:
  // Strict: exact path shape, the limits above, no percent-encoding, query, fragment or port.
  static std::optional<Identity> parse(std::string_view uri);
  static std::optional<Identity> make(std::string_view trust_domain,
                                      std::string_view namespace_name,
                                      std::string_view service_account);

  std::string_view trust_domain() const { return part(kScheme, trust_domain_); }
  // The keyword is taken. NOLINTNEXTLINE(readability-identifier-naming)
  std::string_view namespace_() const { return part(namespace_offset(), namespace_length_); }
  std::string_view service_account() const {
    return std::string_view(uri_).substr(namespace_offset() + namespace_length_ + kServiceAccount);
  }
  const std::string& to_string() const { return uri_; }

  friend bool operator==(const Identity& a, const Identity& b) { return a.uri_ == b.uri_; }
  friend auto operator<=>(const Identity& a, const Identity& b) { return a.uri_ <=> b.uri_; }

 private:
  static constexpr size_t kScheme = 9;          // "spiffe://"
  static constexpr size_t kNamespace = 4;       // "/ns/"
  static constexpr size_t kServiceAccount = 4;  // "/sa/"

  Identity(std::string uri, uint8_t trust_domain, uint8_t namespace_length)
      : uri_(std::move(uri)), trust_domain_(trust_domain), namespace_length_(namespace_length) {}
  size_t namespace_offset() const { return kScheme + trust_domain_ + kNamespace; }
  std::string_view part(size_t offset, size_t length) const {
    return std::string_view(uri_).substr(offset, length);
  }

  std::string uri_;
  uint8_t trust_domain_;      // length
  uint8_t namespace_length_;  // length
};

// What workers hold: an identity that lives as long as its table, equal exactly when the pointers
// are. Null means "none".
using IdentityPtr = const Identity*;

// Interns identities. Used by control and service threads (it locks and allocates); workers only
// dereference what it returned. Entries are never removed: the number of service accounts that a
// trusted CA has vouched for bounds it, and capacity does where that fails.
class IdentityTable {
 public:
  explicit IdentityTable(size_t capacity = 65536) : capacity_(capacity) {}
  // Null when the table is full.
  IdentityPtr intern(const Identity& identity);
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  size_t capacity_;
  std::unordered_map<std::string, std::unique_ptr<const Identity>> entries_;
};

}  // namespace isthmus::tls
