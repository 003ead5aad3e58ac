// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/test_ca.h"

#include <cstring>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <utility>

#include "tls/pem.h"

namespace isthmus::tls {
namespace {

KeyPtr make_key(LeafOptions::KeyType type) {
  return KeyPtr(type == LeafOptions::KeyType::p256 ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048));
}

bool set_serial(X509* certificate) {
  uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  return ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1;
}

bool set_validity(X509* certificate, WallTime not_before, WallTime not_after) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate), not_before.time_since_epoch().count()) !=
             nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), not_after.time_since_epoch().count()) !=
             nullptr;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const OpensslPtr<X509_EXTENSION> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

X509Ptr begin(EVP_PKEY* key, WallTime not_before, WallTime not_after) {
  X509Ptr certificate(X509_new());
  if (certificate == nullptr || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      !set_serial(certificate.get()) || !set_validity(certificate.get(), not_before, not_after) ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return nullptr;
  }
  return certificate;
}

// Built by hand: the configuration syntax gives ',' and ':' a meaning of their own.
bool add_uris(X509* certificate, const std::vector<std::string>& uris) {
  if (uris.empty()) return true;
  const OpensslPtr<GENERAL_NAMES> names(GENERAL_NAMES_new());
  if (names == nullptr) return false;
  for (const std::string& uri : uris) {
    GENERAL_NAME* name = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    if (name == nullptr || text == nullptr ||
        ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size())) != 1) {
      GENERAL_NAME_free(name);
      ASN1_IA5STRING_free(text);
      return false;
    }
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    if (sk_GENERAL_NAME_push(names.get(), name) <= 0) {
      GENERAL_NAME_free(name);
      return false;
    }
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 1, X509V3_ADD_DEFAULT) ==
         1;
}

std::string key_usage(const LeafOptions& options) {
  std::string usage = options.client_auth ? "clientAuth" : "";
  if (options.server_auth) usage += usage.empty() ? "serverAuth" : ",serverAuth";
  return usage;
}

}  // namespace

std::optional<TestCa> TestCa::make(std::string_view name, WallTime not_before, WallTime not_after) {
  KeyPtr key = make_key(LeafOptions::KeyType::p256);
  if (key == nullptr) return {};
  X509Ptr root = begin(key.get(), not_before, not_after);
  if (root == nullptr) return {};
  X509_NAME* subject = X509_get_subject_name(root.get());
  X509* self = root.get();
  if (X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()),
                                 static_cast<int>(name.size()), -1, 0) != 1 ||
      X509_set_issuer_name(self, subject) != 1 ||
      !add_extension(self, self, NID_basic_constraints, "critical,CA:TRUE") ||
      !add_extension(self, self, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(self, self, NID_subject_key_identifier, "hash") ||
      X509_sign(self, key.get(), EVP_sha256()) == 0) {
    return {};
  }
  return TestCa(std::move(root), std::move(key));
}

std::optional<TestCa> TestCa::make_below(std::string_view name, WallTime not_before,
                                         WallTime not_after) const {
  auto below = make(name, not_before, not_after);
  if (!below || X509_set_issuer_name(below->root_.get(), X509_get_subject_name(root_.get())) != 1 ||
      X509_sign(below->root_.get(), key_.get(), EVP_sha256()) == 0) {
    return {};
  }
  return below;
}

std::optional<TestCa> TestCa::load(std::string_view root_pem, std::string_view key_pem) {
  std::string reason;
  auto roots = read_certificates(root_pem, 1, reason);
  KeyPtr key = read_key(key_pem, reason);
  if (roots.empty() || key == nullptr || X509_check_private_key(roots[0].get(), key.get()) != 1 ||
      X509_check_ca(roots[0].get()) == 0) {
    openssl_error();
    return {};
  }
  return TestCa(std::move(roots[0]), std::move(key));
}

std::string TestCa::root_pem() const {
  return write_certificate(root_.get());
}
std::string TestCa::key_pem() const {
  return write_key(key_.get());
}

std::optional<PemPair> TestCa::issue(const LeafOptions& options) const {
  const KeyPtr key = make_key(options.key_type);
  if (key == nullptr) return {};
  const X509Ptr leaf = begin(key.get(), options.not_before, options.not_after);
  const std::string usage = key_usage(options);
  if (leaf == nullptr ||
      X509_set_issuer_name(leaf.get(), X509_get_subject_name(root_.get())) != 1 ||
      !add_extension(leaf.get(), root_.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(leaf.get(), root_.get(), NID_key_usage,
                     "critical,digitalSignature,keyEncipherment") ||
      !add_extension(leaf.get(), root_.get(), NID_authority_key_identifier, "keyid") ||
      (!usage.empty() && !add_extension(leaf.get(), root_.get(), NID_ext_key_usage, usage)) ||
      !add_uris(leaf.get(), options.uris) || X509_sign(leaf.get(), key_.get(), EVP_sha256()) == 0) {
    return {};
  }
  return PemPair{write_certificate(leaf.get()), write_key(key.get())};
}

std::string TestCa::revoke(const std::vector<std::string>& certificates, WallTime now) const {
  const CrlPtr list(X509_CRL_new());
  const Asn1TimePtr time(ASN1_TIME_set(nullptr, now.time_since_epoch().count()));
  if (list == nullptr || time == nullptr || X509_CRL_set_version(list.get(), 1) != 1 ||
      X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(root_.get())) != 1 ||
      X509_CRL_set1_lastUpdate(list.get(), time.get()) != 1 ||
      X509_CRL_set1_nextUpdate(list.get(), time.get()) != 1) {
    return {};
  }
  AUTHORITY_KEYID key;
  std::memset(&key, 0, sizeof key);
  const OpensslPtr<ASN1_OCTET_STRING> id(
      ASN1_OCTET_STRING_dup(X509_get0_subject_key_id(root_.get())));
  key.keyid = id.get();
  if (key.keyid == nullptr ||
      X509_CRL_add1_ext_i2d(list.get(), NID_authority_key_identifier, &key, 0, 0) != 1) {
    return {};
  }
  for (const std::string& pem : certificates) {
    std::string reason;
    const auto leaf = read_certificates(pem, kMaxChain, reason);
    X509_REVOKED* entry = leaf.empty() ? nullptr : X509_REVOKED_new();
    if (entry == nullptr ||
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(leaf[0].get())) != 1 ||
        X509_REVOKED_set_revocationDate(entry, time.get()) != 1 ||
        X509_CRL_add0_revoked(list.get(), entry) != 1) {
      X509_REVOKED_free(entry);
      return {};
    }
  }
  if (X509_CRL_sort(list.get()) != 1 || X509_CRL_sign(list.get(), key_.get(), EVP_sha256()) == 0) {
    return {};
  }
  return write_revocation_list(list.get());
}

Loaded<std::shared_ptr<const CredentialStore>> make_test_store(const TestCa& ca,
                                                               const std::vector<Identity>& ids,
                                                               const TrustDomains& domains,
                                                               WallTime not_before,
                                                               WallTime not_after) {
  CredentialFiles files;
  files.roots = {"test CA", ca.root_pem()};
  for (const Identity& id : ids) {
    LeafOptions options;
    options.uris = {id.to_string()};
    options.not_before = not_before;
    options.not_after = not_after;
    auto pair = ca.issue(options);
    if (!pair) return {{}, {id.to_string(), openssl_error()}};
    files.pairs.push_back({{id.to_string(), std::move(pair->certificate)},
                           {id.to_string() + " key", std::move(pair->key)}});
  }
  return CredentialStore::load(files, domains);
}

}  // namespace isthmus::tls
