// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "fixtures.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <openssl/err.h>

#include "support/pools.h"
#include "tls/pem.h"

namespace isthmus::tls::test {

const TestCa& ca() {
  static const TestCa made = *TestCa::make("cluster.local", kNow - 24 * kHour, kNow + 240 * kHour);
  return made;
}

const TestCa& other_ca() {
  static const TestCa made = *TestCa::make("cluster.local", kNow - 24 * kHour, kNow + 240 * kHour);
  return made;
}

const Identity& sleep_id() {
  static const Identity id = *Identity::make("cluster.local", "default", "sleep");
  return id;
}

const Identity& httpbin_id() {
  static const Identity id = *Identity::make("cluster.local", "default", "httpbin");
  return id;
}

IdentityTable& identities() {
  static IdentityTable table;
  return table;
}

LeafOptions good_leaf(const Identity& id) {
  LeafOptions options;
  options.uris = {id.to_string()};
  options.not_before = kNow - kHour;
  options.not_after = kNow + kHour;
  return options;
}

std::shared_ptr<const CredentialStore> store(const TrustDomains& domains) {
  auto made =
      make_test_store(ca(), {sleep_id(), httpbin_id()}, domains, kNow - kHour, kNow + kHour);
  EXPECT_TRUE(made) << made.error.file << ": " << made.error.reason;
  return made ? *made.value : nullptr;
}

std::unique_ptr<Handshake> make_handshake(Role role, const Identity& own,
                                          std::vector<IdentityPtr> expected,
                                          const TrustDomains& domains) {
  auto credentials = store(domains);
  auto credential = credentials->find(own);
  return std::make_unique<Handshake>(role, credentials, credential,
                                     HandshakePolicy{std::move(expected)}, identities(), kNow);
}

OpensslPeer::OpensslPeer(Role role)
    : role_(role),
      context_(SSL_CTX_new(role == Role::client ? TLS_client_method() : TLS_server_method())) {
  if (role == Role::client) {
    static const unsigned char h2[] = {2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context_.get(), h2, sizeof h2);
  } else {
    SSL_CTX_set_alpn_select_cb(
        context_.get(),
        [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
           unsigned, void*) {
          *out = offered + 1;
          *size = offered[0];
          return SSL_TLSEXT_ERR_OK;
        },
        nullptr);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  }
}

void OpensslPeer::use(const PemPair& pair) {
  std::string reason;
  auto certificates = read_certificates(pair.certificate, 10, reason);
  ASSERT_FALSE(certificates.empty()) << reason;
  const KeyPtr key = read_key(pair.key, reason);
  ASSERT_NE(key, nullptr) << reason;
  ASSERT_EQ(SSL_CTX_use_certificate(context_.get(), certificates[0].get()), 1);
  for (size_t i = 1; i < certificates.size(); ++i) {
    ASSERT_EQ(SSL_CTX_add1_chain_cert(context_.get(), certificates[i].get()), 1);
  }
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context_.get(), key.get()), 1);
}

SSL* OpensslPeer::ssl() {
  if (ssl_ != nullptr) return ssl_.get();
  ssl_.reset(SSL_new(context_.get()));
  in_ = BIO_new(BIO_s_mem());
  out_ = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in_, -1);
  SSL_set_bio(ssl_.get(), in_, out_);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_info_callback(ssl_.get(), on_info);
  if (role_ == Role::client) {
    SSL_set_connect_state(ssl_.get());
  } else {
    SSL_set_accept_state(ssl_.get());
  }
  return ssl_.get();
}

void OpensslPeer::on_info(const SSL* ssl, int where, int value) {
  if ((where & SSL_CB_ALERT) == 0 || (where & SSL_CB_READ) == 0) return;
  static_cast<OpensslPeer*>(SSL_get_app_data(ssl))->alert_received_ =
      static_cast<Alert>(value & 0xff);
}

void OpensslPeer::receive(std::span<const uint8_t> bytes) {
  ssl();
  if (!bytes.empty()) BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
}

Bytes OpensslPeer::take_output() {
  ssl();
  Bytes out(BIO_ctrl_pending(out_));
  if (!out.empty()) BIO_read(out_, out.data(), static_cast<int>(out.size()));
  return out;
}

int OpensslPeer::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl());
  last_error_ = SSL_get_error(ssl(), result);
  if (result == 1) return 1;
  return last_error_ == SSL_ERROR_WANT_READ ? 0 : -1;
}

Bytes OpensslPeer::read() {
  Bytes all;
  uint8_t piece[16384];
  while (true) {
    ERR_clear_error();
    const int size = SSL_read(ssl(), piece, sizeof piece);
    if (size <= 0) {
      last_error_ = SSL_get_error(ssl(), size);
      return all;
    }
    all.insert(all.end(), piece, piece + size);
  }
}

void OpensslPeer::write(std::span<const uint8_t> plaintext) {
  ERR_clear_error();
  ASSERT_EQ(SSL_write(ssl(), plaintext.data(), static_cast<int>(plaintext.size())),
            static_cast<int>(plaintext.size()));
}

void converse(Handshake& ours, OpensslPeer& peer, size_t piece) {
  Bytes to_peer;
  ours.step({}, to_peer);
  for (int i = 0; i < 20; ++i) {
    peer.receive(to_peer);
    to_peer.clear();
    peer.handshake();
    const Bytes to_us = peer.take_output();
    if (to_us.empty()) return;
    for (size_t at = 0; at < to_us.size(); at += piece) {
      const size_t size = std::min(piece, to_us.size() - at);
      ours.step(std::span(to_us).subspan(at, size), to_peer);
    }
  }
}

Keys::Keys(unsigned connections)
    : connections_(connections), bytes_(KeyStore::bytes_for(connections) + 64) {
  aligned_ = bytes_.data() + (64 - reinterpret_cast<uintptr_t>(bytes_.data()) % 64);
}

packet::Chain to_chain(std::span<const uint8_t> bytes, std::mt19937_64& random, size_t most) {
  packet::Chain chain;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), 1 + random() % most);
    packet::Chain segment;
    rte_mempool* pool =
        size <= packet::kSmallRoom ? isthmus::test::pools().small : isthmus::test::pools().large;
    EXPECT_TRUE(segment.append_copy(bytes.first(size), pool));
    chain.append(std::move(segment));
    bytes = bytes.subspan(size);
  }
  return chain;
}

packet::Chain to_chain(std::span<const uint8_t> bytes) {
  packet::Chain chain;
  EXPECT_TRUE(chain.append_copy(bytes, isthmus::test::pools().large));
  return chain;
}

Bytes to_bytes(const packet::Chain& chain) {
  Bytes bytes(chain.size());
  chain.copy_out(0, bytes);
  return bytes;
}

Bytes random_bytes(std::mt19937_64& random, size_t size) {
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

}  // namespace isthmus::tls::test
