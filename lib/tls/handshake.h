// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One TLS 1.3 handshake on OpenSSL, by memory buffers. Costs about a millisecond of CPU, so it runs
// on service threads and never on a worker. Sans-IO: bytes in, bytes out; the caller has the clock
// and the time limit.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tls/certificate.h"
#include "tls/failure.h"
#include "tls/identity.h"
#include "tls/secrets.h"
#include "tls/trust.h"

namespace isthmus::tls {

// More than any honest handshake needs, certificates included.
inline constexpr size_t kMaxHandshakeBytes = 163'840;

struct HandshakePolicy {
  // Client role: the server must be one of these. Server role: ignored; the client's trust domain
  // must be the store's own or an alias.
  std::vector<IdentityPtr> expected;
};

// What is left of a finished handshake.
struct Established {
  SessionSecrets secrets;
  IdentityPtr peer = nullptr;  // null only when the store asks clients for no certificate
  ChainTags peer_chain;
  WallTime peer_not_after{};
  WallTime own_not_after{};
  bool alpn_h2 = false;  // false: a client that offered no ALPN at all
  // Ciphertext behind the handshake in what was fed: the first bytes for Session::open().
  std::vector<uint8_t> leftover;
};

enum class HandshakeState : uint8_t { in_progress, established, failed };

class Handshake {
 public:
  // store and credential (null: failed, no_credential) are shared until the handshake ends.
  // identities interns the peer and outlives the handshake. now judges certificates.
  Handshake(Role role, std::shared_ptr<const CredentialStore> store,
            std::shared_ptr<const Credential> credential, HandshakePolicy policy,
            IdentityTable& identities, WallTime now);
  ~Handshake();
  Handshake(const Handshake&) = delete;
  Handshake& operator=(const Handshake&) = delete;

  // Feeds bytes from the peer, cut anyhow (none to make a client speak first), and appends bytes
  // for the peer to out, an alert included when it fails. Once established or failed, OpenSSL's
  // state is gone and further calls change nothing.
  HandshakeState step(std::span<const uint8_t> in, std::vector<uint8_t>& out);

  HandshakeState state() const { return state_; }
  const FailureInfo& failure() const { return failure_; }
  // Valid once, after step() returned established.
  Established take_established();

 private:
  class Engine;  // OpenSSL's objects

  HandshakeState fail(Failure failure, std::vector<uint8_t>& out);
  HandshakeState end(HandshakeState state);
  HandshakeState finish(std::vector<uint8_t>& out);

  std::unique_ptr<Engine> engine_;  // until the handshake ends
  std::vector<uint8_t> buffer_;     // received and not yet given to OpenSSL
  size_t received_ = 0;
  HandshakeState state_ = HandshakeState::in_progress;
  FailureInfo failure_;
  Established established_;
};

}  // namespace isthmus::tls
