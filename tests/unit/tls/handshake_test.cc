// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/handshake.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <string_view>

#include "fixtures.h"

namespace isthmus::tls::test {
namespace {

Bytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

IdentityPtr interned(const Identity& id) {
  return identities().intern(id);
}

// A client's or server's peer that does everything right.
OpensslPeer good_peer(Role role, const Identity& id) {
  OpensslPeer peer(role);
  peer.use(*ca().issue(good_leaf(id)));
  return peer;
}

TEST(Handshake, ServerEstablishesAndNamesTheClient) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  converse(*ours, peer);
  ASSERT_EQ(ours->state(), HandshakeState::established) << name_of(ours->failure().failure);
  const Established established = ours->take_established();
  EXPECT_EQ(established.peer, interned(sleep_id()));
  EXPECT_TRUE(established.alpn_h2);
  EXPECT_EQ(established.secrets.cipher, Cipher::aes_256_gcm_sha384);
  EXPECT_EQ(established.secrets.max_plaintext, 16384);
  EXPECT_EQ(established.peer_not_after, kNow + kHour);
  EXPECT_EQ(established.own_not_after, kNow + kHour);
  EXPECT_TRUE(established.leftover.empty());
}

TEST(Handshake, ClientEstablishesWithAnExpectedServer) {
  auto ours =
      make_handshake(Role::client, sleep_id(), {interned(sleep_id()), interned(httpbin_id())});
  OpensslPeer peer = good_peer(Role::server, httpbin_id());
  converse(*ours, peer);
  ASSERT_EQ(ours->state(), HandshakeState::established) << name_of(ours->failure().failure);
  EXPECT_EQ(ours->take_established().peer, interned(httpbin_id()));
}

TEST(Handshake, TwoOfOursEstablishWithEqualSecrets) {
  auto client = make_handshake(Role::client, sleep_id(), {interned(httpbin_id())});
  auto server = make_handshake(Role::server, httpbin_id());
  Bytes to_server;
  Bytes to_client;
  client->step({}, to_server);
  server->step(to_server, to_client);
  to_server.clear();
  EXPECT_EQ(client->step(to_client, to_server), HandshakeState::established);
  to_client.clear();
  EXPECT_EQ(server->step(to_server, to_client), HandshakeState::established);
  EXPECT_TRUE(to_client.empty()) << "RFC 8446 4.6.1: no tickets, sequence numbers start at 0";
  const Established a = client->take_established();
  const Established b = server->take_established();
  EXPECT_EQ(a.secrets.client.bytes, b.secrets.client.bytes);
  EXPECT_EQ(a.secrets.server.bytes, b.secrets.server.bytes);
  EXPECT_NE(a.secrets.client.bytes, a.secrets.server.bytes);
}

// The types of the records in a flight.
Bytes record_types(const Bytes& flight) {
  Bytes types;
  for (size_t at = 0; at + 5 <= flight.size(); at += 5u + (flight[at + 3] << 8 | flight[at + 4])) {
    types.push_back(flight[at]);
  }
  return types;
}

TEST(Handshake, Rfc8446AppendixD4ServerSendsChangeCipherSpecBehindItsFirstMessage) {
  constexpr uint8_t kChangeCipherSpec = 20;
  constexpr uint8_t kHandshake = 22;
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());  // its hello has a session id
  peer.handshake();
  Bytes flight;
  ours->step(peer.take_output(), flight);
  const Bytes types = record_types(flight);
  ASSERT_GE(types.size(), 2u);
  EXPECT_EQ(types[0], kHandshake);
  EXPECT_EQ(types[1], kChangeCipherSpec);
  // Behind a HelloRetryRequest, and not a second time behind the ServerHello.
  auto retried = make_handshake(Role::server, httpbin_id());
  OpensslPeer elsewhere = good_peer(Role::client, sleep_id());
  SSL_CTX_set1_groups_list(elsewhere.context(), "P-384:P-256");
  elsewhere.handshake();
  Bytes retry;
  retried->step(elsewhere.take_output(), retry);
  EXPECT_EQ(record_types(retry), (Bytes{kHandshake, kChangeCipherSpec}));
  elsewhere.receive(retry);
  elsewhere.handshake();
  flight.clear();
  retried->step(elsewhere.take_output(), flight);
  const Bytes rest = record_types(flight);
  EXPECT_GE(rest.size(), 2u);
  EXPECT_EQ(std::count(rest.begin(), rest.end(), kChangeCipherSpec), 0);
}

TEST(Handshake, Rfc8446Section52RecordOverflowUnderKeysIsToldByAnEncryptedAlert) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  peer.handshake();
  Bytes flight;
  ours->step(peer.take_output(), flight);
  peer.receive(flight);
  EXPECT_EQ(peer.handshake(), 1);
  // In the place of its Certificate and what follows.
  Bytes alert;
  EXPECT_EQ(ours->step(Bytes{23, 3, 3, 0x41, 0x01}, alert), HandshakeState::failed);
  EXPECT_EQ(ours->failure().failure, Failure::record_overflow);
  EXPECT_EQ(ours->failure().alert, Alert::record_overflow);
  peer.receive(alert);
  peer.read();
  EXPECT_EQ(peer.alert_received(), Alert::record_overflow);
}

TEST(Handshake, OnlyAStoreThatSaysSoTakesClientsWithoutCertificate) {
  for (const auto clients : {ClientCertificates::required, ClientCertificates::none}) {
    CredentialFiles files;
    files.roots = {"roots", ca().root_pem()};
    auto pair = ca().issue(good_leaf(httpbin_id()));
    files.pairs = {{{"certificate", pair->certificate}, {"key", pair->key}}};
    const auto store = *CredentialStore::load(files, {}, clients).value;
    Handshake ours(Role::server, store, store->find(httpbin_id()), {}, identities(), kNow);
    OpensslPeer peer(Role::client);
    converse(ours, peer);
    if (clients == ClientCertificates::required) {
      EXPECT_EQ(ours.failure().failure, Failure::no_certificate);
    } else {
      ASSERT_EQ(ours.state(), HandshakeState::established);
      EXPECT_EQ(ours.take_established().peer, nullptr);
    }
  }
}

TEST(Handshake, AcceptsAnRsaPeer) {
  for (const Role role : {Role::client, Role::server}) {
    auto ours = make_handshake(role, httpbin_id(), {interned(sleep_id())});
    OpensslPeer peer(role == Role::client ? Role::server : Role::client);
    LeafOptions options = good_leaf(sleep_id());
    options.key_type = LeafOptions::KeyType::rsa2048;
    peer.use(*ca().issue(options));
    converse(*ours, peer);
    EXPECT_EQ(ours->state(), HandshakeState::established);
  }
}

TEST(Handshake, ClientHelloMayArriveByteByByte) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  converse(*ours, peer, 1);
  EXPECT_EQ(ours->state(), HandshakeState::established);
}

TEST(Handshake, ClientSendsNoSni) {
  auto ours = make_handshake(Role::client, sleep_id(), {interned(httpbin_id())});
  OpensslPeer peer = good_peer(Role::server, httpbin_id());
  converse(*ours, peer);
  EXPECT_EQ(SSL_get_servername(peer.ssl(), TLSEXT_NAMETYPE_host_name), nullptr);
}

TEST(Handshake, HelloRetryRequestIsServedAndFollowed) {
  for (const Role role : {Role::client, Role::server}) {
    auto ours = make_handshake(role, httpbin_id(), {interned(sleep_id())});
    OpensslPeer peer(role == Role::client ? Role::server : Role::client);
    peer.use(*ca().issue(good_leaf(sleep_id())));
    // Client peer: its only key share is for a group that we refuse. Server peer: it takes only the
    // group that we offer without a share.
    const char* groups = role == Role::server ? "P-521:P-256" : "P-256";
    ASSERT_EQ(SSL_CTX_set1_groups_list(peer.context(), groups), 1);
    converse(*ours, peer);
    EXPECT_EQ(ours->state(), HandshakeState::established) << name_of(ours->failure().failure);
  }
}

TEST(Handshake, PrefersAes256AndTakesAes128) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  SSL_CTX_set_ciphersuites(peer.context(), "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
  converse(*ours, peer);
  EXPECT_EQ(ours->take_established().secrets.cipher, Cipher::aes_256_gcm_sha384);

  ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer small = good_peer(Role::client, sleep_id());
  SSL_CTX_set_ciphersuites(small.context(), "TLS_AES_128_GCM_SHA256");
  converse(*ours, small);
  EXPECT_EQ(ours->take_established().secrets.cipher, Cipher::aes_128_gcm_sha256);
}

TEST(Handshake, RefusesChaCha20) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  SSL_CTX_set_ciphersuites(peer.context(), "TLS_CHACHA20_POLY1305_SHA256");
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::no_shared_parameters);
  EXPECT_EQ(peer.alert_received(), Alert::handshake_failure);
}

TEST(Handshake, Tls12PeerGetsProtocolVersion) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  SSL_CTX_set_max_proto_version(peer.context(), TLS1_2_VERSION);
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::protocol_version);
  EXPECT_EQ(peer.alert_received(), Alert::protocol_version);

  auto client = make_handshake(Role::client, sleep_id(), {interned(httpbin_id())});
  OpensslPeer server = good_peer(Role::server, httpbin_id());
  SSL_CTX_set_max_proto_version(server.context(), TLS1_2_VERSION);
  converse(*client, server);
  EXPECT_EQ(client->state(), HandshakeState::failed);
  EXPECT_EQ(client->failure().failure, Failure::peer_alert);
  EXPECT_EQ(client->failure().alert, Alert::protocol_version);
}

TEST(Handshake, AlpnWithoutH2IsRefusedAndNoAlpnAccepted) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  static const unsigned char http1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  SSL_CTX_set_alpn_protos(peer.context(), http1, sizeof http1);
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::no_alpn);
  EXPECT_EQ(peer.alert_received(), Alert::no_application_protocol);

  ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer silent = good_peer(Role::client, sleep_id());
  SSL_CTX_set_alpn_protos(silent.context(), nullptr, 0);
  converse(*ours, silent);
  ASSERT_EQ(ours->state(), HandshakeState::established);
  EXPECT_FALSE(ours->take_established().alpn_h2);
}

TEST(Handshake, ServerWithoutAlpnIsAcceptedByOurClient) {  // ztunnel of 1.18
  auto ours = make_handshake(Role::client, sleep_id(), {interned(httpbin_id())});
  OpensslPeer peer = good_peer(Role::server, httpbin_id());
  SSL_CTX_set_alpn_select_cb(peer.context(), nullptr, nullptr);
  converse(*ours, peer);
  EXPECT_EQ(ours->state(), HandshakeState::established);
}

TEST(Handshake, GarbageAndHttp1AreRecognisedAtTheFirstByte) {
  for (const char* text : {"GET / HTTP/1.1\r\n\r\n", "G", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                           "\x16\x02", "\x17\x03\x03"}) {
    auto ours = make_handshake(Role::server, httpbin_id());
    Bytes out;
    EXPECT_EQ(ours->step(bytes_of(text), out), HandshakeState::failed) << text;
    EXPECT_EQ(ours->failure().failure, Failure::not_tls);
    EXPECT_EQ(out, (Bytes{21, 3, 3, 0, 2, 2, 10}));
  }
}

TEST(Handshake, OverlongRecordIsRefusedBeforeItArrives) {
  auto ours = make_handshake(Role::server, httpbin_id());
  Bytes out;
  EXPECT_EQ(ours->step(Bytes{22, 3, 1, 0x41, 0x01}, out), HandshakeState::failed);
  EXPECT_EQ(ours->failure().failure, Failure::record_overflow);
  EXPECT_EQ(ours->failure().alert, Alert::record_overflow);
}

TEST(Handshake, EndlessHandshakeBytesAreCutOff) {
  auto ours = make_handshake(Role::server, httpbin_id());
  // A ClientHello that says it is 16 MB long and keeps coming: OpenSSL or our bound ends it.
  Bytes record(5 + 16384, 0);
  record[0] = 22;
  record[1] = 3;
  record[2] = 1;
  record[3] = 0x40;
  record[5] = 1;
  record[6] = 0xff;
  Bytes out;
  int records = 0;
  while (ours->step(record, out) == HandshakeState::in_progress && records < 100) ++records;
  EXPECT_LT(records, 11);
  EXPECT_EQ(ours->state(), HandshakeState::failed);
}

TEST(Handshake, GarbageInsideAHandshakeRecordIsMalformed) {
  auto ours = make_handshake(Role::server, httpbin_id());
  Bytes out;
  EXPECT_EQ(ours->step(Bytes{22, 3, 1, 0, 4, 1, 0, 0, 0}, out), HandshakeState::failed);
  EXPECT_EQ(ours->failure().failure, Failure::malformed);
  EXPECT_FALSE(out.empty());
}

TEST(Handshake, FinishedAndFirstDataInOneFlightLeaveTheDataOver) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  Bytes out;
  peer.handshake();
  ours->step(peer.take_output(), out);
  peer.receive(out);
  ASSERT_EQ(peer.handshake(), 1);
  peer.write(bytes_of("first data"));
  const Bytes flight = peer.take_output();
  out.clear();
  ASSERT_EQ(ours->step(flight, out), HandshakeState::established);
  const Established established = ours->take_established();
  ASSERT_EQ(established.leftover.size(), kRecordOverhead + 10);
  EXPECT_TRUE(
      std::equal(established.leftover.rbegin(), established.leftover.rend(), flight.rbegin()));
}

TEST(Handshake, ServerObeysANegotiatedFragmentLength) {  // RFC 6066 section 4
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  SSL_CTX_set_tlsext_max_fragment_length(peer.context(), TLSEXT_max_fragment_length_1024);
  converse(*ours, peer);
  ASSERT_EQ(ours->state(), HandshakeState::established);
  EXPECT_EQ(ours->take_established().secrets.max_plaintext, 1024);
}

TEST(Handshake, NeverResumesASession) {
  auto first = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  converse(*first, peer);
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get_session(peer.ssl())), 0);
}

TEST(Handshake, WithoutCredentialFailsAtOnce) {
  Handshake ours(Role::server, store(), nullptr, {}, identities(), kNow);
  Bytes out;
  EXPECT_EQ(ours.step(bytes_of("x"), out), HandshakeState::failed);
  EXPECT_EQ(ours.failure().failure, Failure::no_credential);
  EXPECT_EQ(out.back(), static_cast<uint8_t>(Alert::internal_error));
}

TEST(Handshake, FullIdentityTableFailsClosed) {
  IdentityTable table(0);
  auto credentials = store();
  Handshake ours(Role::server, credentials, credentials->find(httpbin_id()), {}, table, kNow);
  OpensslPeer peer = good_peer(Role::client, sleep_id());
  converse(ours, peer);
  EXPECT_EQ(ours.failure().failure, Failure::identities_full);
  EXPECT_EQ(ours.failure().alert, Alert::internal_error);
}

}  // namespace
}  // namespace isthmus::tls::test
