// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Certificates that were taken back: who is refused, who is not, and what of it a connection that
// is open already meets.
#include "tls/revocation.h"

#include <gtest/gtest.h>
#include <string>

#include "fixtures.h"
#include "tls/pem.h"

namespace isthmus::tls::test {
namespace {

struct Files {
  std::optional<std::string> lists;
  std::string roots = ca().root_pem() + other_ca().root_pem();
  std::string intermediate;  // behind our own leaf
  TrustDomains domains;
};

std::shared_ptr<const CredentialStore> load(const Files& with, std::string* error = nullptr,
                                            const TestCa& issuer = ca()) {
  const PemPair own = *issuer.issue(good_leaf(httpbin_id()));
  CredentialFiles files;
  files.roots = {"roots", with.roots};
  files.pairs = {{{"cert", own.certificate + with.intermediate}, {"key", own.key}}};
  if (with.lists) files.revoked = {"ca-crl.pem", *with.lists};
  auto loaded = CredentialStore::load(files, with.domains);
  if (error != nullptr) *error = loaded.error.reason;
  return loaded ? *loaded.value : nullptr;
}

const TestCa& below() {
  static const TestCa made = *ca().make_below("intermediate", kNow - kHour, kNow + kHour);
  return made;
}
PemPair issued_below(const TestCa& issuer = below()) {
  PemPair pair = *issuer.issue(good_leaf(sleep_id()));
  pair.certificate += issuer.root_pem();
  return pair;
}

// The same list under another's signature, or without the identifier of the key that signed it.
std::string signed_again(const std::string& list, const TestCa& by, bool names_key = true) {
  std::string reason;
  const auto lists = read_revocation_lists(list, 1, reason);
  const KeyPtr key = read_key(by.key_pem(), reason);
  if (!names_key) {
    const int at = X509_CRL_get_ext_by_NID(lists.at(0).get(), NID_authority_key_identifier, -1);
    X509_EXTENSION_free(X509_CRL_delete_ext(lists[0].get(), at));
  }
  EXPECT_NE(X509_CRL_sign(lists.at(0).get(), key.get(), EVP_sha256()), 0);
  return write_revocation_list(lists[0].get());
}

class Revocation : public testing::TestWithParam<Role> {
 protected:
  // Of the peer that shows this.
  struct Outcome {
    Failure failure;
    Alert alert;
    Established established;
  };
  static Outcome meet(const std::shared_ptr<const CredentialStore>& store, const PemPair& pair) {
    HandshakePolicy policy;
    policy.expected = {identities().intern(sleep_id())};
    Handshake ours(GetParam(), store, store->find(httpbin_id()), policy, identities(), kNow);
    OpensslPeer peer(GetParam() == Role::client ? Role::server : Role::client);
    peer.use(pair);
    converse(ours, peer);
    peer.read();
    return {ours.failure().failure, peer.alert_received(), ours.take_established()};
  }
  static void expect_taken(const std::shared_ptr<const CredentialStore>& store,
                           const PemPair& pair) {
    ASSERT_NE(store, nullptr);
    EXPECT_STREQ(name_of(meet(store, pair).failure), "none");
  }
  static void expect_revoked(const std::shared_ptr<const CredentialStore>& store,
                             const PemPair& pair) {
    ASSERT_NE(store, nullptr);
    const Outcome outcome = meet(store, pair);
    EXPECT_STREQ(name_of(outcome.failure), "revoked");
    EXPECT_STREQ(name_of(outcome.alert), "certificate_revoked");
  }
  // What files make of a connection that was opened before they were read.
  static std::string objection(const Established& open, const Files& files) {
    const auto store = load(files);
    EXPECT_NE(store, nullptr);
    return name_of(store->trust()->objection(GetParam(), open.peer_chain, open.peer));
  }
};

INSTANTIATE_TEST_SUITE_P(BothRoles, Revocation, testing::Values(Role::client, Role::server),
                         [](const auto& info) {
                           return info.param == Role::client ? "AsClient" : "AsServer";
                         });

TEST_P(Revocation, DeniesWhomTheListNamesAndNoOtherOfItsAuthority) {
  const PemPair bad = *ca().issue(good_leaf(sleep_id()));
  // Out of date: whom it names is denied all the same.
  const auto store = load({ca().revoke({bad.certificate}, kNow - std::chrono::days(9))});
  expect_taken(store, *ca().issue(good_leaf(sleep_id())));
  expect_taken(store, *other_ca().issue(good_leaf(sleep_id())));
  expect_revoked(store, bad);
}

TEST_P(Revocation, ARevokedIntermediateVouchesForNobody) {
  const PemPair pair = issued_below();
  expect_taken(load({ca().revoke({}, kNow)}), pair);
  expect_revoked(load({ca().revoke({below().root_pem()}, kNow)}), pair);
}

TEST_P(Revocation, AListOfAnIntermediateIsHonoured) {
  const PemPair bad = issued_below();
  for (const bool known : {true, false}) {  // our own chain shows the intermediate
    for (const auto age : {std::chrono::days(0), std::chrono::days(9)}) {
      Files files;
      files.lists = below().revoke({bad.certificate}, kNow - age);
      if (known) files.intermediate = below().root_pem();
      const auto store = load(files, nullptr, known ? below() : ca());
      expect_revoked(store, bad);
      expect_taken(store, issued_below());
      expect_taken(store, *ca().issue(good_leaf(sleep_id())));
    }
  }
}

TEST_P(Revocation, AListWhoseAuthorityNobodyShowsKeepsNobodyOut) {
  const TestCa elsewhere = *other_ca().make_below("elsewhere", kNow - kHour, kNow + kHour);
  const PemPair there = *elsewhere.issue(good_leaf(sleep_id()));
  const auto store = load({elsewhere.revoke({there.certificate}, kNow)});
  expect_taken(store, *ca().issue(good_leaf(sleep_id())));
  expect_taken(store, issued_below());
}

TEST_P(Revocation, AListThatIsVerifiedIsOfItsKeyAlone) {
  // The intermediate's name, another key, as after a new one was plugged in.
  const TestCa renewed = *ca().make_below("intermediate", kNow - kHour, kNow + kHour);
  const PemPair bad = issued_below();
  const PemPair same_serial = [&] {
    std::string reason;
    const auto from = std::move(read_certificates(bad.certificate, 2, reason).at(0));
    PemPair pair = *renewed.issue(good_leaf(sleep_id()));
    const auto leaf = std::move(read_certificates(pair.certificate, 1, reason).at(0));
    const KeyPtr key = read_key(renewed.key_pem(), reason);
    EXPECT_EQ(X509_set_serialNumber(leaf.get(), X509_get_serialNumber(from.get())), 1);
    EXPECT_NE(X509_sign(leaf.get(), key.get(), EVP_sha256()), 0);
    return PemPair{write_certificate(leaf.get()) + renewed.root_pem(), pair.key};
  }();
  Files files;
  files.lists = below().revoke({bad.certificate}, kNow);
  files.intermediate = below().root_pem();
  const auto store = load(files, nullptr, below());
  expect_revoked(store, bad);
  expect_taken(store, same_serial);
}

TEST_P(Revocation, ByAReloadEndsWhatTheLeafOpenedAndNothingElse) {
  const PemPair bad = *ca().issue(good_leaf(sleep_id()));
  const PemPair good = *ca().issue(good_leaf(sleep_id()));
  const auto before = load({});
  const Established of_bad = meet(before, bad).established;
  const Established of_good = meet(before, good).established;
  const Files unrelated = {ca().revoke({ca().issue(good_leaf(sleep_id()))->certificate}, kNow)};
  const Files after = {ca().revoke({bad.certificate}, kNow)};
  EXPECT_EQ(objection(of_bad, {}), "none");
  EXPECT_EQ(objection(of_bad, unrelated), "none");
  EXPECT_EQ(objection(of_bad, after), "revoked");
  EXPECT_EQ(objection(of_good, after), "none");
}

TEST_P(Revocation, ByAReloadEndsWhatAnIntermediateVouchedFor) {
  const Established under = meet(load({}), issued_below()).established;
  const Established beside = meet(load({}), *ca().issue(good_leaf(sleep_id()))).established;
  const Files after = {ca().revoke({below().root_pem()}, kNow)};
  EXPECT_EQ(objection(under, after), "revoked");
  EXPECT_EQ(objection(beside, after), "none");
}

TEST_P(Revocation, OfAnIntermediateEndsByAReloadToo) {
  const PemPair bad = issued_below();
  const Established of_bad = meet(load({}), bad).established;
  const Established of_good = meet(load({}), issued_below()).established;
  const Files after = {below().revoke({bad.certificate}, kNow)};
  EXPECT_EQ(objection(of_bad, after), "revoked");
  EXPECT_EQ(objection(of_good, after), "none");
}

TEST_P(Revocation, ARootThatIsTakenOutEndsWhatItVouchedFor) {
  const Established open = meet(load({}), issued_below()).established;
  Files after;
  after.roots = ca().root_pem();
  EXPECT_EQ(objection(open, after), "none");
  after.roots = other_ca().root_pem();
  EXPECT_EQ(objection(open, after), "unknown_ca");
}

TEST_P(Revocation, ARootIsTakenOutThoughItsListStaysAndAnotherHasItsName) {
  const TestCa former = *TestCa::make("cluster.local", kNow - kHour, kNow + kHour);
  const PemPair bad = *former.issue(good_leaf(sleep_id()));
  const PemPair good = *ca().issue(good_leaf(sleep_id()));
  Files files;
  files.roots = ca().root_pem() + former.root_pem();
  files.lists = former.revoke({bad.certificate}, kNow) + ca().revoke({}, kNow);
  const auto before = load(files);
  expect_revoked(before, bad);
  ASSERT_NE(before, nullptr);
  const Established open = meet(before, *former.issue(good_leaf(sleep_id()))).established;
  const Established other = meet(before, good).established;
  EXPECT_EQ(objection(open, files), "none");
  files.roots = ca().root_pem();
  ASSERT_NE(load(files), nullptr);
  EXPECT_EQ(objection(open, files), "unknown_ca");
  EXPECT_EQ(objection(other, files), "none");
  expect_taken(load(files), good);
}

TEST_P(Revocation, ATrustDomainThatIsTakenOutEndsItsClients) {
  const Established open = meet(load({}), *ca().issue(good_leaf(sleep_id()))).established;
  Files after;
  after.domains = {"new.example", {"cluster.local"}};
  EXPECT_EQ(objection(open, after), "none");
  after.domains.aliases.clear();
  // Of servers we expect one identity, whatever its trust domain.
  EXPECT_EQ(objection(open, after), GetParam() == Role::server ? "wrong_trust_domain" : "none");
}

TEST_P(Revocation, AChainLongerThanItsTagsIsRefused) {
  std::vector<TestCa> chain;
  chain.push_back(*ca().make_below("1", kNow - kHour, kNow + kHour));
  while (chain.size() < kMaxChain) {
    chain.push_back(
        *chain.back().make_below(std::to_string(chain.size() + 1), kNow - kHour, kNow + kHour));
  }
  for (const size_t length : {kMaxChain - 1, kMaxChain}) {
    PemPair pair = *chain[length - 1].issue(good_leaf(sleep_id()));
    for (size_t i = length; i-- > 0;) pair.certificate += chain[i].root_pem();
    EXPECT_STREQ(name_of(meet(load({}), pair).failure), length < kMaxChain ? "none" : "unknown_ca");
  }
}

TEST(RevocationLists, InARootsNameMustBearItsSignature) {
  std::string error;
  EXPECT_EQ(load({"garbage"}, &error), nullptr);
  EXPECT_EQ(error, "no revocation list in PEM form");
  const TestCa former = *TestCa::make("cluster.local", kNow - kHour, kNow + kHour);
  const std::string list = ca().revoke({}, kNow);
  for (const bool names_key : {true, false}) {
    EXPECT_EQ(load({signed_again(list, former, names_key)}, &error), nullptr) << names_key;
    EXPECT_EQ(error, "a revocation list whose authority has not signed it");
    EXPECT_NE(load({signed_again(list, ca(), names_key)}, &error), nullptr) << error;
  }
  // Another key of that name, one that we do not know.
  EXPECT_NE(load({former.revoke({}, kNow)}, &error), nullptr) << error;
  EXPECT_EQ(load({signed_again(former.revoke({}, kNow), former, false)}, &error), nullptr);
}

TEST(RevocationLists, AFileThatHasNoneIsNotTakenForNoRevocations) {
  const std::string list = ca().revoke({}, kNow);
  std::string error;
  for (const std::string& text : {std::string(), std::string("\n"), std::string(" \t\r\n \n")}) {
    EXPECT_EQ(load({text}, &error), nullptr) << '"' << text << '"';
    EXPECT_EQ(error, "no revocation list in PEM form");
  }
  for (size_t size = 0; size < list.size() - 1; ++size) {
    EXPECT_FALSE(read_revocations(list.substr(0, size), {}, {}, error)) << size;
  }
  EXPECT_NE(load({}), nullptr) << "no file at all";
}

TEST(RevocationLists, InTheNameOfOurIntermediatesKeyMustBearItsSignature) {
  const std::string list = below().revoke({}, kNow);
  Files files;
  files.intermediate = below().root_pem();
  files.lists = signed_again(list, other_ca());
  std::string error;
  EXPECT_EQ(load(files, &error, below()), nullptr);
  EXPECT_EQ(error, "a revocation list whose authority has not signed it");
  files.lists = list;
  EXPECT_NE(load(files, &error, below()), nullptr) << error;
  // Another key of that name, one that we do not know.
  files.lists = ca().make_below("intermediate", kNow - kHour, kNow + kHour)->revoke({}, kNow);
  EXPECT_NE(load(files, &error, below()), nullptr) << error;
}

}  // namespace
}  // namespace isthmus::tls::test
