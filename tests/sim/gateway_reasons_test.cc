// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A CONNECT that is refused is counted under one reason, once, on each side.
#include <gtest/gtest.h>

#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

using stats::Reason;

// Of the gateway room, and of what it composes: what was refused and why. TCP counts segments.
uint64_t refusals(World& world, int side) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < stats::kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    const std::string_view room = stats::info(reason).room;
    if (room != "tcp" || reason == Reason::tcp_table_full) sum += world.gateway(side).count(reason);
  }
  return sum;
}

void expect_refused_once(Reason reason, const std::function<void(gateway::WorkerConfig&)>& tune,
                         Fate fate = Fate::denied) {
  GatewayScenario scenario;
  scenario.seed = 5;
  scenario.tune = tune;
  FlowPlan plan;
  plan.user[0].bytes = plan.user[1].bytes = 10;
  plan.fate = fate;
  scenario.flows = {plan};
  World world(scenario);
  EXPECT_EQ(world.finish(), "");
  EXPECT_EQ(world.gateway(1).count(reason), 1u);
  EXPECT_EQ(refusals(world, 1), 1u);
  EXPECT_EQ(world.gateway(0).count(Reason::hbone_refused_by_peer), 1u);
  EXPECT_EQ(refusals(world, 0), 1u);
}

TEST(CountedOnce, ConnectThatFindsNoRecord) {
  // The tunnel's own record takes the only place.
  expect_refused_once(Reason::gateway_flows_full,
                      [](gateway::WorkerConfig& config) { config.flows = 1; });
}

TEST(CountedOnce, ConnectThatFindsNoStream) {
  expect_refused_once(Reason::gateway_flows_full,
                      [](gateway::WorkerConfig& config) { config.inbound_streams = 0; });
}

TEST(CountedOnce, ConnectThatFindsNoConnection) {
  unsigned gateways = 0;
  // The client's gateway needs two: its client's, held, and the tunnel's.
  expect_refused_once(Reason::tcp_table_full, [&](gateway::WorkerConfig& config) {
    config.tcp.max_connections = gateways++ == 0 ? 2 : 1;
  });
}

TEST(CountedOnce, ConnectWhosePodRefuses) {
  expect_refused_once(Reason::gateway_upstream_refused, {}, Fate::refused);
}

}  // namespace
}  // namespace isthmus::sim
