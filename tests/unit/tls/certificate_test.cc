// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The negative matrix: what a peer may present, in both roles, and what it gets.
#include "tls/certificate.h"

#include <functional>
#include <gtest/gtest.h>
#include <string>

#include "fixtures.h"

namespace isthmus::tls::test {
namespace {

struct BadPeer {
  const char* name;
  Failure failure;
  Alert alert;
  std::function<void(LeafOptions&)> bend;
  bool other_issuer = false;
};

const std::vector<BadPeer>& bad_peers() {
  static const std::vector<BadPeer> all = {
      {"other CA", Failure::unknown_ca, Alert::unknown_ca, [](LeafOptions&) {}, true},
      {"expired", Failure::expired, Alert::certificate_expired,
       [](LeafOptions& o) { o.not_after = kNow - std::chrono::seconds(1); }},
      {"not yet valid", Failure::not_yet_valid, Alert::bad_certificate,
       [](LeafOptions& o) { o.not_before = kNow + std::chrono::seconds(1); }},
      {"no SPIFFE SAN", Failure::no_spiffe_id, Alert::bad_certificate,
       [](LeafOptions& o) { o.uris.clear(); }},
      {"a URI that is no SPIFFE id", Failure::no_spiffe_id, Alert::bad_certificate,
       [](LeafOptions& o) { o.uris = {"https://cluster.local/ns/default/sa/sleep"}; }},
      {"two SPIFFE SANs", Failure::several_spiffe_ids, Alert::bad_certificate,
       [](LeafOptions& o) { o.uris.push_back("spiffe://cluster.local/ns/default/sa/admin"); }},
      {"no usage at all but another's", Failure::wrong_usage, Alert::unsupported_certificate,
       nullptr},
  };
  return all;
}

class BadPeers : public testing::TestWithParam<Role> {};

TEST_P(BadPeers, AreRefusedWithTheRightAlert) {
  const Role role = GetParam();  // ours
  const IdentityPtr expected = identities().intern(sleep_id());
  for (const BadPeer& bad : bad_peers()) {
    SCOPED_TRACE(bad.name);
    LeafOptions options = good_leaf(sleep_id());
    if (bad.bend) {
      bad.bend(options);
    } else {
      (role == Role::server ? options.client_auth : options.server_auth) = false;
    }
    OpensslPeer peer(role == Role::client ? Role::server : Role::client);
    peer.use(*(bad.other_issuer ? other_ca() : ca()).issue(options));
    auto ours = make_handshake(role, httpbin_id(), {expected});
    converse(*ours, peer);
    EXPECT_EQ(ours->state(), HandshakeState::failed);
    EXPECT_STREQ(name_of(ours->failure().failure), name_of(bad.failure));
    EXPECT_STREQ(name_of(ours->failure().alert), name_of(bad.alert));
    peer.read();
    EXPECT_STREQ(name_of(peer.alert_received()), name_of(bad.alert));
  }
}

INSTANTIATE_TEST_SUITE_P(BothRoles, BadPeers, testing::Values(Role::client, Role::server),
                         [](const auto& info) {
                           return info.param == Role::client ? "AsClient" : "AsServer";
                         });

TEST(Certificates, ServerRefusesAClientWithoutCertificate) {
  auto ours = make_handshake(Role::server, httpbin_id());
  OpensslPeer peer(Role::client);
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::no_certificate);
  peer.read();
  EXPECT_EQ(peer.alert_received(), Alert::certificate_required);
}

TEST(Certificates, ServerRefusesAnotherTrustDomainButTakesAnAlias) {
  const Identity foreign = *Identity::make("other.example", "default", "sleep");
  for (const bool alias : {false, true}) {
    TrustDomains domains;
    if (alias) domains.aliases = {"old.example", "other.example"};
    auto ours = make_handshake(Role::server, httpbin_id(), {}, domains);
    OpensslPeer peer(Role::client);
    peer.use(*ca().issue(good_leaf(foreign)));
    converse(*ours, peer);
    if (alias) {
      EXPECT_EQ(ours->state(), HandshakeState::established);
    } else {
      EXPECT_EQ(ours->failure().failure, Failure::wrong_trust_domain);
      peer.read();
      EXPECT_EQ(peer.alert_received(), Alert::certificate_unknown);
    }
  }
}

TEST(Certificates, ClientRefusesAServerThatIsNotExpected) {
  auto ours = make_handshake(Role::client, sleep_id(), {identities().intern(sleep_id())});
  OpensslPeer peer(Role::server);
  peer.use(*ca().issue(good_leaf(httpbin_id())));
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::wrong_identity);
  EXPECT_EQ(peer.alert_received(), Alert::certificate_unknown);
}

TEST(Certificates, ClientThatExpectsNobodyRefusesEverybody) {
  auto ours = make_handshake(Role::client, sleep_id(), {});
  OpensslPeer peer(Role::server);
  peer.use(*ca().issue(good_leaf(httpbin_id())));
  converse(*ours, peer);
  EXPECT_EQ(ours->failure().failure, Failure::wrong_identity);
}

TEST(Certificates, ValidityIsJudgedByTheInjectedTime) {
  auto credentials = store();
  // OpenSSL counts the second of notAfter itself as after.
  constexpr std::chrono::seconds kSecond{1};
  using Case = std::pair<std::chrono::seconds, HandshakeState>;
  for (const auto& [offset, state] :
       {Case(-kHour, HandshakeState::established), Case(-kHour - kSecond, HandshakeState::failed),
        Case(kHour - kSecond, HandshakeState::established), Case(kHour, HandshakeState::failed)}) {
    Handshake ours(Role::server, credentials, credentials->find(httpbin_id()), {}, identities(),
                   kNow + offset);
    OpensslPeer peer(Role::client);
    peer.use(*ca().issue(good_leaf(sleep_id())));
    converse(ours, peer);
    EXPECT_EQ(ours.state(), state) << offset.count();
  }
}

TEST(Credentials, LoadErrorsNameTheFileAndTheReason) {
  const PemPair good = *ca().issue(good_leaf(sleep_id()));
  const PemPair other = *ca().issue(good_leaf(httpbin_id()));
  LeafOptions two = good_leaf(sleep_id());
  two.uris.push_back(httpbin_id().to_string());
  const PemPair two_ids = *ca().issue(two);
  struct Case {
    std::string certificate;
    std::string key;
    const char* file;
    const char* reason;
  };
  for (const Case& c : std::vector<Case>{
           {"", good.key, "a.crt", "no certificate"},
           {"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", good.key, "a.crt",
            ""},
           {good.certificate.substr(0, good.certificate.size() / 2), good.key, "a.crt", ""},
           {good.certificate, "", "a.key", "private key"},
           {good.certificate, good.certificate, "a.key", "private key"},
           {good.certificate, other.key, "a.key", "not that of a.crt"},
           {two_ids.certificate, two_ids.key, "a.crt", "several_spiffe_ids"}}) {
    const auto loaded = Credential::load("a.crt", c.certificate, "a.key", c.key);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error.file, c.file) << loaded.error.reason;
    EXPECT_NE(loaded.error.reason.find(c.reason), std::string::npos) << loaded.error.reason;
    EXPECT_FALSE(loaded.error.reason.empty());
  }
}

TEST(Credentials, StoreIsRefusedWholeAtTheFirstError) {
  const PemPair pair = *ca().issue(good_leaf(sleep_id()));
  CredentialFiles files;
  files.roots = {"ca.crt", "nothing"};
  auto loaded = CredentialStore::load(files, {});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error.file, "ca.crt");

  files.roots.text = ca().root_pem();
  files.pairs = {{{"a.crt", pair.certificate}, {"a.key", pair.key}},
                 {{"b.crt", pair.certificate}, {"b.key", pair.key}}};
  loaded = CredentialStore::load(files, {});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error.file, "b.crt");

  files.pairs.pop_back();
  loaded = CredentialStore::load(files, {});
  ASSERT_TRUE(loaded);
  EXPECT_NE((*loaded.value)->find(sleep_id()), nullptr);
  EXPECT_EQ((*loaded.value)->find(httpbin_id()), nullptr);
  EXPECT_EQ((*loaded.value)->find(sleep_id())->not_after(), kNow + kHour);

  EXPECT_FALSE(CredentialStore::load(files, {"Not A Domain", {}}));
}

TEST(Credentials, PublishedStoreReplacesTheOneBefore) {
  CredentialSource source;
  EXPECT_EQ(source.current(), nullptr);
  const auto first = store();
  source.publish(first);
  EXPECT_EQ(source.current(), first);
  source.publish(store());
  EXPECT_NE(source.current(), first);
}

TEST(TestCas, AreLoadedAgainWithTheirKeyOnly) {
  EXPECT_TRUE(TestCa::load(ca().root_pem(), ca().key_pem()));
  EXPECT_FALSE(TestCa::load(ca().root_pem(), other_ca().key_pem()));
  EXPECT_FALSE(TestCa::load("", ca().key_pem()));
  const PemPair leaf = *ca().issue(good_leaf(sleep_id()));
  EXPECT_FALSE(TestCa::load(leaf.certificate, leaf.key)) << "a leaf is no CA";
}

TEST(SpiffeNames, RefuseMalformedDer) {
  for (const Bytes& der : std::vector<Bytes>{
           {}, {0x30}, {0x30, 0x05, 0x86}, {0x30, 0x00}, {0x30, 0x03, 0x86, 0x01, 'x', 0x00}}) {
    EXPECT_EQ(spiffe_id_of_names(der).failure, Failure::no_spiffe_id);
  }
}

TEST(SpiffeNames, RefuseAnEmbeddedNul) {
  const std::string uri("spiffe://cluster.local/ns/a/sa/b\0c", 34);
  Bytes der = {0x30, static_cast<uint8_t>(uri.size() + 2), 0x86, static_cast<uint8_t>(uri.size())};
  der.insert(der.end(), uri.begin(), uri.end());
  EXPECT_EQ(spiffe_id_of_names(der).failure, Failure::no_spiffe_id);
}

}  // namespace
}  // namespace isthmus::tls::test
