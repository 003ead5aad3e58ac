// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The same bytes through IPsec-MB alone, and through OpenSSL's records with nghttp2.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <vector>

#include "bench.h"
#include "support/pools.h"
#include "tls/gcm.h"
#include "tls/key_schedule.h"
#include "tls/pem.h"
#include "tls/record.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

template <tls::Direction direction>
double gcm(uint32_t record, double seconds) {
  alignas(64) static uint8_t memory[tls::KeyStore::bytes_for(1)];
  tls::RecordLayer layer(memory, test::pools());
  tls::DirectionKeys* keys = layer.keys().take();
  tls::derive_keys(layer.mgr(), tls::Cipher::aes_256_gcm_sha384, {}, *keys);
  std::vector<uint8_t> from(record, 7);
  std::vector<uint8_t> to(record);
  const uint8_t aad[5] = {};
  uint8_t tag[tls::kTagSize];
  uint64_t sequence = 0;
  double best = 1;
  for (const double end = cpu_seconds() + seconds; cpu_seconds() < end;) {
    const double start = cpu_seconds();
    const uint32_t records = (8u << 20) / record;
    for (uint32_t i = 0; i < records; ++i) {
      tls::gcm_whole<direction>(layer.mgr(), *keys, tls::Nonce(keys->iv, sequence++), aad,
                                sizeof aad, from.data(), to.data(), from.size(), tag);
    }
    best = std::min(best, (cpu_seconds() - start) / (double{1} * records * record));
  }
  layer.keys().give_back(keys);
  return best;
}

// One end: OpenSSL on memory BIOs below an nghttp2 session.
class End {
 public:
  End(bool server, const tls::PemPair* certificate)
      : context_(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())) {
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context_.get(), "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_num_tickets(context_.get(), 0);
    if (certificate != nullptr) {
      std::string reason;
      const auto leaf = tls::read_certificates(certificate->certificate, 1, reason);
      const auto key = tls::read_key(certificate->key, reason);
      SSL_CTX_use_certificate(context_.get(), leaf.at(0).get());
      SSL_CTX_use_PrivateKey(context_.get(), key.get());
    }
    ssl_.reset(SSL_new(context_.get()));
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_.get(), in_, out_);
    if (server) {
      SSL_set_accept_state(ssl_.get());
    } else {
      SSL_set_connect_state(ssl_.get());
    }
    start_http(server);
  }
  ~End() { nghttp2_session_del(http_); }
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  void shake_hands() { SSL_do_handshake(ssl_.get()); }
  // What nghttp2 has to say, as records. Each call of it gives a frame or more.
  void flush() {
    const uint8_t* data = nullptr;
    while (const ssize_t size = nghttp2_session_mem_send(http_, &data)) {
      SSL_write(ssl_.get(), data, static_cast<int>(size));
    }
  }
  void receive() {
    int size = 0;
    while ((size = SSL_read(ssl_.get(), buffer_.data(), static_cast<int>(buffer_.size()))) > 0) {
      require(nghttp2_session_mem_recv(http_, buffer_.data(), static_cast<size_t>(size)) == size,
              "nghttp2 does not take its peer's bytes");
    }
  }
  void open() {
    const auto field = [](const char* name, const char* value) {
      const auto bytes = [](const char* text) {
        return reinterpret_cast<uint8_t*>(const_cast<char*>(text));
      };
      return nghttp2_nv{bytes(name), bytes(value), std::strlen(name), std::strlen(value), 0};
    };
    const nghttp2_nv request[] = {field(":method", "CONNECT"), field(":authority", "10.0.0.2:80")};
    nghttp2_data_provider provider{{.ptr = this}, read};
    stream_ = nghttp2_submit_request(http_, nullptr, request, 2, &provider, nullptr);
  }
  void write(uint32_t size) {
    offered_ = size;
    nghttp2_session_resume_data(http_, stream_);
    flush();
  }

  BIO* in_ = nullptr;
  BIO* out_ = nullptr;
  uint64_t taken = 0;

 private:
  struct Free {
    void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
    void operator()(SSL* p) const { SSL_free(p); }
  };

  static ssize_t read(nghttp2_session*, int32_t, uint8_t* to, size_t most, uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    End& self = *static_cast<End*>(source->ptr);
    *flags = 0;
    if (self.offered_ == 0) return NGHTTP2_ERR_DEFERRED;
    const size_t n = std::min<size_t>(most, self.offered_);
    std::copy_n(self.payload_.data(), n, to);  // from the buffers in which it came
    self.offered_ -= static_cast<uint32_t>(n);
    return static_cast<ssize_t>(n);
  }

  void start_http(bool server) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, uint8_t, int32_t, const uint8_t*, size_t size, void* user) {
          static_cast<End*>(user)->taken += size;
          return 0;
        });
    (server ? nghttp2_session_server_new : nghttp2_session_client_new)(&http_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1u << 20}};
    nghttp2_submit_settings(http_, 0, settings, 1);
    nghttp2_session_set_local_window_size(http_, 0, 0, 1 << 20);
  }

  std::unique_ptr<SSL_CTX, Free> context_;
  std::unique_ptr<SSL, Free> ssl_;
  nghttp2_session* http_ = nullptr;
  int32_t stream_ = 0;
  uint32_t offered_ = 0;
  std::vector<uint8_t> payload_ = std::vector<uint8_t>(64 << 10, 7);
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(16 << 10);
};

// The wire, without TCP: not counted.
void carry(End& from, End& to) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(from.out_, &data);
  if (size > 0) BIO_write(to.in_, data, static_cast<int>(size));
  (void)BIO_reset(from.out_);
}

}  // namespace

Cost raw_gcm(uint32_t record, double seconds) {
  return {gcm<tls::Direction::seal>(record, seconds), gcm<tls::Direction::open>(record, seconds)};
}

Cost openssl_nghttp2(const Shape& shape, double seconds) {
  tls::LeafOptions options;
  options.uris = {"spiffe://cluster.local/ns/default/sa/httpbin"};
  options.not_before = hbone::test::kNow - std::chrono::hours(1);
  options.not_after = hbone::test::kNow + std::chrono::hours(1);
  const tls::PemPair certificate = *hbone::test::mesh_ca().issue(options);
  End client(false, nullptr);
  End server(true, &certificate);
  for (int i = 0; i < 4; ++i) {
    client.shake_hands();
    carry(client, server);
    server.shake_hands();
    carry(server, client);
  }
  client.open();
  Cost best;
  for (const double end = cpu_seconds() + seconds; cpu_seconds() < end;) {
    double sent = 0;
    double received = 0;
    const uint64_t before = server.taken;
    for (int turn = 0; turn < 100; ++turn) {
      double start = cpu_seconds();
      for (uint32_t i = 0; i < shape.burst; ++i) client.write(shape.write);
      sent += cpu_seconds() - start;
      carry(client, server);
      start = cpu_seconds();
      server.receive();
      server.flush();
      received += cpu_seconds() - start;
      carry(server, client);
      start = cpu_seconds();
      client.receive();
      sent += cpu_seconds() - start;
    }
    const auto bytes = static_cast<double>(server.taken - before);
    if (bytes != 0) best.keep_better(sent / bytes, received / bytes);
  }
  return best;
}

}  // namespace isthmus::bench
