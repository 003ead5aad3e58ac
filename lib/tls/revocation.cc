// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/revocation.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "tls/pem.h"

namespace isthmus::tls {
namespace {

constexpr size_t kMaxLists = 64;

// What a tag is made of.
class Hash {
 public:
  explicit Hash(char kind) { text_.push_back(kind); }
  Hash& add(std::span<const uint8_t> bytes) {
    text_.insert(text_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Hash& add(const ASN1_INTEGER* number) {
    text_.push_back(ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER ? '-' : '+');
    return add({ASN1_STRING_get0_data(number), static_cast<size_t>(ASN1_STRING_length(number))});
  }
  std::optional<Tag> tag() const {
    uint8_t digest[EVP_MAX_MD_SIZE];
    Tag tag = 0;
    if (EVP_Digest(text_.data(), text_.size(), digest, nullptr, EVP_sha256(), nullptr) != 1) {
      return {};
    }
    std::memcpy(&tag, digest, sizeof tag);
    return tag;
  }

 private:
  std::vector<uint8_t> text_;
};

// Who issues: the first part of its certificates' tags.
std::optional<Hash> key_of(const X509* authority) {
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_pubkey_digest(authority, EVP_sha256(), digest, &size) != 1) return {};
  return Hash('k').add({digest, size});
}
// By OpenSSL's hash of the name's canonical form: two encodings of one name compare equal.
std::optional<Hash> name_of_issuer(const X509_NAME* name) {
  int good = 0;
  const unsigned long hash = X509_NAME_hash_ex(name, nullptr, nullptr, &good);
  if (good != 1) return {};
  return Hash('n').add({reinterpret_cast<const uint8_t*>(&hash), sizeof hash});
}

std::optional<Tag> tag(std::optional<Hash> issuer, const ASN1_INTEGER* serial) {
  if (!issuer) return {};
  return issuer->add(serial).tag();
}

bool of_issuer(const X509_CRL* list, const X509* authority) {
  return X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(authority)) == 0;
}

bool signed_by(X509_CRL* list, X509* authority) {
  const bool good = X509_CRL_verify(list, X509_get0_pubkey(authority)) == 1;
  if (!good) openssl_error();
  return good;
}

// Whose key signed it, as the list says by the key's identifier: authorities of one name may have
// several.
enum class Says { nothing, this_key, another_key };

Says says_of_key(X509_CRL* list, X509* authority) {
  auto* id = static_cast<AUTHORITY_KEYID*>(
      X509_CRL_get_ext_d2i(list, NID_authority_key_identifier, nullptr, nullptr));
  const ASN1_OCTET_STRING* own = X509_get0_subject_key_id(authority);
  Says says = Says::nothing;
  if (id != nullptr && id->keyid != nullptr && own != nullptr) {
    says = ASN1_OCTET_STRING_cmp(id->keyid, own) == 0 ? Says::this_key : Says::another_key;
  }
  AUTHORITY_KEYID_free(id);
  return says;
}

// Its entries are of other issuers than the list's.
bool indirect(X509_CRL* list) {
  auto* point = static_cast<ISSUING_DIST_POINT*>(
      X509_CRL_get_ext_d2i(list, NID_issuing_distribution_point, nullptr, nullptr));
  const bool is = point != nullptr && point->indirectCRL > 0;
  ISSUING_DIST_POINT_free(point);
  return is;
}

// Takes a certificate back that was revoked for a time (RFC 5280 section 5.3.1).
bool restores(const X509_REVOKED* entry) {
  auto* why = static_cast<ASN1_ENUMERATED*>(
      X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, nullptr, nullptr));
  const bool is = why != nullptr && ASN1_ENUMERATED_get(why) == CRL_REASON_REMOVE_FROM_CRL;
  ASN1_ENUMERATED_free(why);
  return is;
}

bool take(X509_CRL* list, const std::optional<Hash>& issuer, std::vector<Tag>& to) {
  const STACK_OF(X509_REVOKED)* entries = X509_CRL_get_REVOKED(list);
  for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i) {
    const X509_REVOKED* entry = sk_X509_REVOKED_value(entries, i);
    if (restores(entry)) continue;
    const auto revoked = tag(issuer, X509_REVOKED_get0_serialNumber(entry));
    if (!revoked) return false;
    to.push_back(*revoked);
  }
  return true;
}

struct Signer {
  X509* authority = nullptr;  // null: unknown
  bool forged = false;
};

Signer signer_of(X509_CRL* list, const std::vector<X509Ptr>& roots,
                 const std::vector<X509*>& intermediates) {
  Signer signer;
  const auto look = [&](X509* authority, bool root) {
    if (signer.authority != nullptr || !of_issuer(list, authority)) return;
    if (signed_by(list, authority)) {
      signer.authority = authority;
      return;
    }
    // A former root of the same name may have left its list. An intermediate's list that says
    // nothing may be another cluster's.
    const Says says = says_of_key(list, authority);
    if (says == Says::this_key || (root && says == Says::nothing)) signer.forged = true;
  };
  for (const X509Ptr& root : roots) look(root.get(), true);
  for (X509* intermediate : intermediates) look(intermediate, false);
  return signer;
}

}  // namespace

std::optional<Revocations> read_revocations(std::string_view pem, const std::vector<X509Ptr>& roots,
                                            const std::vector<X509*>& intermediates,
                                            std::string& reason) {
  const auto lists = read_revocation_lists(pem, kMaxLists, reason);
  if (lists.empty()) return {};
  Revocations revoked;
  for (const CrlPtr& list : lists) {
    const Signer signer = signer_of(list.get(), roots, intermediates);
    if (signer.authority == nullptr && signer.forged) {
      reason = "a revocation list whose authority has not signed it";
      return {};
    }
    if (indirect(list.get())) {
      reason = "a revocation list for other authorities' certificates";
      return {};
    }
    const bool known = signer.authority != nullptr;
    if (!take(list.get(),
              known ? key_of(signer.authority) : name_of_issuer(X509_CRL_get_issuer(list.get())),
              known ? revoked.by_key : revoked.by_name)) {
      reason = openssl_error();
      return {};
    }
  }
  return revoked;
}

std::optional<ChainTags> tags_of(const STACK_OF(X509) * chain) {
  const int size = sk_X509_num(chain);
  if (size < 1 || size > static_cast<int>(kMaxChain) + 1) return {};
  ChainTags tags;
  // The root's own signature says nothing; where a peer's certificate is a root itself, it counts.
  const int last = size - 1;
  do {
    const X509* certificate = sk_X509_value(chain, tags.count);
    const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
    const X509* issuer = sk_X509_value(chain, std::min<int>(tags.count + 1, last));
    const auto by_key = tag(key_of(issuer), serial);
    const auto by_name = tag(name_of_issuer(X509_get_issuer_name(certificate)), serial);
    if (!by_key || !by_name) return {};
    tags.certificates[tags.count++] = {*by_key, *by_name};
  } while (tags.count < last);
  const auto root = root_tag(sk_X509_value(chain, last));
  if (!root) return {};
  tags.root = *root;
  return tags;
}

std::optional<Tag> root_tag(const X509* root) {
  const auto key = key_of(root);
  return key ? key->tag() : std::nullopt;
}

}  // namespace isthmus::tls
