// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Quotas of workloads, between two gateways: whoever exceeds one is answered at once and rightly,
// and the workload beside it is served as ever.
#include <gtest/gtest.h>

#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

using stats::Reason;
using std::chrono::milliseconds;
using std::chrono::seconds;

class WorkloadQuota : public testing::TestWithParam<bool> {
 protected:
  // tune: of the gateway on that side.
  GatewayScenario scenario(int side, std::function<void(gateway::WorkerConfig&)> tune) const {
    GatewayScenario s;
    s.seed = 31;
    s.kernel = GetParam();
    s.tune = [side, tune = std::move(tune), made = 0](gateway::WorkerConfig& config) mutable {
      if (made++ == side) tune(config);
    };
    return s;
  }
  static FlowPlan flow(Place client, Place server, Fate fate, timer::Duration start = {}) {
    FlowPlan plan;
    plan.client = client;
    plan.server = server;
    plan.fate = fate;
    plan.start = start;
    plan.user[0].bytes = plan.user[1].bytes = 100'000;
    return plan;
  }
  // There until others have tried. Policy lets kA2 alone go to kB2.
  static FlowPlan stays(Place client, Place server, timer::Duration start = {}) {
    FlowPlan plan = flow(client, server, Fate::served, start);
    for (auto& user : plan.user) {  // so that neither gateway has passed everything on
      user.bytes = 1'000'000;
      user.stall_at = 10'000;
      user.stall_for = seconds(3);
    }
    return plan;
  }
  // Two tunnels of a workload may wait at the gateway of this side, and do; the third is denied.
  // Another workload's, to a server of its choice, is served, and later one of the first's again.
  GatewayScenario third_of_two_tunnels(int side, Place other) const {
    GatewayScenario s =
        scenario(side, [](gateway::WorkerConfig& config) { config.quotas.pending_tunnels = 2; });
    s.flows = {flow(kA1, kB1, Fate::silent), flow(kA1, kB1, Fate::silent),
               flow(kA1, kB1, Fate::denied, seconds(1)), flow(kA2, other, Fate::served, seconds(1)),
               flow(kA1, kB1, Fate::served, seconds(20))};
    return s;
  }
  // Nobody else was asked.
  static constexpr timer::Duration kAtOnce = milliseconds(50);

  // The reports of the flows that the gateway refused for the reason.
  static std::vector<flow::Report> refused(World& world, int side, Reason reason) {
    std::vector<flow::Report> found;
    for (const flow::Report& report : world.gateway(side).records()) {
      if (report.kind == flow::Kind::refused && report.reason == reason) found.push_back(report);
    }
    EXPECT_EQ(world.gateway(side).count(reason), found.size());
    return found;
  }
  // One flow of them is refused by this side's gateway, and told so soon; all others end well.
  static flow::Report only_refused(World& world, size_t flow, timer::Duration soon, int side,
                                   Reason reason) {
    EXPECT_EQ(world.finish(), "");
    EXPECT_EQ(world.completed(), world.flows() - 1);
    EXPECT_LT(world.waited(flow), soon);
    const auto reports = refused(world, side, reason);
    EXPECT_EQ(reports.size(), 1u);
    return reports.empty() ? flow::Report() : reports.front();
  }
};

INSTANTIATE_TEST_SUITE_P(Shapes, WorkloadQuota, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "OneArmed" : "PodUnderlay");
});

TEST_P(WorkloadQuota, StreamsBeyondTheFlowsOfAWorkloadGet503AndOthersGoOn) {
  // Its tunnel and two streams.
  GatewayScenario s = scenario(1, [](gateway::WorkerConfig& config) { config.quotas.flows = 3; });
  s.flows = {flow(kA1, kB1, Fate::served), flow(kA1, kB1, Fate::served),
             flow(kA1, kB1, Fate::denied, milliseconds(500)),
             flow(kA2, kB2, Fate::served, milliseconds(500)),
             flow(kA1, kB1, Fate::served, seconds(20))};
  for (const size_t i : {0, 1}) {  // there until others have tried
    s.flows[i].user[0].bytes = 500'000;
    s.flows[i].user[1].stall_at = 10'000;
    s.flows[i].user[1].stall_for = seconds(3);
  }
  World world(s);
  const flow::Report report =
      only_refused(world, 2, milliseconds(200), 1, Reason::gateway_workload_flows);
  EXPECT_EQ(report.http_status, 503);
  EXPECT_EQ(report.peer, "spiffe://cluster.local/ns/default/sa/a1");
  EXPECT_TRUE(report.has_authority());
  const auto told = refused(world, 0, Reason::hbone_refused_by_peer);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].http_status, 503);
}

TEST_P(WorkloadQuota, TunnelsThatAPodHasNotAcceptedAreBoundedAndOthersGoOn) {
  World world(third_of_two_tunnels(1, kB2));
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 2u);
  EXPECT_LT(world.waited(2), milliseconds(200));
  const auto reports = refused(world, 1, Reason::gateway_workload_pending);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].http_status, 503);
}

TEST_P(WorkloadQuota, TunnelsThatWaitForTheirAnswerAreBoundedAndOthersGoOn) {
  World world(third_of_two_tunnels(0, kB1));
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 2u);
  EXPECT_LT(world.waited(2), milliseconds(50)) << "nobody else was asked";
  ASSERT_EQ(refused(world, 0, Reason::gateway_workload_pending).size(), 1u);
}

TEST_P(WorkloadQuota, RelayedFlowsOfAPodLeaveRoomForOthers) {
  GatewayScenario s = scenario(0, [](gateway::WorkerConfig& config) { config.quotas.relayed = 4; });
  s.flows = {stays(kA2, kB1),
             stays(kA2, kB1),
             stays(kA2, kB2),
             flow(kA2, kB2, Fate::denied, milliseconds(500)),
             flow(kA2, kOutside, Fate::served, milliseconds(500)),  // translated
             flow(kA1, kB1, Fate::served, milliseconds(500)),
             flow(kA2, kB1, Fate::served, seconds(20))};
  World world(s);
  only_refused(world, 3, kAtOnce, 0, Reason::gateway_workload_relayed);
}

TEST_P(WorkloadQuota, StreamsOfAClientToManyPodsLeaveRoomForOthers) {
  GatewayScenario s = scenario(1, [](gateway::WorkerConfig& config) { config.quotas.relayed = 6; });
  s.flows = {stays(kA2, kB1),
             stays(kA2, kB1),
             stays(kA2, kB2),
             flow(kA2, kB2, Fate::denied, milliseconds(500)),
             flow(kA1, kB1, Fate::served, milliseconds(500)),
             flow(kA2, kB1, Fate::served, seconds(20))};
  World world(s);
  const flow::Report report =
      only_refused(world, 3, milliseconds(200), 1, Reason::gateway_client_relayed);
  EXPECT_EQ(report.http_status, 503);
}

TEST_P(WorkloadQuota, TransportsOfAClientToManyPodsLeaveRoomForOthers) {
  GatewayScenario s = scenario(1, [](gateway::WorkerConfig& config) {
    config.quotas.transports = 6;
    config.hbone.max_streams = 1;  // each stream wants one
  });
  s.flows = {stays(kA2, kB1),
             stays(kA2, kB1, milliseconds(300)),
             stays(kA2, kB2, milliseconds(600)),
             flow(kA2, kB2, Fate::denied, milliseconds(900)),
             flow(kA1, kB1, Fate::served, milliseconds(900)),
             flow(kA2, kB2, Fate::served, seconds(60))};
  World world(s);
  only_refused(world, 3, milliseconds(200), 1, Reason::gateway_client_transports);
}

TEST_P(WorkloadQuota, TransportsOfManyClientsToAPodLeaveRoomForItsOwn) {
  GatewayScenario s = scenario(1, [](gateway::WorkerConfig& config) {
    config.quotas.transports = 4;
    config.hbone.max_streams = 1;
  });
  s.flows = {stays(kA1, kB1),
             stays(kA1, kB1, milliseconds(300)),
             stays(kA2, kB1, milliseconds(600)),
             flow(kA2, kB1, Fate::denied, milliseconds(900)),
             flow(kB1, kA1, Fate::served, milliseconds(900)),
             flow(kA2, kB1, Fate::served, seconds(60))};
  World world(s);
  only_refused(world, 3, milliseconds(200), 1, Reason::gateway_workload_transports);
}

TEST_P(WorkloadQuota, TransportsThatAPodDialsLeaveRoomForOthers) {
  GatewayScenario s = scenario(0, nullptr);
  s.tune = [made = 0](gateway::WorkerConfig& config) mutable {
    if (made++ == 0) {
      config.quotas.transports = 4;
    } else {
      config.hbone.max_streams = 1;
    }
  };
  s.flows = {stays(kA2, kB1),
             stays(kA2, kB1, milliseconds(300)),
             stays(kA2, kB2, milliseconds(600)),
             flow(kA2, kB2, Fate::denied, milliseconds(900)),
             flow(kA1, kB1, Fate::served, milliseconds(900)),
             flow(kA2, kB2, Fate::served, seconds(60))};
  World world(s);
  only_refused(world, 3, kAtOnce, 0, Reason::gateway_workload_transports);
}

TEST_P(WorkloadQuota, HandshakesBeyondTheRateOfAWorkloadAreRefusedAndOthersGoOn) {
  GatewayScenario s =
      scenario(1, [](gateway::WorkerConfig& config) { config.hbone.handshakes_per_second = 1; });
  // Each client pod has a connection of its own.
  s.flows = {flow(kA1, kB1, Fate::served), flow(kA2, kB1, Fate::denied, milliseconds(200)),
             flow(kA2, kB2, Fate::served, milliseconds(200)),
             flow(kA2, kB1, Fate::served, seconds(5))};
  World world(s);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), 3u);
  EXPECT_LT(world.waited(1), milliseconds(200));
  EXPECT_EQ(world.gateway(1).count(Reason::hbone_workload_handshakes), 1u);
  unsigned told = 0;
  for (const flow::Report& report : world.gateway(1).records()) {
    if (report.reason == Reason::hbone_workload_handshakes) ++told;
  }
  EXPECT_EQ(told, 1u);
}

TEST_P(WorkloadQuota, BytesInFlightHoldSendersBackAndOthersGoOn) {
  constexpr uint64_t kLimit = 64u << 10;
  constexpr unsigned kFlows = 6;
  constexpr uint64_t kBytes = 500'000;
  GatewayScenario s =
      scenario(1, [](gateway::WorkerConfig& config) { config.quotas.bytes_in_flight = kLimit; });
  for (unsigned i = 0; i <= kFlows; ++i) {
    // All but the last have a reader that stands still for a while.
    const bool last = i == kFlows;
    s.flows.push_back(
        flow(last ? kA2 : kA1, last ? kB2 : kB1, Fate::served, last ? seconds(1) : seconds(0)));
    s.flows[i].user[0].bytes = kBytes;
    if (last) continue;
    s.flows[i].user[1].stall_at = 10'000;
    s.flows[i].user[1].stall_for = seconds(10);
  }
  World world(s);
  const auto account_of = [&](const char* address) {
    gateway::Quotas::Account found;
    world.gateway(1).worker().quotas().for_each([&](const auto& account) {
      if (account.address == test::ip(address)) found = account;
    });
    return found;
  };
  uint64_t most = 0;
  ASSERT_TRUE(world.run_until([&] {
    most = std::max(most, account_of("10.2.0.1").share.used());
    return world.client(kFlows).over();
  }));
  EXPECT_LT(world.scheduler().now(), timer::Instant(std::chrono::hours(1)) + seconds(5))
      << "the other workload waited";
  const auto account = account_of("10.2.0.1");
  EXPECT_GT(account.share.waiting(), 0u);
  EXPECT_GE(most, kLimit) << "it was not tried";
  EXPECT_LE(most, kLimit + uint64_t{2} * kFlows * relay::Share::kFloor);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.completed(), kFlows + 1);
}

}  // namespace
}  // namespace isthmus::sim
