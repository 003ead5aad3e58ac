// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A SYN flood against an engine with 1,000 established flows. Forged SYNs come between the flows'
// segments on the same core, and everything that the server does is counted: what is left for the
// flows when the flood takes all that the engine lets it take.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "packet/headers.h"
#include "rig.h"

namespace isthmus::bench {
namespace {

constexpr unsigned kFlows = 1000;
constexpr unsigned kRounds = 3'000;
constexpr unsigned kTurn = 10;           // rounds without and with flood
constexpr unsigned kRound = 8 * kBurst;  // segments, so that no burst is cut short
constexpr unsigned kPieces = 16;  // of a round: SYNs come behind each, so that bursts are mixed
constexpr uint32_t kSegment = 1448;
constexpr uint8_t kFloodNetwork = 20;

struct Sink : tcp::Handler {
  void on_tcp(tcp::Connection& connection, uint16_t events) override {
    if ((events & tcp::kReadable) != 0) bytes += connection.receive().size();
  }
  uint64_t bytes = 0;
};

double resident_mb() {
  std::ifstream status("/proc/self/statm");
  uint64_t all = 0;
  uint64_t resident = 0;
  status >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

// SYNs from anywhere with MSS, SACK, timestamps and a scale, as a real client's.
class Flood {
 public:
  explicit Flood(rte_mempool* pool) : pool_(pool) {}

  void put(Wire& wire, unsigned count) {
    static constexpr uint8_t kOptions[20] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
                                             0, 1, 0, 0,   0, 0, 1, 3,  3, 7};
    for (unsigned i = 0; i < count; ++i) {
      rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
      if (packet == nullptr) return;
      packet->data_len = 60;
      packet->pkt_len = 60;
      auto* bytes = rte_pktmbuf_mtod(packet, uint8_t*);
      std::memset(bytes, 0, 60);
      auto& ip = *reinterpret_cast<packet::Ipv4*>(bytes);
      auto& tcp = *reinterpret_cast<packet::Tcp*>(bytes + 20);
      ip.version_ihl = 0x45;
      ip.total_length.set(60);
      ip.ttl = 64;
      ip.protocol = packet::kProtoTcp;
      ip.source.set(uint32_t{kFloodNetwork} << 24 | static_cast<uint32_t>(random_() & 0xffffff));
      ip.destination.set(0x0b000001);
      tcp.source_port.set(static_cast<uint16_t>(1024 + random_() % 60'000));
      tcp.destination_port.set(80);
      tcp.sequence.set(static_cast<uint32_t>(random_()));
      tcp.data_offset = 10 << 4;
      tcp.flags = packet::Tcp::kSyn;
      tcp.window.set(65'535);
      std::memcpy(bytes + 40, kOptions, sizeof kOptions);
      wire.put(packet);
    }
  }

 private:
  rte_mempool* pool_;
  std::mt19937_64 random_{1};
};

struct Result {
  double quiet = 0;    // cycles of the server for each segment of a flow
  double flooded = 0;  // with its share of the flood
  double resident = 0;
  unsigned connections = 0;
  uint64_t cookies = 0;
  unsigned mbufs = 0;
};

// `syns` SYNs among the segments of each round, a multiple of kPieces.
Result run(const packet::Pools& pools, unsigned syns) {
  tcp::Config config;
  config.max_connections = 16'384;
  Clock clock;
  Wire to_server(pools);
  Wire to_client(pools);
  End client(config, pools, to_server, clock);
  End server(config, pools, to_client, clock);
  Sink source;
  Sink sink;
  server.listen(&sink);
  std::vector<tcp::Connection*> flows;
  const auto settle = [&](Meter* meter = nullptr) {
    do {
      while (!to_server.empty()) server.turn(to_server, meter);
      to_client.discard_to(kFloodNetwork);
      while (!to_client.empty()) client.turn(to_client);
      clock.now += clock.step;
    } while (!to_server.empty());
  };
  for (unsigned i = 0; i < kFlows; ++i) {
    flows.push_back(client.engine().connect(
        {packet::IpAddress::v4(0x0a000001u), static_cast<uint16_t>(1024 + i)},
        {packet::IpAddress::v4(0x0b000001u), 80}, &source, {}, clock.now));
    if (i % kBurst == kBurst - 1 || i + 1 == kFlows) {
      client.flush();
      settle();
    }
  }
  Flood flood(pools.small);
  const unsigned held = rte_mempool_in_use_count(pools.small);
  Meter quiet;
  Meter flooded;
  Result result;
  size_t next = 0;
  const auto send_piece = [&] {
    for (unsigned j = 0; j < kRound / kPieces; ++j) {
      packet::Chain chain;
      rte_mbuf* segment = rte_pktmbuf_alloc(pools.small);
      if (segment == nullptr) break;
      segment->data_len = kSegment;
      chain.append(segment);
      flows[next]->send(std::move(chain));
      if (++next == flows.size()) next = 0;
    }
    client.flush();
  };
  for (unsigned i = 0; i < kRounds; ++i) {
    // In turns, so that both meet the machine in the same mood.
    const bool calm = i / kTurn % 2 == 0;
    for (unsigned j = 0; j < kPieces; ++j) {
      send_piece();
      if (!calm) flood.put(to_server, syns / kPieces);
    }
    settle(calm ? &quiet : &flooded);
  }
  result.quiet = quiet.per_item();
  result.flooded = flooded.per_item() * (kRound + syns) / kRound;
  result.resident = resident_mb();
  result.connections = server.engine().connections();
  result.cookies = server.engine().stats().cookies_sent;
  result.mbufs = rte_mempool_in_use_count(pools.small) - held;
  return result;
}

void print() {
  print_machine();
  const packet::Pools pools = make_pools("flood", 65'535, 1023, 32'767);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  puts(
      "1,000 flows of 1448-byte segments that fill a server's core, and forged SYNs among them in "
      "its bursts;\ncycles of the server. Target: 90 % of the goodput at a million SYNs a second, "
      "and memory bounded.");
  for (const unsigned syns : {16u, 32u, 64u, 256u, 1024u}) {
    const Result r = run(pools, syns);
    const double rounds = hz / (kRound * r.flooded);  // a second
    printf(
        "  %5.2f million SYNs/s: goodput %.0f %% (%.2f million segments/s), %.0f cycles a SYN\n"
        "      held: %u of 16,384 connections, %u small mbufs, %.0f MB resident, %lu cookies "
        "sent\n",
        rounds * syns / 1e6, 100 * r.quiet / r.flooded, rounds * kRound / 1e6,
        (r.flooded - r.quiet) * kRound / syns, r.connections, r.mbufs, r.resident, r.cookies);
  }
}

}  // namespace
}  // namespace isthmus::bench

int main(int argc, char** argv) {
  isthmus::bench::start_eal(argc, argv);
  isthmus::bench::print();
  return 0;
}
