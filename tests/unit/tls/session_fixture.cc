// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "session_fixture.h"

#include "packet/endian.h"
#include "tls/gcm.h"
#include "tls/key_schedule.h"

namespace isthmus::tls::test {

Forger::Forger(Cipher cipher, const TrafficSecret& secret)
    : mgr_(alloc_mb_mgr(0)), keys_(std::make_unique<DirectionKeys>()) {
  init_mb_mgr_auto(mgr_, nullptr);
  derive_keys(mgr_, cipher, secret, *keys_);
}

Forger::~Forger() {
  free_mb_mgr(mgr_);
}

Bytes Forger::record(std::span<const uint8_t> inner) {
  Bytes record(kRecordHeader + inner.size() + kTagSize);
  record[0] = 23;
  record[1] = 3;
  record[2] = version_minor;
  packet::store_be<uint16_t>(record.data() + 3, static_cast<uint16_t>(inner.size() + kTagSize));
  gcm_whole<Direction::seal>(mgr_, *keys_, Nonce(keys_->iv, sequence++), record.data(),
                             kRecordHeader, inner.data(), record.data() + kRecordHeader,
                             inner.size(), record.data() + kRecordHeader + inner.size());
  return record;
}

Bytes Forger::record(ContentType type, std::span<const uint8_t> content, size_t padding) {
  Bytes inner(content.begin(), content.end());
  inner.push_back(static_cast<uint8_t>(type));
  inner.resize(inner.size() + padding);
  return record(inner);
}

void Forger::advance() {
  advance_keys(mgr_, *keys_);
  sequence = 0;
}

SessionSecrets SessionTest::secrets(Role role, Cipher cipher) {
  SessionSecrets secrets;
  secrets.role = role;
  secrets.cipher = cipher;
  secrets.client.bytes.fill(0x11);
  secrets.server.bytes.fill(0x22);
  return secrets;
}

void SessionTest::start_pair(Cipher cipher) {
  ASSERT_TRUE(ours_.start(layer_, secrets(Role::client, cipher)));
  ASSERT_TRUE(theirs_.start(layer_, secrets(Role::server, cipher)));
}

void SessionTest::start_with_openssl(Role role, Cipher cipher) {
  peer_ = std::make_unique<OpensslPeer>(role == Role::client ? Role::server : Role::client);
  peer_->use(*ca().issue(good_leaf(httpbin_id())));
  SSL_CTX_set_ciphersuites(peer_->context(), cipher == Cipher::aes_256_gcm_sha384
                                                 ? "TLS_AES_256_GCM_SHA384"
                                                 : "TLS_AES_128_GCM_SHA256");
  auto handshake = make_handshake(role, sleep_id(), {identities().intern(httpbin_id())});
  Bytes to_peer;
  handshake->step({}, to_peer);
  for (int i = 0; i < 5 && handshake->state() == HandshakeState::in_progress; ++i) {
    peer_->receive(to_peer);
    to_peer.clear();
    peer_->handshake();
    handshake->step(peer_->take_output(), to_peer);
  }
  peer_->receive(to_peer);
  ASSERT_EQ(peer_->handshake(), 1);
  ASSERT_EQ(handshake->state(), HandshakeState::established);
  Established established = handshake->take_established();
  ASSERT_EQ(established.secrets.cipher, cipher);
  ASSERT_TRUE(ours_.start(layer_, established.secrets));
  // Tickets of an OpenSSL server come with what it writes last in its handshake.
  ASSERT_EQ(open(established.leftover), OpenStatus::need_more);
}

}  // namespace isthmus::tls::test
