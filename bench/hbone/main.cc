// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// scripts/bench hbone: see bench.h. Give it the seconds for each figure, 1 by default.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>

#include "bench.h"

namespace isthmus::bench {
namespace {

constexpr Shape kShapes[] = {
    {"64 KB segments", 64u << 10, 2, 16u << 10, true},
    {"1448-byte segments", 64u << 10, 2, 1448, false},
    {"64-byte writes", 64, 32, 64, false},
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
  isthmus::bench::legs(seconds);
  isthmus::bench::connections(seconds);
  rte_eal_cleanup();
  return 0;
}
