// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/certificate.h"

#include <algorithm>
#include <ctime>
#include <openssl/x509v3.h>
#include <utility>

#include "tls/context.h"
#include "tls/pem.h"
#include "tls/revocation.h"

namespace isthmus::tls {
namespace {

constexpr size_t kMaxRoots = 1000;

template <typename T>
Loaded<T> error(std::string_view file, std::string reason) {
  return {{}, {std::string(file), std::move(reason)}};
}

}  // namespace

std::optional<WallTime> wall_time(const ASN1_TIME* time) {
  std::tm tm{};
  if (ASN1_TIME_to_tm(time, &tm) != 1) return {};
  const std::chrono::year_month_day date(std::chrono::year(tm.tm_year + 1900),
                                         std::chrono::month(static_cast<unsigned>(tm.tm_mon + 1)),
                                         std::chrono::day(static_cast<unsigned>(tm.tm_mday)));
  return std::chrono::sys_days(date) + std::chrono::hours(tm.tm_hour) +
         std::chrono::minutes(tm.tm_min) + std::chrono::seconds(tm.tm_sec);
}

SpiffeId spiffe_id_of_names(std::span<const uint8_t> der) {
  const uint8_t* at = der.data();
  const OpensslPtr<GENERAL_NAMES> names(
      d2i_GENERAL_NAMES(nullptr, &at, static_cast<long>(der.size())));
  if (names == nullptr || at != der.data() + der.size()) return {{}, Failure::no_spiffe_id};
  const ASN1_IA5STRING* uri = nullptr;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    if (uri != nullptr) return {{}, Failure::several_spiffe_ids};
    uri = name->d.uniformResourceIdentifier;
  }
  if (uri == nullptr) return {{}, Failure::no_spiffe_id};
  auto identity = Identity::parse({reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                   static_cast<size_t>(ASN1_STRING_length(uri))});
  if (!identity) return {{}, Failure::no_spiffe_id};
  return {std::move(identity), Failure::none};
}

SpiffeId spiffe_id(X509* certificate) {
  const int first = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
  if (first < 0) return {{}, Failure::no_spiffe_id};
  if (X509_get_ext_by_NID(certificate, NID_subject_alt_name, first) >= 0) {
    return {{}, Failure::several_spiffe_ids};
  }
  const ASN1_OCTET_STRING* value = X509_EXTENSION_get_data(X509_get_ext(certificate, first));
  return spiffe_id_of_names(
      {ASN1_STRING_get0_data(value), static_cast<size_t>(ASN1_STRING_length(value))});
}

Credential::Credential(Identity identity, X509Ptr leaf, X509StackPtr chain, KeyPtr key)
    : identity_(std::move(identity)),
      leaf_(std::move(leaf)),
      chain_(std::move(chain)),
      key_(std::move(key)) {}

Loaded<std::shared_ptr<const Credential>> Credential::load(std::string_view certificate_file,
                                                           std::string_view certificates_pem,
                                                           std::string_view key_file,
                                                           std::string_view key_pem) {
  using Result = std::shared_ptr<const Credential>;
  std::string reason;
  auto certificates = read_certificates(certificates_pem, kMaxChain, reason);
  if (certificates.empty()) return error<Result>(certificate_file, reason);
  KeyPtr key = read_key(key_pem, reason);
  if (key == nullptr) return error<Result>(key_file, reason);
  X509* leaf = certificates.front().get();
  if (X509_check_private_key(leaf, key.get()) != 1) {
    openssl_error();
    return error<Result>(key_file, "the key is not that of " + std::string(certificate_file));
  }
  SpiffeId id = spiffe_id(leaf);
  if (!id.identity) {
    return error<Result>(certificate_file, stats::info(reason_of(id.failure)).name);
  }
  const auto not_before = wall_time(X509_get0_notBefore(leaf));
  const auto not_after = wall_time(X509_get0_notAfter(leaf));
  if (!not_before || !not_after) return error<Result>(certificate_file, "unreadable validity");
  X509StackPtr chain(sk_X509_new_null());
  for (size_t i = 1; chain != nullptr && i < certificates.size(); ++i) {
    if (sk_X509_push(chain.get(), certificates[i].get()) > 0) (void)certificates[i].release();
  }
  const std::shared_ptr<Credential> credential(new Credential(
      std::move(*id.identity), std::move(certificates.front()), std::move(chain), std::move(key)));
  credential->not_before_ = *not_before;
  credential->not_after_ = *not_after;
  return {credential, {}};
}

bool Credential::apply(SSL* ssl) const {
  return SSL_use_cert_and_key(ssl, leaf_.get(), key_.get(), chain_.get(), 1) == 1;
}

namespace {

std::shared_ptr<const Trust> make_trust(const std::optional<NamedText>& lists,
                                        const TrustDomains& domains,
                                        const std::vector<X509Ptr>& roots,
                                        const std::vector<X509*>& intermediates,
                                        std::string& reason) {
  std::vector<Tag> tags;
  for (const X509Ptr& root : roots) {
    const auto tag = root_tag(root.get());
    if (!tag) {
      reason = openssl_error();
      return nullptr;
    }
    tags.push_back(*tag);
  }
  std::optional<Revocations> revoked(std::in_place);
  if (lists) revoked = read_revocations(lists->text, roots, intermediates, reason);
  if (!revoked) return nullptr;
  return std::make_shared<const Trust>(domains, std::move(tags), std::move(*revoked));
}

}  // namespace

CredentialStore::~CredentialStore() = default;

Loaded<std::shared_ptr<const CredentialStore>> CredentialStore::load(const CredentialFiles& files,
                                                                     const TrustDomains& domains,
                                                                     ClientCertificates clients) {
  using Result = std::shared_ptr<const CredentialStore>;
  if (!valid_trust_domain(domains.own)) {
    return error<Result>(files.roots.file, "not a trust domain: " + domains.own);
  }
  std::string reason;
  const auto roots = read_certificates(files.roots.text, kMaxRoots, reason);
  if (roots.empty()) return error<Result>(files.roots.file, reason);
  const std::shared_ptr<CredentialStore> store(new CredentialStore());
  store->clients_ = clients;
  store->client_ = make_context(Role::client, roots, true);
  store->server_ = make_context(Role::server, roots, clients == ClientCertificates::required);
  if (store->client_ == nullptr || store->server_ == nullptr) {
    return error<Result>(files.roots.file, openssl_error());
  }
  for (const auto& pair : files.pairs) {
    auto credential = Credential::load(pair.certificate.file, pair.certificate.text, pair.key.file,
                                       pair.key.text);
    if (!credential) return {{}, std::move(credential.error)};
    const Identity& identity = (*credential.value)->identity();
    if (!store->credentials_.emplace(identity, *credential.value).second) {
      return error<Result>(pair.certificate.file,
                           "another file has " + identity.to_string() + " already");
    }
  }
  // Where a CA is plugged into Istio, lists are of the intermediate that our own chains show.
  std::vector<X509*> intermediates;
  for (const auto& [identity, credential] : store->credentials_) {
    const STACK_OF(X509)* chain = credential->intermediates();
    for (int i = 0; i < sk_X509_num(chain); ++i) intermediates.push_back(sk_X509_value(chain, i));
  }
  store->trust_ = make_trust(files.revoked, domains, roots, intermediates, reason);
  if (store->trust_ == nullptr) {
    return error<Result>(files.revoked ? files.revoked->file : files.roots.file, reason);
  }
  return {store, {}};
}

std::shared_ptr<const Credential> CredentialStore::find(const Identity& identity) const {
  const auto found = credentials_.find(identity);
  return found == credentials_.end() ? nullptr : found->second;
}

SSL_CTX* CredentialStore::context(Role role) const {
  return role == Role::client ? client_.get() : server_.get();
}

void CredentialSource::publish(std::shared_ptr<const CredentialStore> store) {
  {
    const std::lock_guard lock(mutex_);
    store_.swap(store);
  }
  // The replaced store, if this was its last use, is freed here and not under the lock.
}

std::shared_ptr<const CredentialStore> CredentialSource::current() const {
  const std::lock_guard lock(mutex_);
  return store_;
}

}  // namespace isthmus::tls
