// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Credentials, trust roots, and the immutable store that handshakes choose from. Control side: may
// allocate; never reads a file or a clock. Whoever reads files gives their names and contents.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/failure.h"
#include "tls/identity.h"
#include "tls/openssl_ptr.h"
#include "tls/secrets.h"
#include "tls/trust.h"

namespace isthmus::tls {

// Civil time, injected: certificates are judged by it.
using WallTime = std::chrono::sys_seconds;
// Empty for a time that cannot be read.
std::optional<WallTime> wall_time(const ASN1_TIME* time);

struct LoadError {
  std::string file;
  std::string reason;
};
// A value, or the error that stands in its place.
template <typename T>
struct Loaded {
  std::optional<T> value;
  LoadError error;

  explicit operator bool() const { return value.has_value(); }
};

// A leaf with its key and intermediates. Immutable; shared by the handshakes that present it.
class Credential {
 public:
  // The leaf comes first in certificates; it must carry exactly one SPIFFE id and match the key.
  static Loaded<std::shared_ptr<const Credential>> load(std::string_view certificate_file,
                                                        std::string_view certificates_pem,
                                                        std::string_view key_file,
                                                        std::string_view key_pem);

  const Identity& identity() const { return identity_; }
  WallTime not_before() const { return not_before_; }
  WallTime not_after() const { return not_after_; }
  // Makes the handshake present this credential.
  bool apply(SSL* ssl) const;
  X509* leaf() const { return leaf_.get(); }
  const STACK_OF(X509) * intermediates() const { return chain_.get(); }

 private:
  Credential(Identity identity, X509Ptr leaf, X509StackPtr chain, KeyPtr key);

  Identity identity_;
  X509Ptr leaf_;
  X509StackPtr chain_;
  KeyPtr key_;
  WallTime not_before_;
  WallTime not_after_;
};

struct NamedText {
  std::string file;
  std::string text;
};
struct CredentialFiles {
  NamedText roots;  // one or more CA certificates
  struct Pair {
    NamedText certificate;
    NamedText key;
  };
  std::vector<Pair> pairs;
  // Revocation lists. One without a list in it is refused: it may be in the middle of being
  // written.
  std::optional<NamedText> revoked;
};

// Whether the server role asks its peers for a certificate. The gateway always does.
enum class ClientCertificates : uint8_t { required, none };

// A snapshot: roots, trust domains, and a credential for each local identity.
class CredentialStore {
 public:
  // Refused whole at the first error; two credentials of one identity are an error.
  static Loaded<std::shared_ptr<const CredentialStore>> load(
      const CredentialFiles& files, const TrustDomains& domains,
      ClientCertificates clients = ClientCertificates::required);
  ~CredentialStore();

  // Null when there is none.
  std::shared_ptr<const Credential> find(const Identity& identity) const;
  // Shared with whoever judges the connections that the handshakes open.
  const std::shared_ptr<const Trust>& trust() const { return trust_; }
  const std::map<Identity, std::shared_ptr<const Credential>>& credentials() const {
    return credentials_;
  }
  ClientCertificates clients() const { return clients_; }
  // The settings that every handshake of a role shares.
  SSL_CTX* context(Role role) const;

 private:
  CredentialStore() = default;

  ClientCertificates clients_ = ClientCertificates::required;
  std::shared_ptr<const Trust> trust_;
  std::map<Identity, std::shared_ptr<const Credential>> credentials_;
  SslContextPtr client_;
  SslContextPtr server_;
};

// Where control threads publish stores and service threads pick them up.
class CredentialSource {
 public:
  void publish(std::shared_ptr<const CredentialStore> store);
  // Null until the first publication.
  std::shared_ptr<const CredentialStore> current() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const CredentialStore> store_;
};

// The identity in a certificate. An X.509 SVID has exactly one URI among its subject alternative
// names: failure is no_spiffe_id when there is none or it is not of Istio's form, and
// several_spiffe_ids when there are more.
struct SpiffeId {
  std::optional<Identity> identity;
  Failure failure = Failure::none;
};
SpiffeId spiffe_id(X509* certificate);
// The same of a subjectAltName extension's value (DER, GeneralNames).
SpiffeId spiffe_id_of_names(std::span<const uint8_t> der);

}  // namespace isthmus::tls
