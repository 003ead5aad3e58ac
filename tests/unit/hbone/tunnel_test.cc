// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Tunnels from end to end: TCP, TLS and HTTP/2 of both sides are ours.
#include <gtest/gtest.h>

#include "nodes.h"
#include "relay/pump.h"
#include "tls/pem.h"

namespace isthmus::hbone::test {
namespace {

using Kind = Failure::Kind;
using stats::Reason;

TEST(Hbone, ConnectOpensATunnelWithIdentitiesAndHeaders) {
  Pair pair;
  ConnectRequest request = Pair::request_to("10.0.0.2:8080");
  ASSERT_TRUE(request.baggage.assign("k8s.cluster.name=Kubernetes"));
  ASSERT_TRUE(request.forwarded.assign("for=10.0.0.1"));
  pair.open(request);
  pair.run();
  ASSERT_NE(pair.opener.results[0].tunnel, nullptr);
  ASSERT_EQ(pair.service.accepted.size(), 1u);
  const auto& far = pair.service.accepted[0];
  EXPECT_EQ(far.authority, "10.0.0.2:8080");
  EXPECT_EQ(far.baggage, "k8s.cluster.name=Kubernetes");
  EXPECT_EQ(far.forwarded, "for=10.0.0.1");
  EXPECT_EQ(far.peer, identity("sleep"));
  EXPECT_EQ(pair.opener.results[0].tunnel->peer(), identity("httpbin"));
  EXPECT_EQ(pair.opener.results[0].tunnel->outer().destination, kServer);
}

TEST(Hbone, BytesBothWaysThenEndsEachWay) {
  Pair pair;
  pair.open();
  pair.run();
  auto& near = pair.opener.results[0];
  auto& far = pair.service.accepted[0];
  say(*near.tunnel, "request");
  pair.run();
  EXPECT_EQ(far.ear.heard, "request");
  near.tunnel->shutdown();
  pair.run();
  EXPECT_TRUE(far.ear.ended);
  EXPECT_FALSE(far.ear.closed);
  say(*far.tunnel, "response after the request's end");
  far.tunnel->shutdown();
  pair.run();
  EXPECT_EQ(near.ear.heard, "response after the request's end");
  EXPECT_TRUE(near.ear.closed);
  EXPECT_TRUE(far.ear.closed);
  EXPECT_FALSE(near.ear.aborted || far.ear.aborted);
}

TEST(Hbone, MegabytesArriveWholeAndASlowReaderHoldsTheSender) {
  Pair pair;
  pair.open();
  pair.run();
  auto& near = pair.opener.results[0];
  auto& far = pair.service.accepted[0];
  far.ear.reading = false;
  std::string sent;
  const auto push = [&] {
    while (near.tunnel->send_room() >= 50'000 && sent.size() < 4'000'000) {
      const std::string piece(50'000, static_cast<char>('a' + sent.size() / 50'000 % 26));
      say(*near.tunnel, piece);
      sent += piece;
      pair.run(std::chrono::milliseconds(20));
    }
  };
  push();
  EXPECT_LT(sent.size(), 1'500'000u) << "window and queue bound what is taken";
  far.ear.reading = true;
  for (int i = 0; i < 100 && sent.size() < 4'000'000; ++i) {
    far.ear.on_readable(*far.tunnel);
    pair.run(std::chrono::milliseconds(20));
    push();
  }
  pair.run();
  EXPECT_EQ(sent.size(), 4'000'000u);
  EXPECT_TRUE(far.ear.heard == sent);
}

// Keeps its tunnel's queue full.
struct Filler final : relay::Observer {
  void on_readable(relay::Leg&) override {}
  void on_writable(relay::Leg& leg) override {
    while (leg.send_room() >= 10'000) say(leg, std::string(10'000, 'b'));
  }
  void on_ended(relay::Leg&) override {}
  void on_closed(relay::Leg&) override {}
  void on_aborted(relay::Leg&, relay::Cause) override {}
};

TEST(Hbone, AByteWaitsForLittleOfOthersBulk) {
  constexpr size_t kTurn = tcp::Config().short_queue;
  Pair pair;
  for (int i = 0; i < 4; ++i) pair.open();
  pair.run();
  Filler filler;
  for (int i = 1; i < 4; ++i) {
    Tunnel& tunnel = *pair.opener.results[i].tunnel;
    tunnel.observe(&filler);
    filler.on_writable(tunnel);
  }
  const auto bulk = [&] {
    size_t sum = 0;
    for (int i = 1; i < 4; ++i) sum += pair.service.accepted[i].ear.heard.size();
    return sum;
  };
  pair.run(std::chrono::milliseconds(40));  // windows are open
  const auto& far = pair.service.accepted[0].ear;
  for (int trip = 1; trip <= 20; ++trip) {
    pair.run(std::chrono::milliseconds(3));
    // What has been sent already is on its way; nothing is lost and it arrives in a turn.
    const size_t before = bulk();
    say(*pair.opener.results[0].tunnel, "x");
    while (far.heard.size() < static_cast<size_t>(trip)) {
      pair.run(std::chrono::milliseconds(1));
      ASSERT_LE(bulk() - before, 2 * kTurn) << "trip " << trip;
    }
  }
  EXPECT_GT(bulk(), 20 * kTurn) << "the others were served meanwhile";
  for (auto& each : pair.opener.results) each.tunnel->observe(nullptr);
}

TEST(Hbone, AbortsBecomeConnectErrorEitherWay) {
  Pair pair;
  pair.open();
  pair.open();
  pair.run();
  pair.opener.results[0].tunnel->abort(relay::Cause::reset);
  pair.service.accepted[1].tunnel->abort(relay::Cause::reset);
  pair.run();
  EXPECT_TRUE(pair.service.accepted[0].ear.aborted);
  EXPECT_EQ(pair.service.accepted[0].ear.cause, relay::Cause::reset);
  EXPECT_TRUE(pair.opener.results[1].ear.aborted);
}

TEST(Hbone, RefusalsCarryTheirStatus) {
  Pair pair;
  for (const uint16_t status : {401, 503, 404, 400}) {
    pair.service.answer = status;
    const size_t n = pair.open();
    pair.run();
    EXPECT_EQ(pair.opener.results[n].failure.kind, Kind::http);
    EXPECT_EQ(pair.opener.results[n].failure.code, status);
    EXPECT_EQ(pair.opener.results[n].failure.retry, status >= 500);
  }
  EXPECT_EQ(pair.server.hbone.transports(), 1u) << "the connection outlives refusals";
}

TEST(Hbone, TheAnswerComesOnlyWhenTheOwnerGivesIt) {
  Pair pair;
  pair.service.answer = 0;
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[0].tunnel, nullptr);
  auto& far = pair.service.accepted[0];
  ASSERT_TRUE(far.tunnel->accept());
  far.ear.attach(*far.tunnel);
  pair.run();
  EXPECT_NE(pair.opener.results[0].tunnel, nullptr);
}

TEST(Hbone, ACancelledRequestIsToldToTheServersOwner) {
  Pair pair;
  pair.service.answer = 0;
  pair.open();
  pair.run();
  pair.client.pool.cancel(pair.last_ticket);
  pair.run();
  EXPECT_TRUE(pair.service.accepted[0].cancelled);
  EXPECT_EQ(pair.opener.results[0].failure.kind, Kind::none) << "not told";
}

TEST(Hbone, ManyTunnelsShareAConnectionAndTheNextOneOpensAnother) {
  Pair pair;
  for (int i = 0; i < 150; ++i) pair.open();
  pair.run();
  for (const auto& each : pair.opener.results) EXPECT_NE(each.tunnel, nullptr);
  EXPECT_EQ(pair.client.hbone.transports(), 2u);
  for (int i = 0; i < 150; ++i) say(*pair.opener.results[i].tunnel, "tunnel " + std::to_string(i));
  pair.run();
  std::vector<std::string> heard;
  for (const auto& each : pair.service.accepted) heard.push_back(each.ear.heard);
  std::sort(heard.begin(), heard.end());
  EXPECT_EQ(std::unique(heard.begin(), heard.end()) - heard.begin(), 150);
}

TEST(Hbone, ClientRefusesAServerThatIsNotWhomItExpects) {
  Pair pair;
  pair.expected = identity("somebody-else");
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[0].failure.kind, Kind::identity);
  EXPECT_EQ(pair.opener.results[0].failure.reason, Reason::tls_wrong_identity);
  EXPECT_TRUE(pair.service.accepted.empty()) << "nobody reaches the owner";
  EXPECT_EQ(pair.service.ended, 1u);
}

TEST(Hbone, ServerRefusesAClientOfAnotherCa) {
  using std::chrono::hours;
  const auto other = tls::TestCa::make("cluster.local", kNow - hours(24), kNow + hours(24));
  Pair pair({}, &*other);
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[0].failure.kind, Kind::tls);
  EXPECT_TRUE(pair.service.accepted.empty());
  EXPECT_EQ(pair.service.ended, 1u);
}

TEST(Hbone, RefusedTcpAndASilentPeerAndNoRouteFailTheRequest) {
  Pair pair;
  pair.server.service = nullptr;
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[0].failure.kind, Kind::tcp_refused);
  EXPECT_TRUE(pair.opener.results[0].failure.retry);
  pair.cut = true;
  pair.open();
  pair.pass(std::chrono::seconds(11));
  EXPECT_EQ(pair.opener.results[1].failure.kind, Kind::tcp_timed_out);
  pair.cut = false;
  pair.client.no_route = true;
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[2].failure.kind, Kind::no_route);
  EXPECT_EQ(pair.client.hbone.transports(), 0u);
}

TEST(Hbone, DrainLetsTunnelsFinishAndSendsNewOnesElsewhere) {
  Pair pair;
  pair.open();
  pair.run();
  pair.server.hbone.drain(pair.now);
  pair.run();
  auto& near = pair.opener.results[0];
  auto& far = pair.service.accepted[0];
  EXPECT_FALSE(near.ear.aborted);
  say(*near.tunnel, "last words");
  near.tunnel->shutdown();
  far.tunnel->shutdown();
  pair.pass(std::chrono::seconds(2));
  EXPECT_EQ(far.ear.heard, "last words");
  EXPECT_TRUE(near.ear.closed && far.ear.closed);
  near.tunnel->release();
  far.tunnel->release();
  near.tunnel = far.tunnel = nullptr;
  pair.pass(std::chrono::seconds(2));
  EXPECT_EQ(pair.server.hbone.transports(), 0u);
  EXPECT_EQ(pair.client.hbone.transports(), 0u);
  EXPECT_EQ(pair.service.ended, 1u);
  EXPECT_EQ(pair.service.failure.kind, Kind::none) << "in order";
}

TEST(Hbone, AnIdleClientConnectionIsClosedAfterFiveMinutes) {
  Pair pair;
  pair.open();
  pair.run();
  pair.opener.results[0].tunnel->shutdown();
  pair.service.accepted[0].tunnel->shutdown();
  pair.run();
  std::exchange(pair.opener.results[0].tunnel, nullptr)->release();
  std::exchange(pair.service.accepted[0].tunnel, nullptr)->release();
  pair.pass(std::chrono::seconds(290));
  EXPECT_EQ(pair.client.hbone.transports(), 1u);
  pair.pass(std::chrono::seconds(15));
  EXPECT_EQ(pair.client.hbone.transports(), 0u);
  EXPECT_EQ(pair.server.hbone.transports(), 0u);
}

TEST(Hbone, ADeadPeerIsFoundByPingAndItsTunnelsAreLost) {
  Pair pair;
  pair.open();
  pair.run();
  pair.cut = true;
  pair.pass(std::chrono::seconds(31));
  EXPECT_TRUE(pair.opener.results[0].ear.aborted);
  EXPECT_TRUE(pair.service.accepted[0].ear.aborted);
  EXPECT_EQ(pair.opener.results[0].ear.cause, relay::Cause::lost);
  pair.cut = false;
  pair.pass(std::chrono::seconds(10));
}

TEST(Hbone, NoNewTunnelOnAConnectionWhoseLeafHasExpired) {
  Pair pair;
  pair.open();
  pair.run();
  pair.client.renew(mesh_ca(), kNow + std::chrono::hours(3));
  pair.server.renew(mesh_ca(), kNow + std::chrono::hours(2));
  pair.wall = kNow + std::chrono::hours(1);
  pair.run();
  pair.open();
  pair.run();
  EXPECT_NE(pair.opener.results[1].tunnel, nullptr);
  EXPECT_EQ(pair.client.hbone.stats().dialled, 2u);
  // A new connection with old certificates is not tried again and again.
  pair.wall = kNow + std::chrono::hours(2);
  pair.run();
  pair.open();
  pair.run();
  EXPECT_EQ(pair.opener.results[2].failure.reason, Reason::hbone_expired);
  EXPECT_EQ(pair.client.hbone.stats().dialled, 3u);
  EXPECT_FALSE(pair.opener.results[0].ear.aborted) << "what is open lives on";
}

TEST(Hbone, CloseIfEndsConnectionsWithTheirTunnels) {
  Pair pair;
  pair.open();
  pair.run();
  const unsigned ended = pair.server.hbone.close_if(
      [](const TransportInfo& info) { return info.peer == identity("sleep"); },
      Reason::mesh_rbac_denied);
  EXPECT_EQ(ended, 1u);
  pair.run();
  EXPECT_TRUE(pair.service.accepted[0].ear.aborted);
  EXPECT_TRUE(pair.opener.results[0].ear.aborted);
  std::exchange(pair.service.accepted[0].tunnel, nullptr)->release();
  pair.run();
  EXPECT_EQ(pair.service.failure.reason, Reason::mesh_rbac_denied);
  EXPECT_EQ(pair.server.count(Reason::mesh_rbac_denied), 1u);
}

// The trust after a reload whose list takes this certificate back.
std::shared_ptr<const tls::Trust> trust_without(const Node& node) {
  const auto pem = tls::write_certificate(node.credentials.current()->find(*node.own)->leaf());
  tls::CredentialFiles files;
  files.roots = {"roots", mesh_ca().root_pem()};
  files.revoked = {"lists", mesh_ca().revoke({pem}, kNow)};
  auto store = tls::CredentialStore::load(files, {});
  EXPECT_TRUE(store);
  return (*store.value)->trust();
}

unsigned review(Engine& engine) {
  uint32_t next = 0;
  unsigned places = 0;
  while (const uint32_t looked = engine.review_peers(next, 64)) {
    EXPECT_LE(looked, 64u);
    places += looked;
  }
  return places;
}

TEST(Hbone, ReviewEndsConnectionsOfARevokedPeerInEitherRole) {
  for (const bool as_server : {false, true}) {
    Pair pair;
    pair.open();
    pair.run();
    Node& ours = as_server ? pair.server : pair.client;
    Node& peer = as_server ? pair.client : pair.server;
    const auto unrelated = trust_without(ours);  // its own certificate is for others to judge
    ours.hbone.set_trust(unrelated.get());
    EXPECT_GT(review(ours.hbone), 0u);
    pair.run();
    EXPECT_FALSE(pair.opener.results[0].ear.aborted);
    const auto trust = trust_without(peer);
    ours.hbone.set_trust(trust.get());
    review(ours.hbone);
    pair.run();
    EXPECT_TRUE(pair.opener.results[0].ear.aborted);
    EXPECT_TRUE(pair.service.accepted[0].ear.aborted);
    EXPECT_EQ(ours.count(Reason::tls_revoked), 1u);
    const Tunnel& tunnel =
        as_server ? *pair.service.accepted[0].tunnel : *pair.opener.results[0].tunnel;
    EXPECT_EQ(tunnel.transport_ended_for(), stats::Refusal(Reason::tls_revoked));
  }
}

TEST(Hbone, RequestThatWaitsOnARevokedPeersConnectionMayAskAnother) {
  Pair pair;
  pair.open();
  pair.run();
  pair.service.answer = 0;
  const size_t waits = pair.open();
  pair.run();
  const auto trust = trust_without(pair.server);
  pair.client.hbone.set_trust(trust.get());
  review(pair.client.hbone);
  pair.run();
  EXPECT_EQ(pair.opener.results[waits].tunnel, nullptr);
  EXPECT_EQ(pair.opener.results[waits].failure.reason, Reason::tls_revoked);
  EXPECT_TRUE(pair.opener.results[waits].failure.retry) << "no byte has passed";
}

TEST(Hbone, HandshakeThatBeganBeforeAReloadIsJudgedByItsTrust) {
  for (const bool as_server : {false, true}) {
    Pair pair;
    // The handshakes go on by the credentials that they began with.
    const auto trust = trust_without(as_server ? pair.client : pair.server);
    Node& ours = as_server ? pair.server : pair.client;
    Node& peer = as_server ? pair.client : pair.server;
    ours.hbone.set_trust(trust.get());
    pair.open();
    pair.run();
    EXPECT_EQ(pair.opener.results[0].tunnel, nullptr);
    EXPECT_TRUE(pair.service.accepted.empty());
    EXPECT_GE(ours.count(Reason::tls_revoked), 1u);
    EXPECT_EQ(peer.count(Reason::tls_peer_alert), ours.count(Reason::tls_revoked))
        << "who is refused is told so, as in a handshake that has not ended yet";
  }
}

TEST(Hbone, TcpLegAndTunnelRelayEndToEnd) {
  Pair pair;
  pair.open();
  pair.run();
  auto& near = pair.opener.results[0];
  auto& far = pair.service.accepted[0];
  // An application's connection to the client node, relayed into the tunnel.
  struct App final : tcp::Handler {
    void on_tcp(tcp::Connection& connection, uint16_t events) override {
      const packet::Chain bytes = connection.receive();
      std::string text(bytes.size(), 0);
      bytes.copy_out(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
      heard += text;
      closed = closed || (events & tcp::kClosed) != 0;
      failed = failed || (events & tcp::kFailed) != 0;
    }
    std::string heard;
    bool closed = false;
    bool failed = false;
  } app;
  struct Owner final : relay::PumpOwner {
    void on_pump_done(relay::Pump&, const relay::Outcome& result) override { outcome = result; }
    std::optional<relay::Outcome> outcome;
  } owner;
  TcpLeg leg;
  const packet::Endpoint pod{packet::IpAddress::v4(0x0a000009u), 80};
  pair.client.service = nullptr;
  tcp::Connection* from_app =
      pair.server.tcp.connect({packet::IpAddress::v4(0x0a000005u), 5000}, pod, &app, {}, pair.now);
  ASSERT_NE(from_app, nullptr);
  pair.server.round(pair.now, pair.wall);
  ASSERT_EQ(pair.server.out.size(), 1u);
  rte_mbuf* syn = carry(std::exchange(pair.server.out, {}).front());
  packet::Parsed parsed;
  ASSERT_FALSE(packet::parse(syn, parsed).has_value());
  tcp::Connection* accepted = pair.client.tcp.accept(parsed, nullptr, {}, pair.now);
  rte_pktmbuf_free(syn);
  ASSERT_NE(accepted, nullptr);
  leg.attach(*accepted);
  relay::Pump pump;
  pump.start(leg, *near.tunnel, owner);

  packet::Chain hello;
  ASSERT_TRUE(hello.append_copy({reinterpret_cast<const uint8_t*>("hello"), 5},
                                isthmus::test::pools().small));
  from_app->send(std::move(hello));
  from_app->shutdown();
  pair.run();
  EXPECT_EQ(far.ear.heard, "hello");
  EXPECT_TRUE(far.ear.ended) << "FIN becomes END_STREAM";
  say(*far.tunnel, "goodbye");
  far.tunnel->shutdown();
  pair.run();
  EXPECT_EQ(app.heard, "goodbye");
  EXPECT_TRUE(app.closed) << "END_STREAM becomes FIN";
  ASSERT_TRUE(owner.outcome.has_value());
  EXPECT_EQ(owner.outcome->cause, relay::Cause::none);
  EXPECT_EQ(owner.outcome->first_to_second, 5u);
  EXPECT_EQ(owner.outcome->second_to_first, 7u);
  leg.release();
}

}  // namespace
}  // namespace isthmus::hbone::test
