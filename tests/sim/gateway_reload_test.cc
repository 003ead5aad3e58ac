// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A reload ends the flows that it denies, resets both of their sides, and touches no other.
#include <gtest/gtest.h>
#include <set>
#include <string>

#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

using stats::Reason;

constexpr int kClientSide = 0;
constexpr int kServerSide = 1;

// Only a2 may talk to what runs in the namespace of a1, a2 and b1.
constexpr std::string_view kOnlyA2 =
    "- {name: a2-in-default, namespace: default, scope: Namespace, action: Allow, rules: "
    "[[[{principals: [!Exact cluster.local/ns/default/sa/a2]}]]]}\n";

std::string replaced(std::string_view from, std::string_view to) {
  std::string mesh(World::mesh());
  const size_t at = mesh.find(from);
  EXPECT_NE(at, std::string::npos);
  return mesh.replace(at, from.size(), to);
}

class Reload : public testing::TestWithParam<Shape> {
 protected:
  // Long flows, all of them under way. What stays on the node is fast and comes last.
  void open(const std::vector<std::pair<Place, Place>>& flows) {
    GatewayScenario scenario;
    scenario.seed = 31;
    scenario.workers = GetParam().workers;
    scenario.kernel = GetParam().kernel;
    world_ = std::make_unique<World>(scenario);
    for (const bool within : {false, true}) {
      for (const auto& [client, server] : flows) {
        if ((server == kA2) != within) continue;
        FlowPlan plan;
        plan.client = client;
        plan.server = server;
        plan.user[0].bytes = plan.user[1].bytes = 2'000'000;
        world_->add(plan);
      }
      ASSERT_TRUE(world_->run_until([&] { return under_way(); }));
    }
  }
  bool under_way() {
    for (size_t i = 0; i < world_->flows(); ++i) {
      if (world_->server(i).taken() < 20'000 || world_->client(i).taken() < 20'000) return false;
    }
    return true;
  }
  // The flows of these numbers were reset on both sides, and all others end in order.
  void expect_reset(const std::set<size_t>& reset) {
    EXPECT_EQ(world_->finish(), "");
    for (size_t i = 0; i < world_->flows(); ++i) {
      const auto expected = reset.contains(i) ? tcp::Failure::reset : tcp::Failure::none;
      EXPECT_EQ(world_->client(i).failure(), expected) << i;
      EXPECT_EQ(world_->server(i).failure(), expected) << i;
    }
    EXPECT_EQ(world_->completed(), world_->flows() - reset.size());
  }
  uint64_t count(int side, Reason reason) { return world_->gateway(side).count(reason); }

  std::unique_ptr<World> world_;
};

INSTANTIATE_TEST_SUITE_P(Shapes, Reload, testing::ValuesIn(kShapes),
                         shape_name<testing::TestParamInfo<Shape>>);

TEST_P(Reload, OfTheSameMeshEndsNothing) {
  open({{kA1, kB1}, {kOutside, kB1}, {kA1, kOutside}, {kA1, kA2}});
  world_->republish(kClientSide, World::mesh());
  world_->republish(kServerSide, World::mesh());
  expect_reset({});
}

TEST_P(Reload, PolicyThatDeniesATunnelledFlowResetsBothSides) {
  open({{kA1, kB1}, {kA2, kB1}, {kA2, kB2}});
  world_->republish(kServerSide, std::string(World::mesh()) + std::string(kOnlyA2));
  expect_reset({0});
  EXPECT_EQ(count(kServerSide, Reason::mesh_rbac_not_allowed), 1u);
}

TEST_P(Reload, PolicyThatDeniesAPlaintextFlowResetsBothSides) {
  open({{kOutside, kB1}, {kA2, kB1}});
  world_->republish(kServerSide, std::string(World::mesh()) + std::string(kOnlyA2));
  expect_reset({0});
  unsigned ended = 0;
  for (const flow::Report& record : world_->gateway(kServerSide).records()) {
    if (record.kind != flow::Kind::inbound_plain) continue;
    ++ended;
    EXPECT_EQ(record.reason, Reason::mesh_rbac_not_allowed);
  }
  EXPECT_EQ(ended, 1u);
}

TEST_P(Reload, PolicyThatDeniesAFlowWithinTheNodeResetsBothSides) {
  open({{kA1, kB1}, {kA1, kA2}});
  world_->republish(kClientSide, std::string(World::mesh()) + std::string(kOnlyA2));
  expect_reset({1});
  EXPECT_EQ(count(kClientSide, Reason::mesh_rbac_not_allowed), 1u);
}

TEST_P(Reload, AnotherIdentityOfThePeerEndsItsConnections) {
  open({{kA1, kB1}, {kA1, kA2}});
  world_->republish(kClientSide, replaced("name: b1, namespace: default, serviceAccount: b1",
                                          "name: b1, namespace: default, serviceAccount: a2"));
  EXPECT_GE(count(kClientSide, Reason::gateway_identity_changed), 1u);
  expect_reset({0});
}

TEST_P(Reload, AnotherIdentityOfAPodEndsItsFlows) {
  open({{kA1, kB1}, {kA1, kOutside}, {kA2, kB1}, {kA1, kA2}});
  world_->republish(kClientSide, replaced("name: a1, namespace: default, serviceAccount: a1",
                                          "name: a1, namespace: default, serviceAccount: a2"));
  expect_reset({0, 1, 3});
}

TEST_P(Reload, PodThatIsGoneEndsItsFlows) {
  open({{kA1, kB1}, {kOutside, kB1}, {kA2, kB2}});
  world_->republish(kServerSide, replaced("- {name: b1, namespace: default, serviceAccount: b1, "
                                          "workloadIps: [10.2.0.1], protocol: HBONE, node: b}\n",
                                          ""));
  expect_reset({0, 1});
}

constexpr const char* kIdentityOfA1 = "spiffe://cluster.local/ns/default/sa/a1";
constexpr const char* kIdentityOfA2 = "spiffe://cluster.local/ns/default/sa/a2";
constexpr const char* kIdentityOfB1 = "spiffe://cluster.local/ns/default/sa/b1";
constexpr const char* kIdentityOfB2 = "spiffe://cluster.local/ns/guarded/sa/b2";

// HBONE flows by a peer under the CA (a1, b1), others under its intermediate (a2, b2), and one that
// has no certificates.
class Revoked : public Reload {
 protected:
  void open_all() { open({{kA1, kB1}, {kA2, kB1}, {kA2, kB2}, {kOutside, kB1}}); }
  // Flows of this kind whose record says so.
  unsigned ended(int side, flow::Kind kind, Reason reason) {
    unsigned found = 0;
    for (const flow::Report& record : world_->gateway(side).records()) {
      if (record.kind == kind && record.reason == reason) ++found;
    }
    return found;
  }
};

INSTANTIATE_TEST_SUITE_P(Shapes, Revoked, testing::ValuesIn(kShapes),
                         shape_name<testing::TestParamInfo<Shape>>);

TEST_P(Revoked, NothingThatIsShownEndsNothing) {
  open_all();
  for (const int side : {kClientSide, kServerSide}) {
    world_->republish(
        side, {.revoked = {}, .intermediate_revoked = false, .other_revoked = true, .domains = {}});
  }
  expect_reset({});
}

TEST_P(Revoked, LeafOfAClientEndsItsConnectionsAndNoOther) {
  open_all();
  world_->republish(kServerSide, {.revoked = {kIdentityOfA1}, .domains = {}});
  expect_reset({0});
  EXPECT_EQ(ended(kServerSide, flow::Kind::tunnel, Reason::tls_revoked), 1u);
  EXPECT_EQ(ended(kServerSide, flow::Kind::inbound_stream, Reason::tls_revoked), 1u);
}

TEST_P(Revoked, CalledOffBeforeThePodHasAcceptedSaysWhy) {
  open({});
  FlowPlan plan;
  plan.client = kA1;
  plan.server = kB1;
  plan.fate = Fate::silent;
  world_->add(plan);
  world_->run_for(std::chrono::milliseconds(200));
  world_->republish(kServerSide, {.revoked = {kIdentityOfA1}, .domains = {}});
  world_->run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(ended(kServerSide, flow::Kind::inbound_stream, Reason::tls_revoked), 1u);
}

TEST_P(Revoked, LeafOfAServerEndsItsConnectionsAndNoOther) {
  open_all();
  world_->republish(kClientSide, {.revoked = {kIdentityOfB1}, .domains = {}});
  expect_reset({0, 1});
  EXPECT_EQ(ended(kClientSide, flow::Kind::outbound_hbone, Reason::tls_revoked), 2u);
}

TEST_P(Revoked, LeavesOfAnIntermediateByItsListEndTheirConnectionsAndNoOther) {
  open_all();
  world_->republish(kClientSide, {.revoked = {kIdentityOfB2}, .domains = {}});
  expect_reset({2});
}

TEST_P(Revoked, IntermediateEndsWhatItVouchedForAsTheClients) {
  open_all();
  world_->republish(kServerSide, {.revoked = {}, .intermediate_revoked = true, .domains = {}});
  expect_reset({1, 2});
  EXPECT_EQ(ended(kServerSide, flow::Kind::inbound_stream, Reason::tls_revoked), 2u);
}

TEST_P(Revoked, IntermediateEndsWhatItVouchedForAsTheServers) {
  open_all();
  world_->republish(kClientSide, {.revoked = {}, .intermediate_revoked = true, .domains = {}});
  expect_reset({2});
  EXPECT_EQ(ended(kClientSide, flow::Kind::outbound_hbone, Reason::tls_revoked), 1u);
}

TEST_P(Revoked, PeersOpenNoNewConnections) {
  open_all();
  world_->republish(kServerSide, {.revoked = {kIdentityOfA2}, .domains = {}});
  world_->run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(ended(kServerSide, flow::Kind::tunnel, Reason::tls_revoked), 2u);
  FlowPlan plan;
  plan.client = kA2;
  plan.server = kB1;
  plan.fate = Fate::denied;
  world_->add(plan);
  EXPECT_EQ(world_->finish(), "");
  EXPECT_EQ(world_->completed(), 2u);
  EXPECT_GT(ended(kServerSide, flow::Kind::tunnel, Reason::tls_revoked), 2u);
}

TEST_P(Revoked, TrustDomainsOfClientsEndTheirConnections) {
  open_all();
  world_->republish(kServerSide, {.revoked = {}, .domains = {"new.example", {"cluster.local"}}});
  world_->run_for(std::chrono::milliseconds(1));
  EXPECT_EQ(count(kServerSide, Reason::tls_wrong_trust_domain), 0u);
  world_->republish(kServerSide, {.revoked = {}, .domains = {"new.example", {}}});
  expect_reset({0, 1, 2});
  EXPECT_EQ(ended(kServerSide, flow::Kind::inbound_stream, Reason::tls_wrong_trust_domain), 3u);
}

}  // namespace
}  // namespace isthmus::sim
