// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/outbound.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "support/mesh.h"

namespace isthmus::proxy {
namespace {

using test::at;
using test::ip;
using test::Mesh;

constexpr std::string_view kOutboundMesh = R"(
workloads:
- {name: sleep, namespace: default, serviceAccount: sleep, workloadIps: [10.0.0.1], protocol: HBONE, node: a}
- {name: local, namespace: default, serviceAccount: local, workloadIps: [10.0.0.2], protocol: HBONE, node: a, services: {default/local.example: {}, default/self.example: {}}}
- {name: guarded, namespace: guarded, workloadIps: [10.0.0.3], protocol: HBONE, node: a}
- {name: sidecar, namespace: default, serviceAccount: sidecar, workloadIps: [10.0.0.4], protocol: HBONE, nativeTunnel: true, node: a}
- {name: remote, namespace: default, serviceAccount: remote, workloadIps: [10.0.1.1], protocol: HBONE, node: b, services: {default/web.example: {}}}
- {name: remote2, namespace: default, serviceAccount: remote, workloadIps: [10.0.1.2], protocol: HBONE, node: b, services: {default/web.example: {}}}
- {name: plain, namespace: default, serviceAccount: plain, workloadIps: [10.0.1.3], node: b, services: {default/plain.example: {}}}
- {name: down, namespace: default, workloadIps: [10.0.1.4], node: b, status: Unhealthy, services: {default/down.example: {}}}
- {name: wp, namespace: default, serviceAccount: waypoint, workloadIps: [10.0.3.3], protocol: HBONE, nativeTunnel: true, node: c, services: {default/wp.example: {}}}
- {name: behind, namespace: default, serviceAccount: behind, workloadIps: [10.0.4.1], protocol: HBONE, node: d, waypoint: {destination: /10.0.3.3, hboneMtlsPort: 15008}, services: {default/behind.example: {}, default/l7.example: {}}}
- {name: gone, namespace: default, workloadIps: [10.0.4.2], protocol: HBONE, node: d, services: {default/gone.example: {}}}
services:
- {name: local, namespace: default, hostname: local.example, vips: [/10.96.0.2], ports: {80: 8080}}
- {name: self, namespace: default, hostname: self.example, vips: [/10.96.0.22], ports: {80: 8080}}
- {name: web, namespace: default, hostname: web.example, vips: [/10.96.0.1], ports: {80: 8080}, subjectAltNames: ["spiffe://cluster.local/ns/default/sa/alias"]}
- {name: plain, namespace: default, hostname: plain.example, vips: [/10.96.0.3], ports: {80: 8080}}
- {name: down, namespace: default, hostname: down.example, vips: [/10.96.0.4], ports: {80: 8080}}
- {name: wp, namespace: default, hostname: wp.example, vips: [/10.96.0.5], ports: {15008: 15008}}
- {name: behind, namespace: default, hostname: behind.example, vips: [/10.96.0.6], ports: {80: 8080}}
- {name: l7, namespace: default, hostname: l7.example, vips: [/10.96.0.7], ports: {80: 8080}, waypoint: {destination: default/wp.example, hboneMtlsPort: 15008}}
- {name: pass, namespace: default, hostname: pass.example, vips: [/10.96.0.8], ports: {80: 8080}, loadBalancer: {mode: Passthrough}}
- {name: gone, namespace: default, hostname: gone.example, vips: [/10.96.0.9], ports: {80: 8080}, waypoint: {destination: default/down.example, hboneMtlsPort: 15008}}
policies:
- {name: p, namespace: guarded, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/default/sa/local]}]]]}
)";

class OutboundTest : public testing::Test {
 protected:
  OutboundDecision decide(Profile profile, std::string_view to,
                          std::string_view from = "10.0.0.1:4000",
                          std::vector<packet::IpAddress> tried = {}, uint64_t random = 0) {
    return decide_outbound(*mesh_, {.profile = profile, .own_addresses = own_},
                           {at(from), at(to), random, tried});
  }

  std::vector<std::string> expected(const OutboundDecision& d) {
    std::vector<std::string> out;
    for (const auto id : d.expected.list()) out.emplace_back(mesh_->identity(id));
    return out;
  }
  std::string walk(const OutboundDecision& d) {
    std::string out;
    for (const Step& step : d.walk.steps()) out += describe(step, *mesh_) + "\n";
    return out;
  }

  Mesh mesh_{kOutboundMesh};
  std::vector<packet::IpAddress> own_ = {ip("10.0.0.9")};
};

const std::string kId = "spiffe://cluster.local/ns/default/sa/";

TEST_F(OutboundTest, UnknownDestinationsPassThrough) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "93.184.216.34:443");
    EXPECT_EQ(d.kind, OutboundKind::passthrough);
    EXPECT_EQ(d.upstream, at("93.184.216.34:443"));
    EXPECT_EQ(d.retry_key, packet::IpAddress());
  }
}

TEST_F(OutboundTest, UnknownSourcesAreRefused) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "93.184.216.34:443", "10.0.0.77:4000");
    EXPECT_EQ(d.kind, OutboundKind::refuse);
    EXPECT_EQ(d.reason, stats::Reason::proxy_unknown_source);
  }
}

TEST_F(OutboundTest, CallsToTheGatewayItselfAreRefused) {
  EXPECT_EQ(decide(Profile::v1_18, "10.0.0.9:15001").reason, stats::Reason::proxy_self_call);
}

TEST_F(OutboundTest, RemoteMeshWorkloadIsReachedByHbone) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.0.1.1:9090");
    EXPECT_EQ(d.kind, OutboundKind::hbone);
    EXPECT_EQ(d.upstream, at("10.0.1.1:15008"));
    EXPECT_EQ(d.authority, at("10.0.1.1:9090"));
    EXPECT_EQ(mesh_->identity(d.source_identity), kId + "sleep");
    EXPECT_EQ(expected(d), std::vector{kId + "remote"});
    EXPECT_FALSE(d.to_waypoint);
    EXPECT_EQ(d.retry_key, packet::IpAddress()) << "the workload itself was asked for";
  }
}

TEST_F(OutboundTest, ServiceIsTranslatedToAnEndpointsAddressAndTargetPort) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.96.0.1:80");
    EXPECT_EQ(d.kind, OutboundKind::hbone);
    EXPECT_EQ(d.upstream, at("10.0.1.1:15008"));
    EXPECT_EQ(d.authority, at("10.0.1.1:8080"));
    EXPECT_EQ(mesh_->name(d.service), "default/web.example");
    EXPECT_EQ(d.retry_key, ip("10.0.1.1"));
  }
}

TEST_F(OutboundTest, HeadAlsoExpectsTheServicesSubjectAltNames) {
  EXPECT_EQ(expected(decide(Profile::v1_18, "10.96.0.1:80")), std::vector{kId + "remote"});
  EXPECT_EQ(expected(decide(Profile::head, "10.96.0.1:80")),
            (std::vector{kId + "alias", kId + "remote"}));
}

TEST_F(OutboundTest, AFailedEndpointIsNotTriedAgain) {
  for (const Profile profile : test::kProfiles) {
    const auto second = decide(profile, "10.96.0.1:80", "10.0.0.1:4000", {ip("10.0.1.1")});
    EXPECT_EQ(second.authority, at("10.0.1.2:8080"));
    const auto third =
        decide(profile, "10.96.0.1:80", "10.0.0.1:4000", {ip("10.0.1.1"), ip("10.0.1.2")});
    EXPECT_EQ(third.kind, OutboundKind::refuse);
    EXPECT_EQ(third.reason, stats::Reason::proxy_no_endpoint);
  }
}

TEST_F(OutboundTest, PlaintextEndpointIsDirect) {
  for (const Profile profile : test::kProfiles) {
    const auto by_service = decide(profile, "10.96.0.3:80");
    EXPECT_EQ(by_service.kind, OutboundKind::direct);
    EXPECT_EQ(by_service.upstream, at("10.0.1.3:8080"));
    const auto by_address = decide(profile, "10.0.1.3:7");
    EXPECT_EQ(by_address.kind, OutboundKind::direct);
    EXPECT_EQ(by_address.upstream, at("10.0.1.3:7"));
  }
}

TEST_F(OutboundTest, NoHealthyEndpointPassesThroughIn118AndIsRefusedAtHead) {
  const auto old = decide(Profile::v1_18, "10.96.0.4:80");
  EXPECT_EQ(old.kind, OutboundKind::passthrough);
  EXPECT_EQ(old.upstream, at("10.96.0.4:80"));
  const auto head = decide(Profile::head, "10.96.0.4:80");
  EXPECT_EQ(head.kind, OutboundKind::refuse);
  EXPECT_EQ(head.reason, stats::Reason::proxy_no_endpoint);
  EXPECT_EQ(decide(Profile::v1_18, "10.96.0.1:81").kind, OutboundKind::passthrough);
  EXPECT_EQ(decide(Profile::head, "10.96.0.1:81").reason, stats::Reason::proxy_no_port);
}

TEST_F(OutboundTest, PassthroughModeGoesToTheOriginalDestinationAtHead) {
  EXPECT_EQ(decide(Profile::head, "10.96.0.8:80").kind, OutboundKind::passthrough);
}

TEST_F(OutboundTest, SameNodeIsJoinedInMemory) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.96.0.2:80");
    EXPECT_EQ(d.kind, OutboundKind::local);
    EXPECT_EQ(d.upstream, at("10.0.0.2:8080"));
    EXPECT_EQ(d.rbac.why, mesh::RbacDecision::Why::no_policy);
    EXPECT_FALSE(d.own_source);
  }
}

TEST_F(OutboundTest, APodThatCallsItselfThroughAServiceNeedsAnotherSource) {
  const auto d = decide(Profile::v1_18, "10.96.0.22:80", "10.0.0.2:4000");
  EXPECT_EQ(d.kind, OutboundKind::local);
  EXPECT_TRUE(d.own_source);
}

TEST_F(OutboundTest, SameNodeAppliesTheDestinationsPolicyWithTheSourcesIdentity) {
  for (const Profile profile : test::kProfiles) {
    const auto denied = decide(profile, "10.0.0.3:80", "10.0.0.1:4000");
    EXPECT_EQ(denied.kind, OutboundKind::refuse);
    EXPECT_EQ(denied.reason, stats::Reason::mesh_rbac_not_allowed);
    const auto allowed = decide(profile, "10.0.0.3:80", "10.0.0.2:4000");
    EXPECT_EQ(allowed.kind, OutboundKind::local);
    EXPECT_EQ(mesh_->name(allowed.rbac.policy), "guarded/p");
  }
}

TEST_F(OutboundTest, ASidecarOfThisNodeSpeaksHboneItself) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.0.0.4:80");
    EXPECT_EQ(d.kind, OutboundKind::hbone);
    EXPECT_EQ(d.upstream, at("10.0.0.4:15008"));
  }
}

TEST_F(OutboundTest, WorkloadWaypointIsToldTheOriginalDestination) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.0.4.1:80");
    EXPECT_EQ(d.kind, OutboundKind::hbone);
    EXPECT_TRUE(d.to_waypoint);
    EXPECT_EQ(d.upstream, at("10.0.3.3:15008"));
    EXPECT_EQ(d.authority, at("10.0.4.1:80"));
    EXPECT_EQ(expected(d), std::vector{kId + "waypoint"});
  }
}

TEST_F(OutboundTest, ServiceAddressedTrafficUsesTheWorkloadsWaypointIn118Only) {
  const auto old = decide(Profile::v1_18, "10.96.0.6:80");
  EXPECT_TRUE(old.to_waypoint);
  EXPECT_EQ(old.authority, at("10.96.0.6:80")) << "the VIP, not translated";
  const auto head = decide(Profile::head, "10.96.0.6:80");
  EXPECT_FALSE(head.to_waypoint);
  EXPECT_EQ(head.authority, at("10.0.4.1:8080"));
}

TEST_F(OutboundTest, ServiceWaypointIsToldTheVip) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, "10.96.0.7:80");
    EXPECT_TRUE(d.to_waypoint);
    EXPECT_EQ(d.upstream, at("10.0.3.3:15008"));
    EXPECT_EQ(d.authority, at("10.96.0.7:80"));
  }
}

TEST_F(OutboundTest, AWaypointThatCannotBeFoundRefuses) {
  const auto d = decide(Profile::head, "10.96.0.9:80");
  EXPECT_EQ(d.kind, OutboundKind::refuse);
  EXPECT_EQ(d.reason, stats::Reason::proxy_no_waypoint);
  EXPECT_EQ(decide(Profile::v1_18, "10.96.0.9:80").reason, stats::Reason::proxy_no_waypoint);
  // And one whose pods have all been tried.
  EXPECT_EQ(decide(Profile::head, "10.96.0.7:80", "10.0.0.1:1", {ip("10.0.3.3")}).reason,
            stats::Reason::proxy_no_waypoint);
}

TEST_F(OutboundTest, AWaypointDoesNotGoThroughItselfAtHead) {
  EXPECT_FALSE(decide(Profile::head, "10.0.4.1:80", "10.0.3.3:4000").to_waypoint);
}

TEST_F(OutboundTest, TheWalkTellsTheSteps) {
  EXPECT_EQ(walk(decide(Profile::v1_18, "10.96.0.1:80")),
            "source 10.0.0.1:4000 is spiffe://cluster.local/ns/default/sa/sleep\n"
            "destination 10.96.0.1:80 is service default/web.example\n"
            "endpoint 10.0.1.1:8080 (spiffe://cluster.local/ns/default/sa/remote) of "
            "default/web.example\n"
            "HBONE to 10.0.1.1:15008, which must be "
            "spiffe://cluster.local/ns/default/sa/remote\n"
            "CONNECT 10.0.1.1:8080\n");
  EXPECT_EQ(walk(decide(Profile::v1_18, "10.0.0.3:80")),
            "source 10.0.0.1:4000 is spiffe://cluster.local/ns/default/sa/sleep\n"
            "destination 10.0.0.3:80 is workload spiffe://cluster.local/ns/guarded/sa/default\n"
            "10.0.0.3:80 (spiffe://cluster.local/ns/guarded/sa/default) is on this node\n"
            "denied: no ALLOW policy matches\n");
  EXPECT_EQ(walk(decide(Profile::head, "1.1.1.1:53")),
            "source 10.0.0.1:4000 is spiffe://cluster.local/ns/default/sa/sleep\n"
            "destination 1.1.1.1:53 is outside the mesh\n"
            "plaintext to 1.1.1.1:53\n");
}

TEST_F(OutboundTest, WeightedWaypointsAreSharedByWeight) {
  const Mesh mesh(R"(
workloads:
- {name: sleep, namespace: default, workloadIps: [10.0.0.1], protocol: HBONE, node: a}
- {name: w1, namespace: default, workloadIps: [10.0.3.1]}
- {name: w2, namespace: default, workloadIps: [10.0.3.2]}
services:
- {name: web, namespace: default, hostname: web.example, vips: [/10.96.0.1], ports: {80: 80}, weightedWaypoints: [{destination: {destination: /10.0.3.1, hboneMtlsPort: 15008}, weight: 1}, {destination: {destination: /10.0.3.2, hboneMtlsPort: 15008}, weight: 3}]}
)");
  int second = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    const auto d = decide_outbound(*mesh, {.profile = Profile::head},
                                   {at("10.0.0.1:1"), at("10.96.0.1:80"), i, {}});
    ASSERT_TRUE(d.to_waypoint);
    second += d.upstream == at("10.0.3.2:15008");
  }
  EXPECT_NEAR(second, 3000, 150);
}

}  // namespace
}  // namespace isthmus::proxy
