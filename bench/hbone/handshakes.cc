// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Full handshakes with certificates both ways (P-256, X25519, AES-256-GCM), both sides together:
// ours with everything that we ask of a peer, and OpenSSL alone, which verifies the chain and no
// more.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <openssl/ssl.h>
#include <vector>

#include "bench.h"
#include "tls/handshake.h"
#include "tls/pem.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

constexpr int kBatch = 20;

template <typename Once>
double best_of(double seconds, Once&& once) {
  double best = 1;
  for (const double end = cpu_seconds() + seconds; cpu_seconds() < end;) {
    const double start = cpu_seconds();
    for (int i = 0; i < kBatch; ++i) {
      if (once()) continue;
      std::fprintf(stderr, "bench: a handshake fails\n");
      std::abort();
    }
    best = std::min(best, (cpu_seconds() - start) / kBatch);
  }
  return best;
}

struct FreeContext {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
};
using Context = std::unique_ptr<SSL_CTX, FreeContext>;

Context context(const SSL_METHOD* method, const tls::PemPair& pair) {
  Context made(SSL_CTX_new(method));
  std::string reason;
  const auto leaf = tls::read_certificates(pair.certificate, 1, reason);
  const auto key = tls::read_key(pair.key, reason);
  const auto roots = tls::read_certificates(hbone::test::mesh_ca().root_pem(), 1, reason);
  SSL_CTX_use_certificate(made.get(), leaf.at(0).get());
  SSL_CTX_use_PrivateKey(made.get(), key.get());
  X509_STORE_add_cert(SSL_CTX_get_cert_store(made.get()), roots.at(0).get());
  X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(made.get()),
                             hbone::test::kNow.time_since_epoch().count());
  SSL_CTX_set_min_proto_version(made.get(), TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(made.get(), "TLS_AES_256_GCM_SHA384");
  SSL_CTX_set1_groups_list(made.get(), "X25519:P-256");
  SSL_CTX_set_num_tickets(made.get(), 0);
  SSL_CTX_set_session_cache_mode(made.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(made.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return made;
}

tls::PemPair leaf(const char* uri) {
  tls::LeafOptions options;
  options.uris = {uri};
  options.not_before = hbone::test::kNow - std::chrono::hours(1);
  options.not_after = hbone::test::kNow + std::chrono::hours(1);
  return *hbone::test::mesh_ca().issue(options);
}

}  // namespace

double our_handshakes(double seconds) {
  using tls::Role;
  const auto sleep = *tls::Identity::make("cluster.local", "default", "sleep");
  const auto httpbin = *tls::Identity::make("cluster.local", "default", "httpbin");
  const auto store = *tls::make_test_store(hbone::test::mesh_ca(), {sleep, httpbin}, {},
                                           hbone::test::kNow - std::chrono::hours(1),
                                           hbone::test::kNow + std::chrono::hours(1))
                          .value;
  auto& names = hbone::test::identities();
  return best_of(seconds, [&] {
    tls::HandshakePolicy policy;
    policy.expected = {names.intern(httpbin)};
    tls::Handshake client(Role::client, store, store->find(sleep), policy, names,
                          hbone::test::kNow);
    tls::Handshake server(Role::server, store, store->find(httpbin), {}, names, hbone::test::kNow);
    std::vector<uint8_t> to_server;
    std::vector<uint8_t> to_client;
    for (int i = 0; i < 4; ++i) {
      client.step(to_client, to_server);
      to_client.clear();
      server.step(to_server, to_client);
      to_server.clear();
    }
    return server.state() == tls::HandshakeState::established &&
           client.state() == tls::HandshakeState::established;
  });
}

double openssl_handshakes(double seconds) {
  const Context contexts[] = {
      context(TLS_client_method(), leaf("spiffe://cluster.local/ns/default/sa/sleep")),
      context(TLS_server_method(), leaf("spiffe://cluster.local/ns/default/sa/httpbin"))};
  return best_of(seconds, [&] {
    std::array<SSL*, 2> ends{};
    for (size_t i = 0; i < 2; ++i) {
      ends[i] = SSL_new(contexts[i].get());
      SSL_set_bio(ends[i], BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    }
    SSL_set_connect_state(ends[0]);
    SSL_set_accept_state(ends[1]);
    for (size_t turn = 0; turn < 8; ++turn) {
      SSL* from = ends[turn % 2];
      SSL* to = ends[1 - turn % 2];
      SSL_do_handshake(from);
      char* data = nullptr;
      const long size = BIO_get_mem_data(SSL_get_wbio(from), &data);
      if (size > 0) BIO_write(SSL_get_rbio(to), data, static_cast<int>(size));
      (void)BIO_reset(SSL_get_wbio(from));
    }
    const bool done = SSL_is_init_finished(ends[0]) == 1 && SSL_is_init_finished(ends[1]) == 1;
    for (SSL* end : ends) SSL_free(end);
    return done;
  });
}

}  // namespace isthmus::bench
