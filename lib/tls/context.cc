// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/context.h"

#include <cstring>
#include <openssl/x509_vfy.h>

#include "tls/trust.h"

namespace isthmus::tls {
namespace {

constexpr unsigned char kH2[] = {2, 'h', '2'};

int events_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

HandshakeEvents* events_of(const SSL* ssl) {
  return static_cast<HandshakeEvents*>(SSL_get_ex_data(ssl, events_index()));
}

// The error that makes OpenSSL send the alert of a failure (failure.cc).
int x509_error_for(Failure failure) {
  switch (failure) {
    case Failure::none:
      return X509_V_OK;
    case Failure::no_spiffe_id:
    case Failure::several_spiffe_ids:
      return X509_V_ERR_CERT_REJECTED;  // bad_certificate
    case Failure::revoked:
      return X509_V_ERR_CERT_REVOKED;  // certificate_revoked
    case Failure::identities_full:
      return X509_V_ERR_UNSPECIFIED;  // internal_error
    default:
      return X509_V_ERR_PERMITTED_VIOLATION;  // certificate_unknown
  }
}

int verify(X509_STORE_CTX* store, void*) {
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  HandshakeEvents* events = events_of(ssl);
  if (X509_verify_cert(store) <= 0) {
    events->on_chain_error(X509_STORE_CTX_get_error(store));
    return 0;
  }
  const Failure failure = events->judge_peer(X509_STORE_CTX_get0_chain(store));
  X509_STORE_CTX_set_error(store, x509_error_for(failure));
  return failure == Failure::none ? 1 : 0;
}

// Lines are "LABEL CLIENT_RANDOM SECRET". The callback has no argument of its own.
void keylog(const SSL* ssl, const char* text) {
  constexpr std::string_view kClient = "CLIENT_TRAFFIC_SECRET_0 ";
  constexpr std::string_view kServer = "SERVER_TRAFFIC_SECRET_0 ";
  const std::string_view line(text);
  const bool client = line.starts_with(kClient);
  if (!client && !line.starts_with(kServer)) return;
  events_of(ssl)->on_secret(client, line.substr(line.rfind(' ') + 1));
}

void info(const SSL* ssl, int where, int value) {
  if ((where & SSL_CB_ALERT) == 0) return;
  events_of(ssl)->on_alert((where & SSL_CB_WRITE) != 0, static_cast<Alert>(value & 0xff));
}

int select_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned offered_size, void*) {
  for (unsigned at = 0; at < offered_size; at += 1u + offered[at]) {
    if (offered[at] == 2 && at + 2 < offered_size && std::memcmp(offered + at + 1, "h2", 2) == 0) {
      *out = offered + at + 1;
      *out_size = 2;
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool set_protocol(Role role, SSL_CTX* context) {
  // No resumption in either role: it would skip the verification of the peer's certificate, and a
  // server's tickets would use sequence numbers of the keys that our record layer takes over.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // A server owes a change_cipher_spec to clients with a session id (RFC 8446 appendix D.4); as
  // clients we have none.
  if (role == Role::client) SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
  return SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1 &&
         SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256") == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1;
}

bool set_roots(SSL_CTX* context, const std::vector<X509Ptr>& roots) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const X509Ptr& root : roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1) return false;
  }
  return true;
}

}  // namespace

SslContextPtr make_context(Role role, const std::vector<X509Ptr>& roots, bool verify_peer) {
  SslContextPtr context(
      SSL_CTX_new(role == Role::client ? TLS_client_method() : TLS_server_method()));
  if (context == nullptr || !set_protocol(role, context.get()) ||
      !set_roots(context.get(), roots)) {
    return nullptr;
  }
  SSL_CTX_set_verify(
      context.get(),
      verify_peer ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, nullptr);
  // Between leaf and root.
  SSL_CTX_set_verify_depth(context.get(), static_cast<int>(kMaxChain) - 1);
  SSL_CTX_set_cert_verify_callback(context.get(), verify, nullptr);
  SSL_CTX_set_keylog_callback(context.get(), keylog);
  SSL_CTX_set_info_callback(context.get(), info);
  if (role == Role::client) {
    if (SSL_CTX_set_alpn_protos(context.get(), kH2, sizeof kH2) != 0) return nullptr;
  } else {
    SSL_CTX_set_alpn_select_cb(context.get(), select_protocol, nullptr);
  }
  return context;
}

bool attach(SSL* ssl, HandshakeEvents* events) {
  return SSL_set_ex_data(ssl, events_index(), events) == 1;
}

}  // namespace isthmus::tls
