// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Peers and certificates for the tests of this room: stock OpenSSL on memory BIOs as the other
// side, and a CA whose clock is ours.
#pragma once

#include <cstdint>
#include <memory>
#include <openssl/ssl.h>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "packet/chain.h"
#include "tls/certificate.h"
#include "tls/handshake.h"
#include "tls/openssl_ptr.h"
#include "tls/record.h"
#include "tls/session.h"
#include "tls/test_ca.h"

namespace isthmus::tls::test {

using Bytes = std::vector<uint8_t>;

inline constexpr WallTime kNow = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);
inline constexpr std::chrono::seconds kHour{3600};

// The CA of the mesh, and one that nobody trusts. Made once per process.
const TestCa& ca();
const TestCa& other_ca();

const Identity& sleep_id();    // spiffe://cluster.local/ns/default/sa/sleep
const Identity& httpbin_id();  // spiffe://cluster.local/ns/default/sa/httpbin
IdentityTable& identities();

LeafOptions good_leaf(const Identity& id);
// A store with credentials for sleep and httpbin.
std::shared_ptr<const CredentialStore> store(const TrustDomains& domains = {});

// Our handshake with the credential of an identity.
std::unique_ptr<Handshake> make_handshake(Role role, const Identity& own,
                                          std::vector<IdentityPtr> expected = {},
                                          const TrustDomains& domains = {});

// Stock OpenSSL in the other role, with settings that a test may bend before the handshake.
class OpensslPeer {
 public:
  explicit OpensslPeer(Role role);
  void use(const PemPair& pair);  // certificate and key
  SSL_CTX* context() { return context_.get(); }
  SSL* ssl();  // made at the first call

  void receive(std::span<const uint8_t> bytes);
  Bytes take_output();
  // 1 done, 0 wants more, -1 failed.
  int handshake();
  // All plaintext that is there now; last_error() says why it ended.
  Bytes read();
  int last_error() const { return last_error_; }
  void write(std::span<const uint8_t> plaintext);
  Alert alert_received() const { return alert_received_; }

 private:
  static void on_info(const SSL* ssl, int where, int value);

  Role role_;
  SslContextPtr context_;
  SslPtr ssl_;
  BIO* in_ = nullptr;
  BIO* out_ = nullptr;
  int last_error_ = 0;
  Alert alert_received_ = Alert::close_notify;
};

// Runs ours against the peer until neither has anything to say. Ours is fed in pieces of at most
// piece bytes.
void converse(Handshake& ours, OpensslPeer& peer, size_t piece = SIZE_MAX);

// Key memory for so many connections.
class Keys {
 public:
  explicit Keys(unsigned connections);
  KeyMemory memory() { return {aligned_, KeyStore::bytes_for(connections_)}; }

 private:
  unsigned connections_;
  Bytes bytes_;
  uint8_t* aligned_;
};

// Cuts bytes into mbufs of random sizes, 1 to most; a segment of up to a large buffer when most
// allows.
packet::Chain to_chain(std::span<const uint8_t> bytes, std::mt19937_64& random, size_t most);
packet::Chain to_chain(std::span<const uint8_t> bytes);
Bytes to_bytes(const packet::Chain& chain);
Bytes random_bytes(std::mt19937_64& random, size_t size);

}  // namespace isthmus::tls::test
