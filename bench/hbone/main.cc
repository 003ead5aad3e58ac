// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// scripts/bench hbone: see bench.h. Give it the seconds for each figure, 1 by default.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

#include "bench.h"
#include "tcp/engine.h"

namespace isthmus::bench {
namespace {

constexpr Shape kShapes[] = {
    {"64 KB segments", 64u << 10, 2, 16u << 10, true},
    {"1448-byte segments", 64u << 10, 2, 1448, false},
    {"64-byte writes", 64, 32, 64, false},
};

constexpr unsigned kBulks = 10;
constexpr double kVirtualSeconds = 4;
constexpr Path kPaths[] = {
    {"10 Gbit/s, 100 us, queue 128 KB", std::chrono::microseconds(50), 10'000'000'000, 128u << 10},
    {"1 Gbit/s, 1 ms, queue 256 KB", std::chrono::microseconds(500), 1'000'000'000, 256u << 10},
};

double gbits(double seconds_per_byte) {
  return 8e-9 / seconds_per_byte;
}

void row(const char* what, const Cost& cost, uint32_t write) {
  std::printf("  %-34s %8.2f %8.2f   %8.0f %8.0f\n", what, gbits(cost.sending),
              gbits(cost.receiving), cost.sending * 1e9 * write, cost.receiving * 1e9 * write);
}

void legs(double seconds) {
  const Cost raw = raw_gcm(16384, seconds);
  for (const Shape& shape : kShapes) {
    std::printf("%-36s Gbit/s, one core   ns a write of %u bytes\n", shape.name, shape.write);
    std::printf("  %-34s %8s %8s   %8s %8s\n", "", "encrypt", "decrypt", "encrypt", "decrypt");
    const Cost ours = hbone_leg(shape, seconds);
    const Cost theirs = openssl_nghttp2(shape, seconds);
    row("TCP + TLS + HTTP/2 + relay", ours, shape.write);
    row("AES-256-GCM alone, 16 KB records", raw, shape.write);
    row("OpenSSL + nghttp2, no TCP", theirs, shape.write);
    std::printf("  of AES-256-GCM alone: %.0f %% %.0f %%; of OpenSSL + nghttp2: %.2fx %.2fx\n\n",
                100 * raw.sending / ours.sending, 100 * raw.receiving / ours.receiving,
                theirs.sending / ours.sending, theirs.receiving / ours.receiving);
  }
}

void connections(double seconds) {
  const PerStream each = streams(seconds);
  std::printf("tunnels opened, answered and closed on one connection, at most 100 at once\n");
  std::printf("  client %.0f/s, server %.0f/s, both on one core %.0f/s\n\n", 1 / each.client,
              1 / each.server, 1 / (each.client + each.server));
  const double ours = our_handshakes(seconds);
  const double theirs = openssl_handshakes(seconds);
  std::printf("mutual TLS handshakes, both sides on one core\n");
  std::printf("  ours %.0f/s, OpenSSL alone %.0f/s: %.2fx\n", 1 / ours, 1 / theirs, theirs / ours);
}

void latency_row(const char* name, const Latency& alone, const Latency& beside) {
  std::printf("  %-34s %8.1f %8.1f   %8.1f %8.1f   %5.2fx %5.2fx   %6.2f\n", name,
              1e6 * alone.median, 1e6 * alone.p99, 1e6 * beside.median, 1e6 * beside.p99,
              beside.median / alone.median, beside.p99 / alone.p99, 8e-9 * beside.bulk);
}

void fairness(double seconds) {
  std::printf(
      "a byte to and fro, beside %u bulk streams of its connection; target: p99 3x at most\n",
      kBulks);
  std::printf("  %-34s %8s %8s   %8s %8s   %6s %6s   %6s\n", "us", "p50", "p99", "p50", "p99",
              "p50", "p99", "Gbit/s");
  for (const Path& path : kPaths) {
    latency_row(path.name, latency_on_path(path, 0, kVirtualSeconds),
                latency_on_path(path, kBulks, kVirtualSeconds));
  }
  latency_row("in memory, CPU time of both ends", latency_on_core(0, seconds),
              latency_on_core(kBulks, seconds));
  // What the byte can't but wait for there: the cipher of the bulk that both ends move in a turn.
  constexpr uint32_t kTurn = tcp::Config().short_queue;
  const Cost cipher = raw_gcm(16384, seconds / 4);
  std::printf("  %-34s %8.1f us, of %u KB sealed and opened\n\n",
              "AES-256-GCM alone, a turn's bulk", 1e6 * kTurn * (cipher.sending + cipher.receiving),
              kTurn >> 10);
}

void bytes() {
  constexpr double kStreams = 100;
  const Memory each = memory();
  const double joint = std::max(each.inbound, each.outbound);
  const double flow = each.stream + each.tcp + joint + each.record;
  std::printf("bytes of what is idle\n");
  std::printf("  %-34s %8.0f   target: 512 at most\n", "stream", each.stream);
  std::printf("  %-34s %8.0f   TCP %.0f, HBONE stream %.0f, between them %.0f, record %.0f\n",
              "flow with both legs", flow, each.tcp, each.stream, joint, each.record);
  std::printf("  %-34s %8.0f   target: 1536 at most\n", "with 1/100 of its connection",
              flow + each.connection / kStreams);
  std::printf("  %-34s %8.0f   TCP, TLS, HTTP/2\n", "connection", each.connection);
  std::printf("  %-34s %8.0f\n\n", "more while TCP data is under way", each.tcp_busy);
}

}  // namespace
}  // namespace isthmus::bench

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  if (seconds <= 0) {
    std::fprintf(stderr, "usage: %s [SECONDS-A-FIGURE]\n", argv[0]);
    return 2;
  }
  const std::string prefix = "--file-prefix=bench_hbone_" + std::to_string(getpid());
  std::vector<std::string> arguments = {argv[0],       "--no-huge",     "-m",
                                        "256",         "--no-pci",      "--no-telemetry",
                                        "--no-shconf", "--log-level=3", prefix};
  std::vector<char*> eal;
  eal.reserve(arguments.size());
  for (std::string& argument : arguments) eal.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(eal.size()), eal.data()) < 0) return 1;
  isthmus::bench::fairness(seconds);
  isthmus::bench::bytes();
  isthmus::bench::legs(seconds);
  isthmus::bench::connections(seconds);
  rte_eal_cleanup();
  return 0;
}
