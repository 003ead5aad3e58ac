// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// OpenSSL's settings for our handshakes, one context per role, and the hooks by which a handshake
// learns what happens inside. Private to this room.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tls/failure.h"
#include "tls/openssl_ptr.h"
#include "tls/secrets.h"

namespace isthmus::tls {

// What OpenSSL calls back, for the SSL that attach() bound it to.
class HandshakeEvents {
 public:
  // The chain is good, from the leaf to a root; none to accept the leaf.
  virtual Failure judge_peer(const STACK_OF(X509) * chain) = 0;
  virtual void on_chain_error(int x509_error) = 0;
  virtual void on_secret(bool client, std::string_view hex) = 0;
  virtual void on_alert(bool sent, Alert alert) = 0;

 protected:
  ~HandshakeEvents() = default;
};

// Null on failure, with OpenSSL's error queue set.
SslContextPtr make_context(Role role, const std::vector<X509Ptr>& roots, bool verify_peer);
bool attach(SSL* ssl, HandshakeEvents* events);

}  // namespace isthmus::tls
