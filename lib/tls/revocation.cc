// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/revocation.h"

#include <algorithm>
#include <utility>

#include "tls/pem.h"

namespace isthmus::tls {
namespace {

constexpr size_t kMaxLists = 64;

bool signed_by(X509_CRL* list, X509* root) {
  return X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(root)) == 0 &&
         X509_CRL_verify(list, X509_get0_pubkey(root)) == 1;
}

}  // namespace

bool RevocationLists::load(std::string_view pem, const std::vector<X509Ptr>& roots,
                           std::string& reason) {
  auto lists = read_revocation_lists(pem, kMaxLists, reason);
  if (lists.empty()) return false;
  for (const CrlPtr& list : lists) {
    const bool known = std::any_of(roots.begin(), roots.end(), [&list](const X509Ptr& root) {
      return signed_by(list.get(), root.get());
    });
    if (!known) {
      openssl_error();
      reason = "a revocation list that none of the roots has signed";
      return false;
    }
  }
  lists_ = std::move(lists);
  return true;
}

bool RevocationLists::revoked(X509* certificate) const {
  return std::any_of(lists_.begin(), lists_.end(), [certificate](const CrlPtr& list) {
    X509_REVOKED* entry = nullptr;
    return X509_NAME_cmp(X509_CRL_get_issuer(list.get()), X509_get_issuer_name(certificate)) == 0 &&
           X509_CRL_get0_by_cert(list.get(), &entry, certificate) == 1;
  });
}

}  // namespace isthmus::tls
