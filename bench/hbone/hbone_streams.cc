// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <vector>

#include "bench.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

using hbone::Tunnel;

constexpr unsigned kAtOnce = 100;

// Ends a tunnel as soon as the other side has.
class Ender final : public relay::Observer {
 public:
  void on_readable(relay::Leg&) override {}
  void on_writable(relay::Leg&) override {}
  void on_ended(relay::Leg& leg) override { leg.shutdown(); }
  void on_closed(relay::Leg& leg) override {
    ++closed;
    leg.release();
  }
  void on_aborted(relay::Leg& leg, relay::Cause) override {
    ++aborted;
    leg.release();
  }
  uint64_t closed = 0;
  uint64_t aborted = 0;
};

struct Opener final : hbone::OpenHandler {
  void on_tunnel_open(uint64_t, Tunnel& tunnel) override {
    tunnel.observe(&ender);
    tunnel.shutdown();
  }
  void on_tunnel_failed(uint64_t, const hbone::Failure&) override { ++failed; }
  Ender ender;
  uint64_t failed = 0;
};

struct Server final : hbone::Service {
  void on_connect(Tunnel& tunnel, const hbone::Connect&) override {
    if (tunnel.accept()) tunnel.observe(&ender);
  }
  void on_connect_cancelled(Tunnel& tunnel, relay::Cause) override { tunnel.release(); }
  stats::Refusal on_proven(uint64_t) override { return {}; }
  void on_inbound_ended(uint64_t, const hbone::Failure&) override {}
  Ender ender;
};

}  // namespace

PerStream streams(double seconds) {
  hbone::test::Pair pair;
  Server server;
  Opener opener;
  pair.server.service = &server;
  const hbone::PoolKey key = pair.key(pair.expected);
  const hbone::ConnectRequest request = hbone::test::Pair::request_to("10.0.0.2:80");
  PerStream best{1, 1};
  uint64_t asked = 0;
  for (const double end = cpu_seconds() + seconds; cpu_seconds() < end;) {
    PerStream spent;
    const uint64_t before = opener.ender.closed;
    for (int turn = 0; turn < 200; ++turn) {
      pair.now += std::chrono::microseconds(100);
      double start = cpu_seconds();
      while (asked - opener.ender.closed < kAtOnce) {
        pair.client.pool.open(key, request, 1, opener, asked++, pair.now);
      }
      pair.client.round(pair.now, pair.wall);
      spent.client += cpu_seconds() - start;
      for (auto [from, to, sum] : {std::tuple{&pair.client, &pair.server, &spent.server},
                                   std::tuple{&pair.server, &pair.client, &spent.client}}) {
        std::vector<rte_mbuf*> packets;
        for (rte_mbuf* packet : from->out) packets.push_back(hbone::test::carry(packet));
        from->out.clear();
        start = cpu_seconds();
        for (rte_mbuf* packet : packets) to->receive(packet, pair.now);
        to->round(pair.now, pair.wall);
        *sum += cpu_seconds() - start;
      }
    }
    const auto closed = static_cast<double>(opener.ender.closed - before);
    if (asked < 1000) continue;  // the connection was being made
    if (closed == 0 || opener.failed != 0 || opener.ender.aborted != 0) {
      std::fprintf(stderr, "bench: tunnels fail\n");
      std::abort();
    }
    best.client = std::min(best.client, spent.client / closed);
    best.server = std::min(best.server, spent.server / closed);
  }
  while (opener.ender.closed != asked) pair.run(std::chrono::milliseconds(10));
  pair.server.service = &pair.service;
  return best;
}

}  // namespace isthmus::bench
