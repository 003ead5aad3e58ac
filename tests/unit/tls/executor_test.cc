// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/executor.h"

#include <atomic>
#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "fixtures.h"
#include "support/pools.h"
#include "tls/service.h"

namespace isthmus::tls::test {
namespace {

// A worker as the executor sees it: connections by token, joined in pairs in memory.
class Connections : public HandshakeHandler {
 public:
  struct End {
    HandshakeId id;
    packet::Chain received;
    uint64_t peer = 0;
    HandshakeState state = HandshakeState::in_progress;
    FailureInfo failure;
    SessionSecrets secrets;
    IdentityPtr identity = nullptr;
  };

  explicit Connections(HandshakeExecutor& executor) : executor_(executor) {}

  void on_handshake(const HandshakeResult& result) override {
    End& end = ends[result.token];
    EXPECT_EQ(result.id, end.id);
    end.state = result.state;
    end.failure = result.failure;
    if (result.established != nullptr) {
      end.secrets = result.established->secrets;
      end.identity = result.established->peer;
    }
    const auto peer = ends.find(end.peer);
    if (peer != ends.end() && !result.to_send.empty()) {
      EXPECT_TRUE(peer->second.received.append_copy(result.to_send, isthmus::test::pools().small));
      feed(peer->second);
    }
    feed(end);
    ++results;
  }
  void feed(End& end) { executor_.feed(end.id, end.received); }
  StartStatus start(uint64_t token, uint64_t peer, Role role, const Identity& local,
                    std::vector<IdentityPtr> expected = {}, uint64_t workload = 0) {
    HandshakeRequest request;
    request.role = role;
    request.local = identities().intern(local);
    request.expected = expected;
    request.workload = workload;
    request.token = token;
    ends[token].peer = peer;
    return executor_.start(request, ends[token].id);
  }
  void start_pair(uint64_t token) {
    EXPECT_EQ(start(token, token + 1, Role::server, httpbin_id()), StartStatus::ok);
    EXPECT_EQ(
        start(token + 1, token, Role::client, sleep_id(), {identities().intern(httpbin_id())}),
        StartStatus::ok);
  }

  std::map<uint64_t, End> ends;
  unsigned results = 0;

 private:
  HandshakeExecutor& executor_;
};

class ExecutorTest : public testing::Test {
 protected:
  ExecutorTest() { source_.publish(store()); }

  CredentialSource source_;
};

void expect_pair(Connections& connections, uint64_t token) {
  const auto& server = connections.ends[token];
  const auto& client = connections.ends[token + 1];
  EXPECT_EQ(server.state, HandshakeState::established);
  EXPECT_EQ(client.state, HandshakeState::established);
  EXPECT_EQ(server.secrets.client.bytes, client.secrets.client.bytes);
  EXPECT_EQ(server.identity, identities().intern(sleep_id()));
  EXPECT_EQ(client.identity, identities().intern(httpbin_id()));
}

TEST_F(ExecutorTest, InlineExecutorDeliversOnlyInPoll) {
  InlineExecutor executor(source_, identities(), kNow);
  Connections connections(executor);
  connections.start_pair(10);
  EXPECT_EQ(connections.results, 0u);
  EXPECT_EQ(executor.in_progress(), 2u);
  while (executor.poll(connections, 1) != 0) {
  }
  expect_pair(connections, 10);
  EXPECT_EQ(executor.in_progress(), 0u);
}

TEST_F(ExecutorTest, LimitsHoldInAllAndPerWorkload) {
  InlineExecutor executor(source_, identities(), kNow, {4, 2});
  Connections connections(executor);
  EXPECT_EQ(connections.start(1, 0, Role::server, httpbin_id(), {}, 7), StartStatus::ok);
  EXPECT_EQ(connections.start(2, 0, Role::server, httpbin_id(), {}, 7), StartStatus::ok);
  EXPECT_EQ(connections.start(3, 0, Role::server, httpbin_id(), {}, 7), StartStatus::workload_full);
  EXPECT_EQ(connections.start(4, 0, Role::server, httpbin_id(), {}, 8), StartStatus::ok);
  EXPECT_EQ(connections.start(5, 0, Role::server, httpbin_id(), {}, 9), StartStatus::ok);
  EXPECT_EQ(connections.start(6, 0, Role::server, httpbin_id(), {}, 10), StartStatus::full);
  executor.abandon(connections.ends[1].id);
  EXPECT_EQ(connections.start(3, 0, Role::server, httpbin_id(), {}, 7), StartStatus::ok);
  EXPECT_EQ(reason_of(StartStatus::full), stats::Reason::tls_handshakes_full);
  EXPECT_EQ(reason_of(StartStatus::workload_full), stats::Reason::tls_workload_handshakes_full);
}

TEST_F(ExecutorTest, AbandonedHandshakeGivesNoResultAndFreesItsSlot) {
  InlineExecutor executor(source_, identities(), kNow);
  Connections connections(executor);
  connections.start_pair(10);
  executor.abandon(connections.ends[11].id);  // busy: its first flight is being made
  EXPECT_EQ(executor.in_progress(), 2u);
  while (executor.poll(connections, 8) != 0) {
  }
  EXPECT_EQ(connections.results, 0u);
  EXPECT_EQ(executor.in_progress(), 1u);
  // A stale id does nothing to whoever has the slot now.
  const HandshakeId stale = connections.ends[11].id;
  EXPECT_EQ(connections.start(20, 0, Role::server, httpbin_id()), StartStatus::ok);
  EXPECT_EQ(connections.ends[20].id.slot, stale.slot);
  executor.abandon(stale);
  EXPECT_EQ(executor.in_progress(), 2u);
}

TEST_F(ExecutorTest, AbandonedBetweenStepsIsDisposedByTheService) {
  InlineExecutor executor(source_, identities(), kNow);
  Connections connections(executor);
  EXPECT_EQ(connections.start(1, 0, Role::client, sleep_id()), StartStatus::ok);
  executor.poll(connections, 8);
  EXPECT_EQ(connections.results, 1u);
  executor.abandon(connections.ends[1].id);
  EXPECT_EQ(executor.in_progress(), 1u);
  executor.poll(connections, 8);
  EXPECT_EQ(executor.in_progress(), 0u);
  EXPECT_EQ(connections.results, 1u);
}

TEST_F(ExecutorTest, IdentityWithoutCredentialFails) {
  InlineExecutor executor(source_, identities(), kNow);
  Connections connections(executor);
  const Identity unknown = *Identity::make("cluster.local", "default", "nobody");
  EXPECT_EQ(connections.start(1, 0, Role::client, unknown), StartStatus::ok);
  executor.poll(connections, 8);
  EXPECT_EQ(connections.ends[1].state, HandshakeState::failed);
  EXPECT_EQ(connections.ends[1].failure.failure, Failure::no_credential);
}

TEST_F(ExecutorTest, ReplacedCredentialsServeTheNextHandshake) {
  InlineExecutor executor(source_, identities(), kNow);
  Connections connections(executor);
  source_.publish(
      *make_test_store(other_ca(), {sleep_id(), httpbin_id()}, {}, kNow - kHour, kNow + kHour)
           .value);
  connections.start_pair(10);
  while (executor.poll(connections, 8) != 0) {
  }
  expect_pair(connections, 10);
}

class CountingWaker : public Waker {
 public:
  void wake() override { ++count; }
  std::atomic<unsigned> count = 0;
};

TEST_F(ExecutorTest, ServiceThreadsServeSeveralChannelsAndWakeTheirWorker) {
  constexpr unsigned kPairs = 40;
  const HandshakeLimits limits{2 * kPairs, 2 * kPairs};
  HandshakeChannel a(limits.total);
  HandshakeChannel b(limits.total);
  CountingWaker to_worker;
  CountingWaker to_service;
  for (HandshakeChannel* channel : {&a, &b}) {
    channel->wake_worker = &to_worker;
    channel->wake_service = &to_service;
  }
  HandshakeChannel* channels[] = {&a, &b};
  RingExecutor executor(channels, limits);
  HandshakeService first(source_, identities());
  HandshakeService second(source_, identities());
  first.serve(a);
  second.serve(b);
  std::atomic<bool> stop = false;
  const auto serve = [&stop](HandshakeService& service) {
    while (!stop) {
      if (service.run_once(kNow, 8) == 0) std::this_thread::yield();
    }
  };
  std::thread one(serve, std::ref(first));
  std::thread two(serve, std::ref(second));

  Connections connections(executor);
  for (unsigned i = 0; i < kPairs; ++i) connections.start_pair(10 + 2 * i);
  while (executor.in_progress() != 0) {
    if (executor.poll(connections, 16) == 0) std::this_thread::yield();
  }
  stop = true;
  one.join();
  two.join();
  for (unsigned i = 0; i < kPairs; ++i) expect_pair(connections, 10 + 2 * i);
  EXPECT_EQ(to_worker.count, connections.results);
  EXPECT_EQ(to_service.count, connections.results);
  EXPECT_TRUE(executor.results_empty());
  EXPECT_TRUE(first.requests_empty());
}

}  // namespace
}  // namespace isthmus::tls::test
