// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The embedded certificate authority: for tests, quickstarts and labs, never for production. It
// makes P-256 roots and leaves of the shape that istiod issues, and leaves with faults on request.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tls/certificate.h"
#include "tls/openssl_ptr.h"

namespace isthmus::tls {

struct PemPair {
  std::string certificate;  // leaf, without the root
  std::string key;
};

struct LeafOptions {
  enum class KeyType { p256, rsa2048 };

  std::vector<std::string> uris;  // critical subjectAltName; left out when empty
  WallTime not_before;
  WallTime not_after;
  bool client_auth = true;  // extended key usage; left out when neither is set
  bool server_auth = true;
  KeyType key_type = KeyType::p256;
};

class TestCa {
 public:
  // Empty when OpenSSL fails.
  static std::optional<TestCa> make(std::string_view name, WallTime not_before, WallTime not_after);

  // One that was made before; empty unless the key is the root's.
  static std::optional<TestCa> load(std::string_view root_pem, std::string_view key_pem);

  // An intermediate of this one's, with a key of its own: its root_pem() goes behind the leaves
  // that it issues.
  std::optional<TestCa> make_below(std::string_view name, WallTime not_before,
                                   WallTime not_after) const;

  std::string root_pem() const;
  std::string key_pem() const;
  std::optional<PemPair> issue(const LeafOptions& options) const;
  // A revocation list that names these certificates (PEM, the first of each); empty when OpenSSL
  // fails.
  std::string revoke(const std::vector<std::string>& certificates, WallTime now) const;

 private:
  TestCa(X509Ptr root, KeyPtr key) : root_(std::move(root)), key_(std::move(key)) {}

  X509Ptr root_;
  KeyPtr key_;
};

// A store with one good credential for each identity, valid from not_before to not_after.
Loaded<std::shared_ptr<const CredentialStore>> make_test_store(const TestCa& ca,
                                                               const std::vector<Identity>& ids,
                                                               const TrustDomains& domains,
                                                               WallTime not_before,
                                                               WallTime not_after);

}  // namespace isthmus::tls
