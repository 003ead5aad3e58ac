// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What TCP costs at each end, in cycles of the time stamp counter: segments in order, one-byte
// transactions, short connections. One core, two engines, bursts of 32.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include <rte_mbuf.h>

#include "rig.h"

namespace isthmus::bench {
namespace {

using tcp::Connection;

packet::Endpoint endpoint(uint32_t address, uint16_t port) {
  return {packet::IpAddress::v4(address), port};
}

tcp::Config sized(unsigned connections) {
  tcp::Config config;
  config.max_connections = connections + 4 * kBurst;
  // One client address opens them all at once.
  config.max_half_open = config.max_connections;
  config.max_half_open_per_source = UINT16_MAX;
  return config;
}

// Two ends and what is between them.
struct Rig {
  explicit Rig(const packet::Pools& pools, unsigned connections)
      : to_server(pools),
        to_client(pools),
        client(sized(connections), pools, to_server, clock),
        server(sized(connections), pools, to_client, clock) {}

  // The server hears the client and the client the server, until nobody says anything.
  void exchange() {
    do {
      while (!to_server.empty()) server.turn(to_server);
      while (!to_client.empty()) client.turn(to_client);
      clock.now += clock.step;
    } while (!to_server.empty());
  }
  void clear_meters() {
    client.clear_meters();
    server.clear_meters();
    to_client.freeing.clear();
    to_server.freeing.clear();
  }

  Clock clock;
  Wire to_server;
  Wire to_client;
  End client;
  End server;
};

// Takes what comes and forgets it.
struct Sink : tcp::Handler {
  void on_tcp(Connection& connection, uint16_t events) override {
    if ((events & tcp::kConnected) != 0) ++connected;
    if ((events & tcp::kReadable) != 0) bytes += connection.receive().size();
  }
  uint64_t connected = 0;
  uint64_t bytes = 0;
};

std::vector<Connection*> connect_all(Rig& rig, unsigned count, tcp::Handler& handler) {
  std::vector<Connection*> made;
  for (unsigned i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(1024 + i % 50'000);
    made.push_back(rig.client.engine().connect(endpoint(0x0a000001 + i / 50'000, port),
                                               endpoint(0x0b000001, 80), &handler, {},
                                               rig.clock.now));
    if (made.size() % kBurst != 0 && made.size() != count) continue;
    rig.client.flush();
    rig.exchange();
    rig.exchange();
  }
  // In the order in which memory would not predict the next one.
  std::mt19937 random(1);
  std::shuffle(made.begin(), made.end(), random);
  return made;
}

// A user that has work for a burst of connections asks memory for one so many places on. The
// gateway's rooms don't: they send on whatever connection what they have read belongs to.
constexpr size_t kAhead = 8;
constexpr size_t kUnasked = 0;

// The next one of those that take turns.
Connection& in_turn(const std::vector<Connection*>& connections, size_t& next, size_t ahead) {
  Connection& connection = *connections[next];
  if (ahead != kUnasked) {
    connections[next + ahead < connections.size() ? next + ahead : 0]->prefetch();
  }
  if (++next == connections.size()) next = 0;
  return connection;
}

packet::Chain payload(const packet::Pools& pools, uint32_t bytes) {
  packet::Chain chain;
  while (bytes != 0) {
    const bool small = bytes <= packet::kSmallRoom;
    rte_mbuf* segment = rte_pktmbuf_alloc(small ? pools.small : pools.large);
    if (segment == nullptr) {
      fprintf(stderr, "the sending application has no mbuf\n");
      exit(1);
    }
    segment->data_len = static_cast<uint16_t>(std::min<uint32_t>(bytes, 16'384));
    bytes -= segment->data_len;
    chain.append(segment);
  }
  return chain;
}

struct SegmentCost {
  double received = 0;  // parse, input, timers, flush with handler and ACK
  double parse = 0;
  double input = 0;
  double flush = 0;
  double sent = 0;     // send() and flush(), and the ACKs that came for it
  double queue = 0;    // send() and flush() alone
  double freeing = 0;  // transmit completions
  double acks = 0;     // for each segment
};

// Who sends how. in_burst: segments of each connection in a burst of 32, as of senders that have
// more to say than one; 1: each segment of it is on another connection.
struct Load {
  unsigned connections;
  unsigned in_burst = 1;
};

// `segments` segments of `bytes`, 32 at a time.
SegmentCost measure_segments(const packet::Pools& pools, const Load& load, uint32_t bytes,
                             unsigned segments, size_t ahead = kAhead) {
  const unsigned connections = load.connections;
  Rig rig(pools, connections);
  Sink source;
  Sink sink;
  rig.server.listen(&sink);
  const std::vector<Connection*> made = connect_all(rig, connections, source);
  const unsigned at_once = std::min(connections, kBurst / load.in_burst);
  Meter sending;
  size_t next = 0;
  const auto round = [&] {
    std::array<packet::Chain, kBurst> chains;
    for (auto& chain : chains) chain = payload(pools, bytes);
    uint64_t cycles = 0;
    const size_t first = next;
    for (unsigned i = 0; i < kBurst;) {
      const bool again = i != 0 && load.in_burst != 1;
      if (again) next = first;
      const uint64_t start = rte_rdtsc();
      for (unsigned j = 0; j < at_once; ++j, ++i) {
        in_turn(made, next, again ? kUnasked : ahead).send(std::move(chains[i]));
      }
      rig.client.flush();
      cycles += rte_rdtsc() - start;
      if (made[0]->send_queued() > 1 << 20) rig.exchange();  // one connection, its window full
    }
    sending.add(cycles, kBurst);
    rig.exchange();
  };
  // Every connection's window opens first.
  const unsigned warm = std::max(connections / kBurst * 8, 2000u);
  for (unsigned i = 0; i < warm; ++i) round();
  rig.clear_meters();
  sending.clear();
  const uint64_t before = sink.bytes;
  const unsigned rounds = std::max(segments, 2 * connections) / kBurst;
  for (unsigned i = 0; i < rounds; ++i) round();
  const double moved = static_cast<double>(sink.bytes - before);
  if (source.connected != connections || moved < 0.99 * rounds * kBurst * bytes) {
    fprintf(stderr, "%u connections of %u bytes: %.0f bytes of %.0f came\n", connections, bytes,
            moved, 1.0 * rounds * kBurst * bytes);
  }
  SegmentCost cost;
  const double count = 1.0 * rounds * kBurst;
  // An end's bursts hold more packets than segments where a window was short: per segment.
  const double in = static_cast<double>(rig.server.received) / count;
  cost.acks = static_cast<double>(rig.client.received) / count;
  cost.parse = rig.server.parsing.per_item() * in;
  cost.input = rig.server.input.per_item() * in;
  cost.flush = rig.server.flushing.per_item() * in;
  cost.received = cost.parse + cost.input + cost.flush;
  cost.queue = sending.per_item();
  cost.sent =
      cost.queue + cost.acks * (rig.client.parsing.per_item() + rig.client.input.per_item() +
                                rig.client.flushing.per_item());
  cost.freeing = rig.to_server.freeing.per_item() * in;
  return cost;
}

void print_segments(const packet::Pools& pools, uint32_t bytes, const std::vector<Load>& loads) {
  double first[2] = {};
  for (const Load& load : loads) {
    const SegmentCost cost = measure_segments(pools, load, bytes, 400'000);
    if (first[0] == 0) {
      first[0] = cost.received;
      first[1] = cost.sent;
    }
    printf(
        "  %7u  %6u  %6u %9.0f (%3.0f + %3.0f + %3.0f) %5.2fx %9.0f (%3.0f + %3.0f) %5.2fx %8.0f "
        "%6.2f\n",
        bytes, load.connections, load.connections == 1 ? kBurst : load.in_burst, cost.received,
        cost.parse, cost.input, cost.flush, cost.received / first[0], cost.sent, cost.queue,
        cost.sent - cost.queue, cost.sent / first[1], cost.freeing, cost.acks);
    fflush(stdout);
  }
}

void print_unasked(const packet::Pools& pools, unsigned connections) {
  const SegmentCost cost = measure_segments(pools, {connections}, 1448, 400'000, kUnasked);
  printf(
      "  %u connections of which none is asked for ahead, as the gateway sends: %.0f cycles a "
      "segment sent (%.0f + %.0f)\n",
      connections, cost.sent, cost.queue, cost.sent - cost.queue);
}

// Answers each byte with a byte.
struct Answerer : tcp::Handler {
  explicit Answerer(const packet::Pools& mempools) : pools(mempools) {}
  void on_tcp(Connection& connection, uint16_t events) override {
    if ((events & tcp::kReadable) != 0) connection.send(connection.receive());
    if ((events & tcp::kPeerClosed) != 0) connection.shutdown();
  }
  const packet::Pools& pools;
};

struct Asker : tcp::Handler {
  void on_tcp(Connection& connection, uint16_t events) override {
    if ((events & tcp::kReadable) == 0) return;
    answers += connection.receive().size();
    if (on_answer) on_answer(connection);
  }
  uint64_t answers = 0;
  std::function<void(Connection&)> on_answer;
};

// All of an end's cycles; the application's part of the client is a few of them.
double cycles_of(End& end, double per) {
  return (end.parsing.per_item() + end.input.per_item() + end.flushing.per_item()) *
         static_cast<double>(end.received) / per;
}

void print_transactions(const packet::Pools& pools, unsigned connections) {
  Rig rig(pools, connections);
  Answerer answerer(pools);
  Asker asker;
  rig.server.listen(&answerer);
  const std::vector<Connection*> made = connect_all(rig, connections, asker);
  Meter asking;
  size_t next = 0;
  const auto round = [&] {
    std::array<packet::Chain, kBurst> chains;
    for (auto& chain : chains) chain = payload(pools, 1);
    const uint64_t start = rte_rdtsc();
    for (auto& chain : chains) in_turn(made, next, kAhead).send(std::move(chain));
    rig.client.flush();
    asking.add(rte_rdtsc() - start, kBurst);
    rig.exchange();
  };
  for (unsigned i = 0; i < connections / kBurst * 4; ++i) round();
  rig.clear_meters();
  asking.clear();
  const uint64_t before = asker.answers;
  for (unsigned i = 0; i < 10'000; ++i) round();
  const auto done = static_cast<double>(asker.answers - before);
  const double client = cycles_of(rig.client, done) + asking.per_item();
  const double server = cycles_of(rig.server, done);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  printf(
      "  1-byte transactions, %u connections: %.0f cycles at the client, %.0f at the server: "
      "%.2f and %.2f million/s a core\n",
      connections, client, server, hz / client / 1e6, hz / server / 1e6);
}

// Open, a byte each way, close from the client's side (which keeps the TIME-WAIT).
void print_connections(const packet::Pools& pools) {
  constexpr unsigned kRounds = 20'000;
  Rig rig(pools, 8192);
  Answerer answerer(pools);
  Asker asker;
  asker.on_answer = [](Connection& connection) { connection.shutdown(); };
  rig.server.listen(&answerer);
  Meter opening;
  uint32_t serial = 0;
  for (unsigned i = 0; i < kRounds; ++i) {
    std::array<packet::Chain, kBurst> chains;
    for (auto& chain : chains) chain = payload(pools, 1);
    const uint64_t start = rte_rdtsc();
    for (auto& chain : chains) {
      const auto port = static_cast<uint16_t>(1024 + serial % 60'000);
      const packet::Endpoint local = endpoint(0x0a000001 + serial / 60'000 % 200, port);
      ++serial;
      Connection* made =
          rig.client.engine().connect(local, endpoint(0x0b000001, 80), &asker, {}, rig.clock.now);
      if (made != nullptr) made->send(std::move(chain));
    }
    rig.client.flush();
    opening.add(rte_rdtsc() - start, kBurst);
    rig.exchange();
    rig.exchange();
  }
  for (unsigned i = 0; i < 8; ++i) rig.exchange();
  const auto closed = static_cast<double>(rig.client.engine().stats().closed);
  const double client = cycles_of(rig.client, closed) + opening.per_item();
  const double server = cycles_of(rig.server, closed);
  const auto hz = static_cast<double>(rte_get_tsc_hz());
  printf(
      "  connections opened, used for a byte each way and closed: %.0f of %u; %.0f cycles at "
      "the client, %.0f at the server: %.0f and %.0f thousand/s a core (target 400)\n",
      closed, kRounds * kBurst, client, server, hz / client / 1e3, hz / server / 1e3);
}

// What a line costs that is in no cache: by itself, and among 32 that are asked for at once. With
// many connections that is what a segment waits for.
void print_memory() {
  constexpr size_t kLines = size_t{1} << 19;  // 32 MB
  struct alignas(64) Line {
    Line* next = nullptr;
  };
  std::vector<Line> lines(kLines);
  std::vector<uint32_t> order(kLines);
  for (uint32_t i = 0; i < kLines; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  for (size_t i = 0; i < kLines; ++i) {
    lines[order[i]].next = &lines[order[(i + 1) % kLines]];
  }
  constexpr unsigned kSteps = 200'000;
  const Line* at = &lines[order[0]];
  uint64_t start = rte_rdtsc();
  for (unsigned i = 0; i < kSteps; ++i) at = at->next;
  const uint64_t alone = rte_rdtsc() - start;
  uintptr_t seen = reinterpret_cast<uintptr_t>(at);
  start = rte_rdtsc();
  for (unsigned i = 0; i < kSteps; i += kBurst) {
    for (unsigned j = 0; j < kBurst; ++j) __builtin_prefetch(&lines[order[i + j]]);
    for (unsigned j = 0; j < kBurst; ++j) {
      seen ^= reinterpret_cast<uintptr_t>(lines[order[i + j]].next);
    }
  }
  const uint64_t together = rte_rdtsc() - start;
  printf("Memory: a line in no cache costs %.0f cycles alone, %.0f among 32%s.\n",
         static_cast<double>(alone) / kSteps, static_cast<double>(together) / kSteps,
         seen == 1 ? " " : "");
}

// counts: of connections, instead of the targets' ones and all else.
void run(const std::vector<unsigned>& counts) {
  print_machine();
  print_memory();
  printf("An idle connection: %zu bytes and 16 to 32 of the table (target 512 in all).\n",
         sizeof(Connection));
  const packet::Pools pools = make_pools("bench", 32'767, 8191, 32'767);
  puts(
      "Cycles for each segment; in brackets parse + input + flush, and send + its ACKs. Growth is "
      "from one connection; the\n"
      "sender asks memory for each connection some places ahead.\n"
      "    bytes connections in burst received (target 350) growth  sent (target 400)   growth  "
      "tx free   ACKs");
  std::vector<Load> loads;
  loads.reserve(counts.size());
  for (const unsigned count : counts) loads.push_back({count});
  // One has an ACK for 32 segments; 32 have one for each, as the many have that send one each.
  if (counts.empty()) loads = {{1}, {kBurst}, {10'000}, {100'000}, {10'000, 8}, {100'000, 8}};
  print_segments(pools, 1448, loads);
  for (const unsigned connections : counts.empty() ? std::vector<unsigned>{10'000} : counts) {
    print_unasked(pools, connections);
  }
  if (!counts.empty()) return;
  print_segments(pools, 44 * 1448, {{1}, {kBurst}, {10'000}, {100'000}});
  print_transactions(pools, 10'000);
  print_connections(pools);
}

}  // namespace
}  // namespace isthmus::bench

int main(int argc, char** argv) {
  std::vector<unsigned> counts;
  for (int i = isthmus::bench::start_eal(argc, argv) + 1; i < argc; ++i) {
    counts.push_back(static_cast<unsigned>(atoi(argv[i])));
  }
  isthmus::bench::run(counts);
  return 0;
}
