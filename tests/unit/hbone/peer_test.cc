// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Peers that behave like others do, or badly: the event table of docs/hbone.md.
#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "raw_peer.h"

namespace isthmus::hbone::test {
namespace {

using stats::Reason;

constexpr uint8_t kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kGoaway = 7;
const Bytes kNoError(4, 0);
// ":status: 200", ":status" with a literal value, "CONNECT" to 10.0.0.2:80.
const Bytes kOk = {0x88};
Bytes text(std::string_view value) {
  return {value.begin(), value.end()};
}
Bytes connect_block() {
  return Bytes{0x02, 7} + text("CONNECT") + Bytes{0x01, 11} + text("10.0.0.2:80");
}
Bytes client_start() {
  return text(h2::kPreface) + frame(kSettings, 0, 0) + frame(kSettings, 1, 0);
}

// Frames of a type among bytes, from an offset on.
size_t count_frames(const Bytes& bytes, uint8_t type, size_t at) {
  size_t count = 0;
  while (at + 9 <= bytes.size()) {
    const auto header = h2::FrameHeader::parse(std::span<const uint8_t, 9>(bytes.data() + at, 9));
    count += header.type == type ? 1 : 0;
    at += 9 + header.length;
  }
  return count;
}

// Our server, a peer that writes frames.
class AgainstServer : public testing::Test {
 protected:
  void SetUp() override {
    peer.connect(pair.now);
    pair.run();
    ASSERT_TRUE(peer.secure());
  }
  size_t frames(uint8_t type) const { return count_frames(peer.heard, type, 0); }
  Pair pair;
  RawPeer peer{pair.client, tls::Role::client};
};

TEST_F(AgainstServer, EverythingInOneFlightIsServed) {
  peer.send(client_start() + frame(kHeaders, 4, 1, connect_block()) +
            frame(kData, 0, 1, text("early")));
  pair.run();
  ASSERT_EQ(pair.service.accepted.size(), 1u);
  EXPECT_EQ(pair.service.accepted[0].ear.heard, "early");
}

TEST_F(AgainstServer, ManyFramesInOneRecordWaitForTheirAnswersAndAreAllServed) {
  Bytes flight = client_start();
  for (int i = 0; i < 100; ++i) flight = std::move(flight) + frame(kPing, 0, 0, Bytes(8));
  peer.send(flight + frame(kHeaders, 4, 1, connect_block()));
  pair.run();
  EXPECT_EQ(frames(kPing), 100u);
  EXPECT_EQ(pair.service.accepted.size(), 1u);
}

TEST_F(AgainstServer, AClientsResetBecomesAnAbortWhateverItsCode) {
  peer.send(client_start());
  for (uint8_t code : {0, 2, 8, 10}) {
    const uint32_t id = 2 * static_cast<uint32_t>(pair.service.accepted.size()) + 1;
    peer.send(frame(kHeaders, 4, id, connect_block()) + frame(kReset, 0, id, {0, 0, 0, code}));
    pair.run();
    EXPECT_TRUE(pair.service.accepted.back().ear.aborted) << unsigned{code};
  }
}

TEST_F(AgainstServer, ALostConnectionAbortsItsTunnels) {
  peer.send(client_start() + frame(kHeaders, 4, 1, connect_block()));
  pair.run();
  peer.send(frame(kData, 0, 7, {1}));
  pair.run();
  EXPECT_TRUE(pair.service.accepted[0].ear.aborted);
  EXPECT_EQ(pair.service.accepted[0].ear.cause, relay::Cause::lost);
  EXPECT_EQ(frames(7), 1u) << "GOAWAY says why";
  EXPECT_TRUE(peer.finished);
}

TEST(Peers, HttpOneOn15008IsClosedAndCounted) {
  Pair pair;
  RawPeer peer(pair.client, tls::Role::client);
  peer.plain = true;
  peer.connect(pair.now);
  pair.run();
  peer.send_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  pair.run();
  EXPECT_TRUE(peer.finished || peer.failed);
  EXPECT_EQ(pair.server.count(Reason::tls_not_tls), 1u);
  EXPECT_EQ(pair.service.ended, 1u);
}

TEST(Peers, ASilentConnectionIsResetAfterTheTimeLimit) {
  Pair pair;
  RawPeer peer(pair.client, tls::Role::client);
  peer.plain = true;
  peer.connect(pair.now);
  pair.pass(std::chrono::seconds(11));
  EXPECT_TRUE(peer.failed);
  EXPECT_EQ(pair.server.count(Reason::hbone_handshake_timeout), 1u);
  EXPECT_EQ(pair.server.hbone.transports(), 0u);
}

TEST(Peers, HandshakesBeyondTheRateOfTheirWorkloadAreRefused) {
  EngineOptions options;
  options.handshakes_per_second = 1;
  Pair pair(options);
  RawPeer silent(pair.client, tls::Role::client);
  silent.plain = true;
  silent.connect(pair.now);  // takes none
  RawPeer first(pair.client, tls::Role::client);
  RawPeer second(pair.client, tls::Role::client);
  first.connect(pair.now);
  second.connect(pair.now);
  pair.run();
  EXPECT_TRUE(first.secure());
  EXPECT_FALSE(second.secure());
  EXPECT_TRUE(second.finished || second.failed);
  EXPECT_EQ(pair.server.count(Reason::hbone_workload_handshakes), 1u);
  EXPECT_EQ(pair.service.ended, 1u);
  pair.pass(std::chrono::seconds(1));
  RawPeer third(pair.client, tls::Role::client);
  third.connect(pair.now);
  pair.run();
  EXPECT_TRUE(third.secure());
}

TEST(Peers, WhomTheOwnerObjectsToIsToldSoOnceItHasProvedWhoItIs) {
  Pair pair;
  pair.service.objection = Reason::gateway_client_transports;
  const size_t asked = pair.open();
  pair.run();
  EXPECT_NE(pair.opener.results[asked].failure.kind, Failure::Kind::none);
  EXPECT_EQ(pair.opener.results[asked].tunnel, nullptr);
  EXPECT_TRUE(pair.service.accepted.empty());
  EXPECT_GE(pair.service.ended, 1u);
  EXPECT_EQ(pair.service.failure.reason, Reason::gateway_client_transports);
  EXPECT_EQ(pair.server.count(Reason::gateway_client_transports), pair.service.ended);
  pair.pass(std::chrono::seconds(10));
  EXPECT_EQ(pair.server.hbone.transports(), 0u);
  EXPECT_EQ(pair.client.hbone.transports(), 0u);
  EXPECT_EQ(pair.client.hung_up_times, pair.client.hbone.stats().dialled);
}

// Connections to 15008 that say nothing, or begin a handshake and leave it at that.
class Strangers : public testing::Test {
 protected:
  void come(unsigned count, bool speak) {
    for (unsigned i = 0; i < count; ++i) {
      strangers.push_back(std::make_unique<RawPeer>(pair.client, tls::Role::client));
      strangers.back()->plain = !speak;
      strangers.back()->stalls = true;
      strangers.back()->connect(pair.now);
    }
    pair.run();
  }
  bool served() {
    RawPeer peer(pair.client, tls::Role::client);
    peer.connect(pair.now);
    pair.run();
    return peer.secure();
  }
  Pair pair;
  std::vector<std::unique_ptr<RawPeer>> strangers;
};

TEST_F(Strangers, ThatSayNothingMakeWayWhenPlacesAreShort) {
  come(64, false);
  EXPECT_EQ(pair.server.hbone.transports(), 64u);
  EXPECT_FALSE(served()) << "they may yet speak";
  pair.pass(std::chrono::seconds(2));
  EXPECT_TRUE(served());
  EXPECT_GE(pair.server.count(Reason::hbone_made_way), 4u);
  EXPECT_LE(pair.server.count(Reason::hbone_made_way), 8u) << "others keep their places";
  EXPECT_EQ(pair.service.ended, pair.server.count(Reason::hbone_made_way));
}

TEST_F(Strangers, ThatStopInTheirHandshakeMakeWayForOthers) {
  come(16, true);
  EXPECT_FALSE(served()) << "they may yet go on";
  EXPECT_EQ(pair.server.count(Reason::tls_workload_handshakes_full), 1u);
  pair.pass(std::chrono::seconds(2));
  EXPECT_EQ(pair.server.hbone.transports(), 16u);
  EXPECT_TRUE(served());
  EXPECT_EQ(pair.server.count(Reason::hbone_made_way), 1u);
}

// Patience with a peer is not used up by what our own service threads take.
TEST_F(Strangers, WhoWaitedForUsHasTheWholeTimeToGoOn) {
  RawPeer patient(pair.client, tls::Role::client);
  patient.stalls = true;
  patient.connect(pair.now);
  while (pair.server.executor.in_progress() == 0) pair.run(std::chrono::milliseconds(1));
  pair.now += Engine::kPatience * 6 / 5;  // as long as its first step lies there
  come(63, false);
  EXPECT_EQ(pair.server.hbone.transports(), 64u);
  EXPECT_EQ(pair.server.count(Reason::hbone_made_way), 0u);
  pair.pass(Engine::kPatience * 2);
  EXPECT_GE(pair.server.count(Reason::hbone_made_way), 1u);
}

// Whoever connects to a pod does not keep it from connecting to others.
TEST(Peers, HandshakesOfOneRoleTakeNothingFromTheOther) {
  EngineOptions options;
  options.handshakes_per_second = 1;
  Pair pair(options);
  RawPeer first(pair.client, tls::Role::client);
  first.connect(pair.now);
  pair.run();
  ASSERT_TRUE(first.secure());
  RawPeer peer(pair.client, tls::Role::server);
  pair.client.service = &pair.service;
  pair.client.stranger = [&peer](tcp::Connection& connection) {
    connection.set_handler(&peer);
    peer.take(connection);
  };
  PoolKey key;
  const tls::IdentityPtr sleep = pair.client.own;
  key.source = pair.server.own;
  ASSERT_TRUE(key.set_destinations({&sleep, 1}));
  key.destination = {kClient, kServer.port};
  key.source_address = kServer.address;
  pair.opener.results.emplace_back();
  pair.server.pool.open(key, Pair::request_to("10.0.0.1:80"), 1, pair.opener, 0, pair.now);
  pair.run();
  ASSERT_TRUE(peer.secure());
  peer.send(frame(kSettings, 0, 0) + frame(kSettings, 1, 0) + frame(kHeaders, 4, 1, kOk));
  pair.run();
  EXPECT_NE(pair.opener.results[0].tunnel, nullptr);
}

// Our client, a server that writes frames: the server node's TCP hands its connections to it.
class AgainstClient : public testing::Test {
 protected:
  void SetUp() override {
    pair.server.stranger = [this](tcp::Connection& connection) {
      connection.set_handler(&peer);
      peer.take(connection);
    };
    pair.open();
    pair.run();
    ASSERT_TRUE(peer.secure());
    peer.send(frame(kSettings, 0, 0) + frame(kSettings, 1, 0));
  }
  TestOpener::Opened& near() { return pair.opener.results[0]; }
  Pair pair;
  RawPeer peer{pair.server, tls::Role::server};
};

TEST_F(AgainstClient, EnvoysResetBehindItsEndIsAnOrderlyEnd) {
  peer.send(frame(kHeaders, 4, 1, kOk) + frame(kData, 1, 1, text("bye")) +
            frame(kReset, 0, 1, kNoError));
  pair.run();
  ASSERT_NE(near().tunnel, nullptr);
  EXPECT_EQ(near().ear.heard, "bye");
  EXPECT_TRUE(near().ear.ended);
  EXPECT_TRUE(near().ear.closed);
  EXPECT_FALSE(near().ear.aborted);
  EXPECT_GT(near().tunnel->send_room(), 0u);
  say(*near().tunnel, "nobody listens");
  near().tunnel->shutdown();
  pair.run();
}

TEST_F(AgainstClient, AResetWithoutAnEndIsAnAbortEvenWithNoError) {
  peer.send(frame(kHeaders, 4, 1, kOk));
  pair.run();
  peer.send(frame(kReset, 0, 1, kNoError));
  pair.run();
  EXPECT_TRUE(near().ear.aborted);
}

TEST_F(AgainstClient, AnErrorBehindItsEndIsAnAbort) {
  peer.send(frame(kHeaders, 4, 1, kOk) + frame(kData, 1, 1) + frame(kReset, 0, 1, {0, 0, 0, 10}));
  pair.run();
  EXPECT_TRUE(near().ear.aborted);
}

TEST_F(AgainstClient, Only200OpensATunnel) {
  peer.send(frame(kHeaders, 4, 1, Bytes{0x89}));  // :status 204
  pair.run();
  EXPECT_EQ(near().failure.kind, Failure::Kind::http);
  EXPECT_EQ(near().failure.code, 204u);
}

TEST_F(AgainstClient, EnvoysRefusalWithABodyAndAResetIsARefusal) {
  const Bytes block = Bytes{0x08, 3} + text("503");
  peer.send(frame(kHeaders, 4, 1, block) + frame(kData, 1, 1, Bytes(98, 'x')) +
            frame(kReset, 0, 1, {0, 0, 0, 10}));
  pair.run();
  EXPECT_EQ(near().failure.kind, Failure::Kind::http);
  EXPECT_EQ(near().failure.code, 503u);
  EXPECT_TRUE(near().failure.retry);
}

// RFC 9113 section 8.7: the peer did nothing with the request.
class Refused : public AgainstClient {
 protected:
  void SetUp() override {
    AgainstClient::SetUp();
    pair.server.stranger = [this](tcp::Connection& connection) {
      ++dials;
      connection.set_handler(&second);
      second.take(connection);
    };
  }
  void second_answers(const Bytes& frames) {
    ASSERT_TRUE(second.secure());
    EXPECT_EQ(requests(), 0u) << "its limit is known from its SETTINGS only";
    second.send(frame(kSettings, 0, 0) + frame(kSettings, 1, 0));
    pair.run();
    second.send(frames);
    pair.run();
  }
  size_t requests() const { return count_frames(second.heard, kHeaders, h2::kPreface.size()); }
  RawPeer second{pair.server, tls::Role::server};
  unsigned dials = 0;
};

TEST_F(Refused, ARefusedStreamIsAskedAgainOnANewConnection) {
  peer.send(frame(kReset, 0, 1, {0, 0, 0, 7}));
  pair.run();
  EXPECT_EQ(dials, 1u) << "the connection that refused takes it no second time";
  second_answers(frame(kHeaders, 4, 1, kOk));
  ASSERT_NE(near().tunnel, nullptr);
  EXPECT_EQ(near().failure.kind, Failure::Kind::none);
  say(*near().tunnel, "at last");
  pair.run();
  EXPECT_NE(std::string(second.heard.begin(), second.heard.end()).find("at last"),
            std::string::npos);
  EXPECT_EQ(pair.client.hbone.stats().tunnels_retried, 1u);
  EXPECT_EQ(pair.client.hbone.stats().tunnels_refused, 0u);
}

TEST_F(Refused, AStreamAboveGoawaysLastIsAskedAgainOnANewConnection) {
  pair.open();
  pair.run();
  // Stream 1 is served, stream 3 is not.
  peer.send(frame(kGoaway, 0, 0, {0, 0, 0, 1, 0, 0, 0, 0}) + frame(kHeaders, 4, 1, kOk));
  pair.run();
  EXPECT_EQ(dials, 1u);
  second_answers(frame(kHeaders, 4, 1, kOk));
  ASSERT_NE(near().tunnel, nullptr);
  EXPECT_FALSE(near().ear.aborted);
  EXPECT_NE(pair.opener.results[1].tunnel, nullptr);
}

TEST_F(Refused, APeerThatRefusesTwiceIsBelieved) {
  peer.send(frame(kReset, 0, 1, {0, 0, 0, 7}));
  pair.run();
  second_answers(frame(kReset, 0, 1, {0, 0, 0, 7}));
  EXPECT_EQ(dials, 1u);
  EXPECT_EQ(near().failure.kind, Failure::Kind::reset);
  EXPECT_EQ(near().failure.code, 7u);
  EXPECT_TRUE(near().failure.retry) << "at another endpoint";
  EXPECT_EQ(pair.client.count(Reason::hbone_reset_by_peer), 1u);
  EXPECT_EQ(pair.client.pool.waiting(), 0u);
}

TEST_F(Refused, AnotherCodeIsNotAskedAgain) {
  peer.send(frame(kReset, 0, 1, {0, 0, 0, 10}));
  pair.run();
  EXPECT_EQ(dials, 0u);
  EXPECT_EQ(near().failure.kind, Failure::Kind::reset);
}

TEST_F(Refused, ARequestThatWasGivenUpMeanwhileIsNotAskedAgain) {
  pair.client.pool.cancel(pair.last_ticket);
  peer.send(frame(kReset, 0, 1, {0, 0, 0, 7}));
  pair.run();
  EXPECT_EQ(dials, 0u);
  EXPECT_EQ(pair.client.pool.waiting(), 0u);
}

}  // namespace
}  // namespace isthmus::hbone::test
