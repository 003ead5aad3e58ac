// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "nodes.h"

#include <cstdlib>
#include <gtest/gtest.h>

#include <rte_mbuf.h>

namespace isthmus::hbone::test {
namespace {

constexpr unsigned kConnections = 64;

uint8_t* key_bytes() {
  const size_t size = tls::KeyStore::bytes_for(kConnections);
  return static_cast<uint8_t*>(std::aligned_alloc(64, (size + 63) / 64 * 64));
}

tcp::Config tcp_config() {
  tcp::Config config;
  config.max_connections = 256;
  config.max_time_wait = 256;
  config.max_sent_records = 4096;
  config.max_gaps = 256;
  return config;
}

EngineOptions small(EngineOptions options) {
  options.transports = kConnections;
  options.tunnels = 512;
  options.hpack_bytes = 1 << 20;
  return options;
}

}  // namespace

tls::IdentityTable& identities() {
  static tls::IdentityTable table;
  return table;
}

tls::IdentityPtr identity(std::string_view service_account) {
  return identities().intern(*tls::Identity::make("cluster.local", "default", service_account));
}

const tls::TestCa& mesh_ca() {
  using std::chrono::hours;
  static const tls::TestCa made =
      *tls::TestCa::make("cluster.local", kNow - hours(24), kNow + hours(240));
  return made;
}

rte_mbuf* carry(rte_mbuf* packet) {
  std::vector<uint8_t> bytes(packet->pkt_len);
  const packet::Chain whole(packet);
  whole.copy_out(0, bytes);
  packet::Chain copy;
  EXPECT_TRUE(copy.append_copy(bytes, isthmus::test::pools().large));
  rte_mbuf* made = copy.release();
  made->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  return made;
}

void Ear::on_readable(relay::Leg& leg) {
  while (reading && leg.readable() != 0) {
    const packet::Chain bytes = leg.read(leg.readable());
    std::string text(bytes.size(), 0);
    bytes.copy_out(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
    heard += text;
  }
}

void Ear::on_ended(relay::Leg& leg) {
  on_readable(leg);
  ended = leg.ended();
}

void Ear::attach(relay::Leg& leg) {
  leg.observe(this);
  on_readable(leg);
  ended = leg.ended();
}

void say(relay::Leg& leg, const std::string& text) {
  packet::Chain bytes;
  ASSERT_TRUE(bytes.append_copy({reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                                isthmus::test::pools().small));
  leg.write(std::move(bytes));
}

Node::Node(tls::IdentityPtr id, const tls::TestCa& ca, const EngineOptions& options,
           timer::Instant start)
    : own(id),
      tcp(tcp_config(), isthmus::test::pools(), *this, reasons, {}, start),
      key_memory(key_bytes(), &free),
      records({key_memory.get(), tls::KeyStore::bytes_for(kConnections)}, isthmus::test::pools()),
      executor(credentials, identities(), kNow, {.total = 32, .per_workload = 16}),
      hbone(small(options), {executor, records, isthmus::test::pools(), reasons}, start),
      pool(hbone, {.waiters = 512}, *this),
      now(start) {
  renew(ca, kNow + std::chrono::hours(1));
}

void Node::renew(const tls::TestCa& ca, tls::WallTime not_after) {
  auto store = tls::make_test_store(ca, {*own}, {}, kNow - std::chrono::hours(1), not_after);
  EXPECT_TRUE(store);
  credentials.publish(*store.value);
}

Node::~Node() {
  for (rte_mbuf* packet : out) rte_pktmbuf_free(packet);
}

void Node::transmit(rte_mbuf* packet, uint32_t) {
  out.push_back(packet);
}

Dialled Node::dial(const PoolKey& key, tcp::Handler& handler, timer::Duration connect_timeout,
                   timer::Instant at) {
  if (no_route) return {};
  tcp::Options options;
  options.handshake_timeout = connect_timeout;
  return {.connection = tcp.connect({key.source_address, next_port++}, key.destination, &handler,
                                    options, at)};
}

void Node::receive(rte_mbuf* packet, timer::Instant at) {
  packet::Parsed parsed;
  const auto bad = packet::parse(packet, parsed);
  EXPECT_FALSE(bad.has_value());
  if (bad || tcp.input(parsed, at)) return;
  tcp::Connection* connection = service == nullptr ? nullptr : tcp.accept(parsed, nullptr, {}, at);
  if (connection == nullptr) {
    tcp.send_reset(parsed, 0, at);
  } else if (stranger) {
    stranger(*connection);
  } else if (!hbone.accept(*connection, {own, 1, 7}, *service, at)) {
    connection->abort();
  }
  rte_pktmbuf_free(packet);
}

void Node::round(timer::Instant at, tls::WallTime wall) {
  now = at;
  tcp.advance(at);
  hbone.advance(at, wall);
  tcp.flush(at);
  hbone.flush(at);
  tcp.flush(at);
}

void TestService::on_connect(Tunnel& tunnel, const Connect& connect) {
  Accepted& each = accepted.emplace_back();
  each.tunnel = &tunnel;
  each.authority = connect.authority;
  each.baggage = connect.baggage;
  each.forwarded = connect.forwarded;
  each.peer = connect.peer;
  tunnel.user = &each;
  if (answer == 200) {
    EXPECT_TRUE(tunnel.accept());
    each.ear.attach(tunnel);
  } else if (answer != 0) {
    tunnel.refuse(answer, stats::Reason::mesh_rbac_denied);
    tunnel.release();
    each.tunnel = nullptr;
  }
}

void TestService::on_connect_cancelled(Tunnel& tunnel, relay::Cause) {
  auto& each = *static_cast<Accepted*>(tunnel.user);
  each.cancelled = true;
  each.tunnel = nullptr;
  tunnel.release();
}

void TestService::on_inbound_ended(uint64_t cookie, const Failure& why) {
  EXPECT_EQ(cookie, 7u);
  ++ended;
  failure = why;
}

void TestOpener::on_tunnel_open(uint64_t cookie, Tunnel& tunnel) {
  results[cookie].tunnel = &tunnel;
  results[cookie].ear.attach(tunnel);
}

void TestOpener::on_tunnel_failed(uint64_t cookie, const Failure& failure) {
  EXPECT_EQ(results[cookie].failure.kind, Failure::Kind::none) << "told once";
  results[cookie].failure = failure;
}

Pair::Pair(const EngineOptions& options, const tls::TestCa* client_ca)
    : expected(identity("httpbin")),
      client(identity("sleep"), client_ca != nullptr ? *client_ca : mesh_ca(), options, now),
      server(identity("httpbin"), mesh_ca(), options, now),
      before_(isthmus::test::mbufs_in_use()) {
  server.service = &service;
}

Pair::~Pair() {
  for (auto& each : service.accepted) {
    if (each.tunnel != nullptr) each.tunnel->release();
  }
  for (auto& each : opener.results) {
    if (each.tunnel != nullptr) each.tunnel->release();
  }
  // Long enough for what only a retransmission gets acknowledged.
  pass(std::chrono::seconds(1));
  EXPECT_EQ(client.hbone.tunnels(), 0u);
  EXPECT_EQ(server.hbone.tunnels(), 0u);
  EXPECT_EQ(client.hbone.usage().streams, 0u);
  EXPECT_EQ(server.hbone.usage().streams, 0u);
  EXPECT_EQ(client.pool.waiting(), 0u);
  // Idle connections hold no buffer.
  EXPECT_EQ(isthmus::test::mbufs_in_use(), before_) << "mbufs leaked";
}

void Pair::run(timer::Duration most) {
  const timer::Instant end = now + most;
  unsigned quiet = 0;
  while (now < end && quiet < 60) {
    now += std::chrono::milliseconds(1);
    client.round(now, wall);
    server.round(now, wall);
    quiet = client.out.empty() && server.out.empty() ? quiet + 1 : 0;
    for (auto [from, to] : {std::pair{&client, &server}, {&server, &client}}) {
      std::deque<rte_mbuf*> packets;
      packets.swap(from->out);
      for (rte_mbuf* packet : packets) {
        if (cut) {
          rte_pktmbuf_free(packet);
        } else {
          to->receive(carry(packet), now);
        }
      }
    }
  }
}

void Pair::pass(timer::Duration time) {
  const timer::Instant end = now + time;
  while (now < end) {
    now = std::min(end, now + std::chrono::milliseconds(200));
    run(std::chrono::milliseconds(5));
  }
}

PoolKey Pair::key(tls::IdentityPtr who) const {
  PoolKey key;
  key.source = client.own;
  EXPECT_TRUE(key.set_destinations({&who, 1}));
  key.destination = kServer;
  key.source_address = kClient;
  return key;
}

ConnectRequest Pair::request_to(std::string_view authority) {
  ConnectRequest request;
  EXPECT_TRUE(request.authority.assign(authority));
  return request;
}

size_t Pair::open(const ConnectRequest& request) {
  const size_t number = opener.results.size();
  opener.results.emplace_back();
  last_ticket = client.pool.open(key(expected), request, 1, opener, number, now);
  EXPECT_TRUE(last_ticket.valid());
  return number;
}

}  // namespace isthmus::hbone::test
