// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

namespace isthmus::tls {
namespace {

BioPtr reader(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Without it OpenSSL would ask for a passphrase on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

// All blocks of one kind; others in front of them are skipped.
template <typename Pointer, typename Read>
std::vector<Pointer> read_blocks(std::string_view pem, size_t limit, std::string& reason,
                                 const std::string& what, Read read) {
  std::vector<Pointer> blocks;
  const BioPtr bio = reader(pem);
  ERR_clear_error();
  while (auto* block = read(bio.get(), nullptr, no_passphrase, nullptr)) {
    blocks.emplace_back(block);
    if (blocks.size() > limit) {
      reason = "more than " + std::to_string(limit) + " " + what + "s";
      return {};
    }
  }
  // Reading ends well only where no further block begins.
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    reason = openssl_error();
    return {};
  }
  ERR_clear_error();
  if (blocks.empty()) reason = "no " + what + " in PEM form";
  return blocks;
}

}  // namespace

std::string openssl_error() {
  char text[256] = "unknown error";
  unsigned long error = 0;
  while (const unsigned long next = ERR_get_error()) error = next;
  if (const char* reason = error != 0 ? ERR_reason_error_string(error) : nullptr) return reason;
  if (error != 0) ERR_error_string_n(error, text, sizeof text);
  return text;
}

std::vector<X509Ptr> read_certificates(std::string_view pem, size_t limit, std::string& reason) {
  return read_blocks<X509Ptr>(pem, limit, reason, "certificate", PEM_read_bio_X509);
}

std::vector<CrlPtr> read_revocation_lists(std::string_view pem, size_t limit, std::string& reason) {
  return read_blocks<CrlPtr>(pem, limit, reason, "revocation list", PEM_read_bio_X509_CRL);
}

KeyPtr read_key(std::string_view pem, std::string& reason) {
  const BioPtr bio = reader(pem);
  ERR_clear_error();
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) reason = "no unencrypted private key in PEM form: " + openssl_error();
  return key;
}

std::string write_certificate(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_X509(bio.get(), certificate) != 1) return {};
  return contents(bio.get());
}

std::string write_revocation_list(X509_CRL* list) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  return PEM_write_bio_X509_CRL(bio.get(), list) == 1 ? contents(bio.get()) : std::string();
}

std::string write_key(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (bio == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return {};
  }
  return contents(bio.get());
}

}  // namespace isthmus::tls
