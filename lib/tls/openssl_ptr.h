// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Owners of OpenSSL objects.
#pragma once

#include <memory>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace isthmus::tls {

struct OpensslDeleter {
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_CRL* p) const { X509_CRL_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(STACK_OF(X509) * p) const { sk_X509_pop_free(p, X509_free); }
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  // Of all of OpenSSL's ASN.1 strings, which are one type.
  void operator()(ASN1_STRING* p) const { ASN1_STRING_free(p); }
  void operator()(X509_STORE* p) const { X509_STORE_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
};

template <typename T>
using OpensslPtr = std::unique_ptr<T, OpensslDeleter>;
using X509Ptr = OpensslPtr<X509>;
using CrlPtr = OpensslPtr<X509_CRL>;
using X509StackPtr = OpensslPtr<STACK_OF(X509)>;
using KeyPtr = OpensslPtr<EVP_PKEY>;
using SslPtr = OpensslPtr<SSL>;
using SslContextPtr = OpensslPtr<SSL_CTX>;
using Asn1TimePtr = OpensslPtr<ASN1_TIME>;
using BioPtr = OpensslPtr<BIO>;

}  // namespace isthmus::tls
