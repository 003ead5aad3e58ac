// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Certificates that their authority took back (CRLs, RFC 5280 section 5). A list that is past its
// next update still denies whom it names, and whom no list names is not denied: a mesh whose lists
// are late goes on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl_ptr.h"

namespace isthmus::tls {

class RevocationLists {
 public:
  // One or more lists in PEM form, each signed by one of the roots; at most 64. False, with the
  // reason, when one is not; then nothing is taken.
  bool load(std::string_view pem, const std::vector<X509Ptr>& roots, std::string& reason);
  bool revoked(X509* certificate) const;

 private:
  std::vector<CrlPtr> lists_;
};

}  // namespace isthmus::tls
