// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What two gateways promise to the applications at both ends, one promise at a time, on a clean
// link; each with one and with two workers, and in both topologies.
#include <gtest/gtest.h>

#include "hbone/engine.h"
#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Promise : public testing::TestWithParam<Shape> {
 protected:
  GatewayScenario scenario() const {
    GatewayScenario s;
    s.seed = 77;
    s.workers = GetParam().workers;
    s.kernel = GetParam().kernel;
    return s;
  }
  static FlowPlan flow(Place client, Place server, uint64_t up, uint64_t down) {
    FlowPlan plan;
    plan.client = client;
    plan.server = server;
    plan.user[0].bytes = up;
    plan.user[1].bytes = down;
    return plan;
  }
  // The records of one flow as its client's gateway has it: by its original destination.
  static std::vector<flow::Report> records_of(World& world, int side, size_t number) {
    std::vector<flow::Report> found;
    for (const flow::Report& record : world.gateway(side).records()) {
      if (record.client.source.port == 40'000 + number) found.push_back(record);
    }
    return found;
  }
  static uint64_t accepted_transports(World& world, int side) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < world.gateway(side).workers(); ++i) {
      sum += world.gateway(side).worker(i).hbone().stats().accepted;
    }
    return sum;
  }
};

INSTANTIATE_TEST_SUITE_P(Shapes, Promise, testing::ValuesIn(kShapes),
                         shape_name<testing::TestParamInfo<Shape>>);

TEST_P(Promise, BytesBothWaysThroughTheTunnelAreRecorded) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 300'000, 200'000)};
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 1u);
  const auto records = records_of(world, 0, 0);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kind, flow::Kind::outbound_hbone);
  EXPECT_EQ(records[0].http_status, 200);
  EXPECT_EQ(records[0].bytes_to_upstream, 300'000u);
  EXPECT_EQ(records[0].bytes_to_client, 200'000u);
  EXPECT_EQ(records[0].peer, "spiffe://cluster.local/ns/default/sa/b1");
}

TEST_P(Promise, HalfCloseEitherWay) {
  GatewayScenario s = scenario();
  // The client is through at once and the server goes on; the server waits for the client's end
  // before it ends; the server is through at once and the client goes on.
  s.flows = {flow(kA1, kB1, 0, 150'000), flow(kA1, kB1, 150'000, 10), flow(kA1, kB1, 150'000, 0)};
  s.flows[1].user[1].close_after_peer = true;
  s.flows[0].user[1].close_after_peer = true;
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 3u);
}

TEST_P(Promise, AbortOfAnEndReachesTheOther) {
  GatewayScenario s = scenario();
  // More than all buffers on the way hold, so that nobody is through when the abort comes.
  s.flows = {flow(kA1, kB1, 10, 4'000'000), flow(kA1, kB1, 4'000'000, 10),
             flow(kA1, kOutside, 10, 4'000'000), flow(kOutside, kB1, 4'000'000, 10)};
  s.flows[0].user[0].abort_at = s.flows[2].user[0].abort_at = 50'000;  // the client
  s.flows[1].user[1].abort_at = s.flows[3].user[1].abort_at = 50'000;  // the server
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.server(0).failure(), tcp::Failure::reset);
  EXPECT_EQ(world.client(1).failure(), tcp::Failure::reset);
  EXPECT_EQ(world.server(2).failure(), tcp::Failure::reset);
  EXPECT_EQ(world.client(3).failure(), tcp::Failure::reset);
}

TEST_P(Promise, RefusedPortIsRefusedToTheClient) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 10, 10), flow(kA1, kOutside, 10, 10)};
  for (FlowPlan& plan : s.flows) plan.fate = Fate::refused;
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_LT(world.waited(0), milliseconds(200));
  const auto records = records_of(world, 0, 0);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].http_status, 503);
  EXPECT_FALSE(records[0].at.happened(flow::kAccepted));
}

TEST_P(Promise, SilentUpstreamBecomesAResetInTime) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 10, 10)};
  s.flows[0].fate = Fate::silent;
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_GE(world.waited(0), seconds(9));
  EXPECT_LE(world.waited(0), seconds(12));
}

TEST_P(Promise, DeniedByPolicyIsRefusedAndRecorded) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB2, 10, 10), flow(kOutside, kB2, 10, 10)};
  for (FlowPlan& plan : s.flows) plan.fate = Fate::denied;
  World world(s);
  EXPECT_EQ(world.finish(), "");
  const auto outbound = records_of(world, 0, 0);
  ASSERT_EQ(outbound.size(), 1u);
  EXPECT_EQ(outbound[0].http_status, 401);
  unsigned refused = 0;
  for (const flow::Report& record : world.gateway(1).records()) {
    if (record.kind != flow::Kind::refused) continue;
    ++refused;
    EXPECT_EQ(record.reason, stats::Reason::mesh_rbac_not_allowed);
    if (record.capture == capture::Class::inbound_hbone_15008) {
      EXPECT_EQ(record.http_status, 401);
      EXPECT_EQ(record.peer, "spiffe://cluster.local/ns/default/sa/a1");
    }
  }
  EXPECT_EQ(refused, 2u);
}

TEST_P(Promise, PlaintextIsTranslatedBothWays) {
  GatewayScenario s = scenario();
  for (int i = 0; i < 4; ++i) {
    s.flows.push_back(flow(kA1, kOutside, 60'000, 60'000));
    s.flows.push_back(flow(kB1, kOutside, 60'000, 60'000));
    s.flows.push_back(flow(kOutside, kB1, 60'000, 60'000));
    s.flows.push_back(flow(kA1, kA2, 60'000, 60'000));
  }
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 16u);
  EXPECT_EQ(accepted_transports(world, 0) + accepted_transports(world, 1), 0u);
  if (GetParam().workers == 2) {
    for (int side = 0; side < 2; ++side) {
      for (unsigned i = 0; i < 2; ++i) {
        EXPECT_GT(world.gateway(side).worker(i).counters().handed_over, 0u) << side << i;
        EXPECT_GT(world.gateway(side).worker(i).counters().taken_over, 0u) << side << i;
      }
    }
  }
}

TEST_P(Promise, ManyFlowsShareOneTunnel) {
  GatewayScenario s = scenario();
  for (int i = 0; i < 60; ++i) s.flows.push_back(flow(kA1, kB1, 20'000, 20'000));
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 60u);
  // Each worker has a pool of its own.
  EXPECT_GE(accepted_transports(world, 1), 1u);
  EXPECT_LE(accepted_transports(world, 1), GetParam().workers);
}

// A peer that takes four streams on a connection, which is known only when its SETTINGS come.
TEST_P(Promise, RefusedStreamsAreAskedAgainOnOtherConnections) {
  GatewayScenario s = scenario();
  for (int i = 0; i < 20; ++i) s.flows.push_back(flow(kA1, kB1, 20'000, 20'000));
  unsigned made = 0;
  s.tune = [&](gateway::WorkerConfig& config) {
    if (made++ >= s.workers) config.hbone.max_streams = 4;
  };
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 20u);
  uint64_t retried = 0;
  for (unsigned i = 0; i < s.workers; ++i) {
    retried += world.gateway(0).worker(i).hbone().stats().tunnels_retried;
  }
  EXPECT_GE(retried, 20 - 4 * s.workers);
  EXPECT_GE(accepted_transports(world, 1), 2u);
}

class Killed : public Promise {
 protected:
  // Kills every transport of a gateway in the middle of two transfers.
  void kill_at(int side) {
    GatewayScenario s = scenario();
    s.flows = {flow(kA1, kB1, 800'000, 10), flow(kA1, kB1, 10, 800'000)};
    s.flows[0].user[1].close_after_peer = s.flows[1].user[0].close_after_peer = true;
    World world(s);
    ASSERT_TRUE(world.run_until(
        [&] { return world.server(0).taken() > 100'000 && world.client(1).taken() > 100'000; }));
    for (unsigned i = 0; i < s.workers; ++i) {
      world.gateway(side).worker(i).hbone().close_if([](const auto&) { return true; },
                                                     stats::Reason::gateway_stopped);
    }
    world.poll(side);
    EXPECT_EQ(world.finish(), "");
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(world.client(i).failure(), tcp::Failure::reset) << i;
      EXPECT_EQ(world.server(i).failure(), tcp::Failure::reset) << i;
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Shapes, Killed, testing::Values(Shape{1, false}, Shape{2, true}),
                         [](const auto& info) {
                           return std::string(info.param.kernel ? "OneArmed" : "PodUnderlay");
                         });

TEST_P(Killed, TunnelEndedByItsClient) {
  kill_at(0);
}
TEST_P(Killed, TunnelEndedByItsServer) {
  kill_at(1);
}

TEST_P(Killed, LinkThatDiesBecomesAResetOnBothSides) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 800'000, 800'000)};
  World world(s);
  ASSERT_TRUE(world.run_until([&] { return world.server(0).taken() > 100'000; }));
  const timer::Instant cut = world.scheduler().now();
  world.link().lose_if([](int, uint64_t, const auto&) { return true; });
  ASSERT_TRUE(world.run_until([&] { return world.client(0).over() && world.server(0).over(); }));
  EXPECT_LE(world.scheduler().now() - cut, seconds(45));
  EXPECT_EQ(world.client(0).failure(), tcp::Failure::reset);
  EXPECT_EQ(world.server(0).failure(), tcp::Failure::reset);
  world.link().lose_if({});
  EXPECT_EQ(world.finish(), "");
}

TEST_P(Promise, DrainLetsOpenFlowsFinishAndTakesNoNewOnes) {
  for (int side = 0; side < 2; ++side) {
    GatewayScenario s = scenario();
    s.flows = {flow(kA1, kB1, 600'000, 600'000), flow(kA1, kOutside, 600'000, 10)};
    World world(s);
    ASSERT_TRUE(world.run_until(
        [&] { return world.server(0).taken() > 50'000 && world.server(1).taken() > 50'000; }));
    test::GatewayNode& gateway = world.gateway(side);
    for (unsigned i = 0; i < s.workers; ++i) gateway.worker(i).drain();
    world.poll(side);
    FlowPlan late = flow(kA1, kB1, 10, 10);
    late.fate = Fate::refused;
    world.add(late);
    EXPECT_EQ(world.finish(), "");
    EXPECT_EQ(world.completed(), 2u) << "side " << side;
    for (unsigned i = 0; i < s.workers; ++i) EXPECT_TRUE(gateway.worker(i).drained());
  }
}

TEST_P(Promise, CloseAllResetsWhatIsLeft) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 900'000, 900'000), flow(kA1, kOutside, 9'000'000, 10),
             flow(kB1, kA1, 900'000, 900'000), flow(kA2, kB1, 10, 10)};
  s.flows[3].fate = Fate::silent;  // still waits for its answer
  World world(s);
  ASSERT_TRUE(world.run_until([&] {
    return world.server(0).taken() > 50'000 && world.server(1).taken() > 50'000 &&
           world.server(2).taken() > 50'000;
  }));
  for (unsigned i = 0; i < s.workers; ++i) world.gateway(0).worker(i).close_all();
  world.poll(0);
  EXPECT_EQ(world.finish(), "");
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(world.client(i).failure(), tcp::Failure::reset) << i;
    EXPECT_EQ(world.server(i).failure(), tcp::Failure::reset) << i;
  }
}

// A client that gives up says nothing in SYN-SENT; its RST answers the SYN-ACK.
TEST_P(Promise, ClientThatHasGoneWhenItIsAcceptedEndsTheServersConnection) {
  GatewayScenario s = scenario();
  s.link.delay = milliseconds(50);
  s.flows = {flow(kA1, kB1, 10, 10)};
  World world(s);
  ASSERT_TRUE(world.run_for(milliseconds(120)));
  ASSERT_NE(world.client(0).connection(), nullptr);
  world.client(0).connection()->abort();
  ASSERT_TRUE(world.run_for(seconds(60)));
  EXPECT_EQ(world.server(0).failure(), tcp::Failure::reset);
  EXPECT_EQ(world.gateway(0).leftovers() + world.gateway(1).leftovers(), "");
}

class OneArmed : public Promise {};
INSTANTIATE_TEST_SUITE_P(Shapes, OneArmed, testing::Values(Shape{1, true}, Shape{2, true}),
                         [](const auto& info) { return std::to_string(info.param.workers); });

// Istio 1.18: only what opens a flow comes through Geneve.
TEST_P(OneArmed, OnlySynsComeByGeneve) {
  GatewayScenario s = scenario();
  s.flows = {flow(kA1, kB1, 100'000, 100'000), flow(kB1, kA1, 100'000, 100'000),
             flow(kB1, kOutside, 100'000, 100'000), flow(kOutside, kB1, 100'000, 100'000)};
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 4u);
  EXPECT_GE(world.kernel().opened(), 4u);
  EXPECT_EQ(world.kernel().midflow(), 0u);
  EXPECT_EQ(world.kernel().arp_answers(), 2u);
}

TEST_P(OneArmed, FlowsSurviveTheLossOfConntrack) {
  for (const bool for_good : {false, true}) {
    GatewayScenario s = scenario();
    s.flows = {flow(kA1, kB1, 400'000, 400'000), flow(kB1, kA1, 400'000, 400'000),
               flow(kB1, kOutside, 400'000, 400'000), flow(kOutside, kB1, 400'000, 400'000)};
    s.forget_at = milliseconds(60);
    s.forget_for_good = for_good;
    World world(s);
    EXPECT_EQ(world.finish(), "");
    EXPECT_EQ(world.completed(), 4u);
    EXPECT_GT(world.kernel().midflow(), for_good ? 100u : 0u);
  }
}

}  // namespace
}  // namespace isthmus::sim
