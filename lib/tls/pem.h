// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// PEM texts to OpenSSL objects and back. Private to this room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl_ptr.h"

namespace isthmus::tls {

// All certificates of a PEM text, at least one and at most limit. On failure the result is empty
// and reason says why.
std::vector<X509Ptr> read_certificates(std::string_view pem, size_t limit, std::string& reason);
// The same of revocation lists.
std::vector<CrlPtr> read_revocation_lists(std::string_view pem, size_t limit, std::string& reason);
// An unencrypted private key; null with a reason on failure.
KeyPtr read_key(std::string_view pem, std::string& reason);

std::string write_certificate(X509* certificate);
std::string write_revocation_list(X509_CRL* list);
std::string write_key(EVP_PKEY* key);

// What OpenSSL's error queue says last; empties the queue.
std::string openssl_error();

}  // namespace isthmus::tls
