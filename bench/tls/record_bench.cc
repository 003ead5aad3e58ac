// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Records sealed and opened by Session beside the same bytes through IPsec-MB's bare GCM call and
// through OpenSSL's EVP, in one run. bytes_per_second counts plaintext.
#include <benchmark/benchmark.h>
#include <chrono>
#include <ctime>
#include <openssl/evp.h>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

#include "support/pools.h"
#include "tls/gcm.h"
#include "tls/handshake.h"
#include "tls/key_schedule.h"
#include "tls/session.h"
#include "tls/test_ca.h"

namespace isthmus::tls {
namespace {

// Of this thread alone: a busy machine does not change the figure.
double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

constexpr unsigned kBatch = 32;
constexpr unsigned kSegment = 1448;  // TCP payload of a full packet

SessionSecrets secrets(Role role) {
  SessionSecrets secrets;
  secrets.role = role;
  secrets.client.bytes.fill(1);
  secrets.server.bytes.fill(2);
  return secrets;
}

struct Pair {
  Pair() {
    usable =
        client.start(layer, secrets(Role::client)) && server.start(layer, secrets(Role::server));
  }
  alignas(64) uint8_t memory[KeyStore::bytes_for(3)] = {};
  RecordLayer layer{memory, test::pools()};
  Session client;
  Session server;
  bool usable;
};

packet::Chain cut(const std::vector<uint8_t>& bytes, size_t segment) {
  packet::Chain chain;
  for (size_t at = 0; at < bytes.size(); at += segment) {
    packet::Chain piece;
    const size_t size = std::min(segment, bytes.size() - at);
    piece.append_copy({bytes.data() + at, size},
                      size <= packet::kSmallRoom ? test::pools().small : test::pools().large);
    chain.append(std::move(piece));
  }
  return chain;
}

void finish(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

// Session, plaintext in one piece: record allocated, sealed and freed.
void seal(benchmark::State& state) {
  Pair pair;
  const std::vector<uint8_t> plain(static_cast<size_t>(state.range(0)), 7);
  for ([[maybe_unused]] auto _ : state) {
    packet::Chain out;
    benchmark::DoNotOptimize(pair.client.seal(plain, out));
  }
  finish(state);
}

// A frame header and a payload as TCP received it, in segments of 1448 bytes.
void seal_segments(benchmark::State& state) {
  Pair pair;
  const std::vector<uint8_t> plain(static_cast<size_t>(state.range(0)) - 9, 7);
  const uint8_t header[9] = {};
  for ([[maybe_unused]] auto _ : state) {
    std::vector<packet::Chain> payloads;
    for (unsigned i = 0; i < kBatch; ++i) payloads.push_back(cut(plain, kSegment));
    packet::Chain out;
    const double start = cpu_seconds();
    for (packet::Chain& payload : payloads) {
      benchmark::DoNotOptimize(pair.client.seal(header, payload, payload.size(), out));
    }
    state.SetIterationTime(cpu_seconds() - start);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * kBatch);
}

// Records as TCP received them: range(1) bytes a segment.
void open(benchmark::State& state) {
  Pair pair;
  const std::vector<uint8_t> plain(static_cast<size_t>(state.range(0)), 7);
  for ([[maybe_unused]] auto _ : state) {
    packet::Chain sealed;
    for (unsigned i = 0; i < kBatch; ++i) pair.client.seal(plain, sealed);
    std::vector<uint8_t> wire(sealed.size());
    sealed.copy_out(0, wire);
    packet::Chain received = cut(wire, static_cast<size_t>(state.range(1)));
    packet::Chain opened;
    const double start = cpu_seconds();
    benchmark::DoNotOptimize(pair.server.open(std::move(received), opened));
    state.SetIterationTime(cpu_seconds() - start);
    if (opened.size() != plain.size() * kBatch) state.SkipWithError("records were lost");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * kBatch);
}

template <Direction direction>
void ipsec_mb(benchmark::State& state) {
  Pair pair;
  DirectionKeys* keys = pair.layer.keys().take();
  derive_keys(pair.layer.mgr(), Cipher::aes_256_gcm_sha384, {}, *keys);
  std::vector<uint8_t> from(static_cast<size_t>(state.range(0)), 7);
  std::vector<uint8_t> to(from.size());
  const uint8_t aad[5] = {};
  uint8_t tag[kTagSize];
  uint64_t sequence = 0;
  for ([[maybe_unused]] auto _ : state) {
    gcm_whole<direction>(pair.layer.mgr(), *keys, Nonce(keys->iv, sequence++), aad, sizeof aad,
                         from.data(), to.data(), from.size(), tag);
    benchmark::DoNotOptimize(tag);
  }
  pair.layer.keys().give_back(keys);
  finish(state);
}

void openssl_evp_seal(benchmark::State& state) {
  EVP_CIPHER* cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const std::vector<uint8_t> key(32, 1);
  const std::vector<uint8_t> from(static_cast<size_t>(state.range(0)), 7);
  std::vector<uint8_t> to(from.size());
  uint8_t iv[kIvSize] = {};
  uint8_t tag[kTagSize];
  const uint8_t aad[5] = {};
  int size = 0;
  EVP_EncryptInit_ex2(context, cipher, key.data(), iv, nullptr);
  for ([[maybe_unused]] auto _ : state) {
    ++iv[0];
    EVP_EncryptInit_ex2(context, nullptr, nullptr, iv, nullptr);
    EVP_EncryptUpdate(context, nullptr, &size, aad, sizeof aad);
    EVP_EncryptUpdate(context, to.data(), &size, from.data(), static_cast<int>(from.size()));
    EVP_EncryptFinal_ex(context, to.data() + size, &size);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagSize, tag);
    benchmark::DoNotOptimize(tag);
  }
  EVP_CIPHER_CTX_free(context);
  EVP_CIPHER_free(cipher);
  finish(state);
}

void key_update(benchmark::State& state) {
  Pair pair;
  for ([[maybe_unused]] auto _ : state) {
    packet::Chain out;
    benchmark::DoNotOptimize(pair.client.update_key(false, out));
  }
}

void session_start(benchmark::State& state) {
  Pair pair;
  const SessionSecrets given = secrets(Role::client);
  for ([[maybe_unused]] auto _ : state)
    benchmark::DoNotOptimize(pair.client.start(pair.layer, given));
}

// Both sides of a full handshake: P-256 certificates, X25519.
void handshake_both_sides(benchmark::State& state) {
  using std::chrono::hours;
  const WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);
  const Identity id = *Identity::make("cluster.local", "default", "sleep");
  const auto ca = TestCa::make("cluster.local", now - hours(1), now + hours(1));
  const auto store = make_test_store(*ca, {id}, {}, now - hours(1), now + hours(1));
  IdentityTable identities;
  const HandshakePolicy policy{{identities.intern(id)}};
  for ([[maybe_unused]] auto _ : state) {
    const auto credential = (*store.value)->find(id);
    Handshake client(Role::client, *store.value, credential, policy, identities, now);
    Handshake server(Role::server, *store.value, credential, {}, identities, now);
    std::vector<uint8_t> to_server;
    std::vector<uint8_t> to_client;
    client.step({}, to_server);
    server.step(to_server, to_client);
    to_server.clear();
    client.step(to_client, to_server);
    if (server.step(to_server, to_client) != HandshakeState::established) {
      state.SkipWithError("handshake failed");
    }
  }
}

BENCHMARK(seal)->Arg(64)->Arg(1400)->Arg(16384);
BENCHMARK(seal_segments)->Arg(1400)->Arg(16384)->UseManualTime();
BENCHMARK(ipsec_mb<Direction::seal>)->Arg(64)->Arg(1400)->Arg(16384);
BENCHMARK(openssl_evp_seal)->Arg(64)->Arg(1400)->Arg(16384);
BENCHMARK(open)
    ->ArgNames({"bytes", "segment"})
    ->Args({64, kSegment})
    ->Args({1400, kSegment})
    ->Args({16384, kSegment})
    ->Args({16384, packet::kLargeRoom})
    ->UseManualTime();
BENCHMARK(ipsec_mb<Direction::open>)->Arg(64)->Arg(1400)->Arg(16384);
BENCHMARK(key_update);
BENCHMARK(session_start);
BENCHMARK(handshake_both_sides)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace isthmus::tls

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::string prefix = "--file-prefix=bench_tls_" + std::to_string(getpid());
  std::vector<std::string> arguments = {argv[0],       "--no-huge",     "-m",
                                        "256",         "--no-pci",      "--no-telemetry",
                                        "--no-shconf", "--log-level=3", prefix};
  std::vector<char*> eal;
  eal.reserve(arguments.size());
  for (std::string& argument : arguments) eal.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) return 1;
  benchmark::RunSpecifiedBenchmarks();
  rte_eal_cleanup();
  return 0;
}
