// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/snapshot.h"

#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>

#include "support/mesh.h"

namespace isthmus::mesh {
namespace {

using test::ip;
using test::Mesh;

constexpr std::string_view kMesh = R"(
workloads:
- {uid: k//Pod/default/sleep, name: sleep, namespace: default, serviceAccount: sleep, workloadIps: [10.0.0.1, "fd00::1"], protocol: HBONE, node: a}
- {name: sidecar, namespace: default, workloadIps: [10.0.0.2], protocol: HBONE, nativeTunnel: true, node: a}
- {name: plain, namespace: default, workloadIps: [10.0.0.3], node: a}
- {name: remote, namespace: default, workloadIps: [10.0.1.1], protocol: HBONE, node: b}
- {name: host, namespace: default, workloadIps: [10.9.9.9], networkMode: HostNetwork, node: a}
- {name: far, namespace: default, workloadIps: [10.0.0.9], network: other}
services:
- {name: web, namespace: default, hostname: web.example, vips: [/10.96.0.1, other/10.96.0.9], ports: {80: 8080}}
- {name: one, namespace: one, hostname: shared.example, vips: [/10.96.0.5], ports: {80: 80}}
- {name: two, namespace: two, hostname: shared.example, vips: [/10.96.0.5], ports: {80: 80}, canonical: true}
- {name: three, namespace: three, hostname: shared.example, vips: [/10.96.0.5], ports: {80: 80}, visibility: Namespace}
- {name: wide, namespace: default, hostname: wide.example, vips: [], cidrVips: [/10.97.0.0/16], ports: {80: 80}}
- {name: narrow, namespace: default, hostname: narrow.example, vips: [], cidrVips: [/10.97.1.0/24], ports: {80: 80}}
)";

TEST(SnapshotLookup, WorkloadsByAddressOfBothFamilies) {
  const Mesh mesh(kMesh);
  ASSERT_NE(mesh->find_workload(ip("10.0.0.1")), nullptr);
  EXPECT_EQ(mesh->find_workload(ip("10.0.0.1")), mesh->find_workload(ip("fd00::1")));
  EXPECT_EQ(mesh->find_workload(ip("10.0.0.77")), nullptr);
  EXPECT_EQ(mesh->find_workload(ip("10.0.0.9")), nullptr) << "of another network";
  EXPECT_EQ(mesh->find_workload(ip("10.9.9.9")), nullptr) << "host network";
}

TEST(SnapshotLookup, LocalAmbientIsOnOurNodeInTheMeshAndNotASidecar) {
  const Mesh mesh(kMesh);
  EXPECT_TRUE(mesh->find_workload(ip("10.0.0.1"))->local_ambient);
  EXPECT_FALSE(mesh->find_workload(ip("10.0.0.2"))->local_ambient);
  EXPECT_TRUE(mesh->find_workload(ip("10.0.0.2"))->local);
  EXPECT_FALSE(mesh->find_workload(ip("10.0.0.3"))->local_ambient);
  EXPECT_FALSE(mesh->find_workload(ip("10.0.1.1"))->local);
  EXPECT_EQ(mesh->local_workloads().size(), 4U);
}

TEST(SnapshotLookup, ServicesByVipPreferTheClientsNamespaceThenCanonical) {
  const Mesh mesh(kMesh);
  EXPECT_EQ(mesh->find_service(ip("10.96.0.5"), "one")->service->name, "one");
  EXPECT_EQ(mesh->find_service(ip("10.96.0.5"), "three")->service->name, "three");
  EXPECT_EQ(mesh->find_service(ip("10.96.0.5"), "default")->service->name, "two");
  EXPECT_EQ(mesh->find_service(ip("10.96.0.9"), "default"), nullptr) << "of another network";
  EXPECT_EQ(mesh->find_service("three", "shared.example")->service->name, "three");
  EXPECT_EQ(mesh->find_service_by_hostname("shared.example", "x")->service->name, "two");
  EXPECT_EQ(mesh->find_service("x", "shared.example"), nullptr);
}

TEST(SnapshotLookup, LongerBlocksBeforeShorter) {
  const Mesh mesh(kMesh);
  EXPECT_EQ(mesh->find_service(ip("10.97.1.1"), "x")->service->name, "narrow");
  EXPECT_EQ(mesh->find_service(ip("10.97.2.1"), "x")->service->name, "wide");
  EXPECT_EQ(mesh->find_service(ip("10.98.0.1"), "x"), nullptr);
}

TEST(SnapshotLookup, APodWinsAnAddressOverOtherWorkloads) {
  Model model;
  Workload entry;
  entry.uid = "entry";
  entry.namespace_ = "n";
  entry.addresses = {ip("10.0.0.1")};
  entry.tunnel_protocol = TunnelProtocol::hbone;
  Workload pod = entry;
  pod.uid = "k//Pod/n/p";
  pod.tunnel_protocol = TunnelProtocol::none;
  model.workloads = {entry, pod};
  Names names;
  const auto snapshot = Snapshot::build(model, {.node = "a"}, names);
  EXPECT_EQ(snapshot->find_workload(ip("10.0.0.1"))->workload->uid, "k//Pod/n/p");
}

TEST(SnapshotIds, StayTheSameAcrossSnapshots) {
  Mesh first(kMesh);
  const IdentityId sleep = first->find_identity("spiffe://cluster.local/ns/default/sa/sleep");
  ASSERT_NE(sleep, kNoIdentity);
  EXPECT_EQ(first->find_identity("spiffe://cluster.local/ns/default/sa/nobody"), kNoIdentity);
  Model model;
  Workload other;
  other.uid = other.namespace_ = "z";
  model.workloads = {other, first->find_workload(ip("10.0.0.1"))->workload[0]};
  const auto second = Snapshot::build(model, {.node = "a"}, *first.names);
  EXPECT_EQ(second->find_identity("spiffe://cluster.local/ns/default/sa/sleep"), sleep);
  EXPECT_EQ(second->identity(sleep), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(second->find_workload(ip("10.0.0.1"))->identity, sleep);
  EXPECT_EQ(second->identity(kNoIdentity), "");
  EXPECT_EQ(second->identity(99999), "");
}

TEST(SnapshotLookup, EveryAddressOfALargeMeshIsFound) {
  Model model;
  for (uint32_t i = 0; i < 20000; ++i) {
    Workload w;
    w.uid = std::to_string(i);
    w.namespace_ = "n";
    w.addresses = {packet::IpAddress::v4(0x0a000000U + i)};
    model.workloads.push_back(w);
  }
  Names names;
  const auto snapshot = Snapshot::build(std::move(model), {.node = "a", .seed = 99}, names);
  for (uint32_t i = 0; i < 20000; ++i) {
    const auto* entry = snapshot->find_workload(packet::IpAddress::v4(0x0a000000U + i));
    ASSERT_NE(entry, nullptr);
    ASSERT_EQ(entry->workload->uid, std::to_string(i));
    ASSERT_EQ(snapshot->find_workload(packet::IpAddress::v4(0x0b000000U + i)), nullptr);
  }
}

// ---- endpoint choice

std::string balanced(const std::string& service_more, const std::string& endpoints) {
  return "workloads:\n"
         "- {name: client, namespace: default, workloadIps: [10.0.0.1, \"fd00::1\"], node: a, "
         "locality: {region: r1, zone: z1, subzone: s1}}\n" +
         endpoints +
         "services:\n- {name: web, namespace: default, hostname: web.example, vips: [/10.96.0.1], "
         "ports: {80: 8080, 81: 0}" +
         service_more + "}\n";
}

std::string endpoint(const std::string& name, const std::string& address,
                     const std::string& more = "", const std::string& ports = "{}") {
  return "- {name: " + name + ", namespace: default, workloadIps: [" + address +
         "], services: {default/web.example: " + ports + "}" + more + "}\n";
}

// How often each endpoint is chosen in 3000 draws; "" for none.
std::map<std::string, int> draw(const Mesh& mesh, Profile profile, uint16_t port = 80,
                                std::vector<packet::IpAddress> tried = {},
                                std::string_view hint = "10.96.0.1") {
  std::mt19937_64 random(42);
  std::map<std::string, int> counts;
  const auto& client = *mesh->find_workload(ip("10.0.0.1"));
  const auto& service = *mesh->find_service("default", "web.example");
  for (int i = 0; i < 3000; ++i) {
    const auto result =
        mesh->choose_endpoint(profile, service, port, client, ip(hint), random(), tried);
    ++counts[result.upstream ? result.upstream->endpoint.to_string() : ""];
  }
  return counts;
}

TEST(EndpointChoice, IsUniformAmongTheHealthy) {
  const Mesh mesh(balanced("", endpoint("x", "10.0.1.1") + endpoint("y", "10.0.1.2") +
                                   endpoint("z", "10.0.1.3", ", status: Unhealthy")));
  for (const Profile profile : {Profile::v1_18, Profile::head}) {
    const auto counts = draw(mesh, profile);
    EXPECT_EQ(counts.size(), 2U);
    EXPECT_NEAR(counts.at("10.0.1.1:8080"), 1500, 150);
    EXPECT_NEAR(counts.at("10.0.1.2:8080"), 1500, 150);
  }
}

TEST(EndpointChoice, AllowAllKeepsTheUnhealthyAtHeadOnly) {
  const Mesh mesh(
      balanced(", loadBalancer: {healthPolicy: AllowAll}",
               endpoint("x", "10.0.1.1") + endpoint("z", "10.0.1.3", ", status: Unhealthy")));
  EXPECT_EQ(draw(mesh, Profile::head).size(), 2U);
  EXPECT_EQ(draw(mesh, Profile::v1_18).size(), 1U);
}

TEST(EndpointChoice, HeadWeighsByCapacity) {
  const Mesh mesh(balanced("", endpoint("x", "10.0.1.1", ", capacity: 3") +
                                   endpoint("y", "10.0.1.2", ", capacity: 1") +
                                   endpoint("z", "10.0.1.3", ", capacity: 0")));
  const auto counts = draw(mesh, Profile::head);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_NEAR(counts.at("10.0.1.1:8080"), 2250, 150);
  EXPECT_EQ(draw(mesh, Profile::v1_18).size(), 3U);
}

TEST(EndpointChoice, TargetPortIsTheEndpointsThenTheServices) {
  const Mesh mesh(balanced(
      "", endpoint("x", "10.0.1.1", "", "{80: 9000, 81: 9001}") + endpoint("y", "10.0.1.2")));
  const auto counts = draw(mesh, Profile::head);
  EXPECT_TRUE(counts.contains("10.0.1.1:9000"));
  EXPECT_TRUE(counts.contains("10.0.1.2:8080"));
  // Port 81 has no number of its own: only the endpoint that says one serves it.
  const auto named = draw(mesh, Profile::head, 81);
  EXPECT_EQ(named, (std::map<std::string, int>{{"10.0.1.1:9001", 3000}}));
}

TEST(EndpointChoice, AnUnknownPortHasNoEndpoint) {
  const Mesh mesh(balanced("", endpoint("x", "10.0.1.1")));
  const auto result =
      mesh->choose_endpoint(Profile::head, *mesh->find_service("default", "web.example"), 82,
                            *mesh->find_workload(ip("10.0.0.1")), ip("10.96.0.1"), 0);
  EXPECT_FALSE(result.upstream);
  EXPECT_EQ(result.why, NoUpstream::no_port);
}

TEST(EndpointChoice, TriedEndpointsAreNotChosenAgain) {
  const Mesh mesh(balanced("", endpoint("x", "10.0.1.1") + endpoint("y", "10.0.1.2")));
  EXPECT_EQ(draw(mesh, Profile::head, 80, {ip("10.0.1.1")}),
            (std::map<std::string, int>{{"10.0.1.2:8080", 3000}}));
  EXPECT_EQ(draw(mesh, Profile::head, 80, {ip("10.0.1.1"), ip("10.0.1.2")}),
            (std::map<std::string, int>{{"", 3000}}));
}

TEST(EndpointChoice, FailoverTakesTheNearestAndStrictNothingElse) {
  const std::string endpoints =
      endpoint("zone", "10.0.1.1", ", locality: {region: r1, zone: z1}") +
      endpoint("region", "10.0.1.2", ", locality: {region: r1, zone: z2}") +
      endpoint("far", "10.0.1.3", ", locality: {region: r2, zone: z1}");
  const auto only = [](const char* where) { return std::map<std::string, int>{{where, 3000}}; };
  const Mesh failover(
      balanced(", loadBalancer: {mode: Failover, routingPreferences: [Region, Zone]}", endpoints));
  EXPECT_EQ(draw(failover, Profile::head), only("10.0.1.1:8080"));
  // A mismatch ends the ranking: the far zone of the same name counts nothing.
  EXPECT_EQ(draw(failover, Profile::head, 80, {ip("10.0.1.1")}), only("10.0.1.2:8080"));
  EXPECT_EQ(draw(failover, Profile::head, 80, {ip("10.0.1.1"), ip("10.0.1.2")}),
            only("10.0.1.3:8080"));
  EXPECT_EQ(draw(failover, Profile::v1_18).size(), 3U) << "1.18 knows no localities";

  const Mesh strict(
      balanced(", loadBalancer: {mode: Strict, routingPreferences: [Region, Zone]}", endpoints));
  EXPECT_EQ(draw(strict, Profile::head), only("10.0.1.1:8080"));
  EXPECT_EQ(draw(strict, Profile::head, 80, {ip("10.0.1.1")}), only(""));
}

TEST(EndpointChoice, NodeAndNetworkAreScopesToo) {
  const std::string endpoints =
      endpoint("here", "10.0.1.1", ", node: a") + endpoint("there", "10.0.1.2", ", node: b");
  const Mesh mesh(
      balanced(", loadBalancer: {mode: Failover, routingPreferences: [Network, Node]}", endpoints));
  EXPECT_EQ(draw(mesh, Profile::head), (std::map<std::string, int>{{"10.0.1.1:8080", 3000}}));
}

TEST(EndpointChoice, AddressFamilyFollowsTheRequestAndTheService) {
  const std::string dual = endpoint("x", "10.0.1.1, \"fd00::11\"");
  const Mesh mesh(balanced("", dual));
  EXPECT_TRUE(draw(mesh, Profile::head).contains("10.0.1.1:8080"));
  EXPECT_TRUE(draw(mesh, Profile::head, 80, {}, "fd00::96").contains("[fd00::11]:8080"));
  const Mesh v4(balanced(", ipFamilies: IPv4", dual));
  EXPECT_TRUE(draw(v4, Profile::head, 80, {}, "fd00::96").contains("10.0.1.1:8080"));
  const Mesh v6(balanced(", ipFamilies: IPv6", endpoint("x", "10.0.1.1")));
  EXPECT_TRUE(draw(v6, Profile::head).contains(""));
}

TEST(EndpointChoice, OtherNetworksAndWorkloadsWithoutAddressAreLeftOut) {
  const Mesh mesh(balanced("", endpoint("x", "10.0.1.1", ", network: other") + endpoint("y", "") +
                                   endpoint("z", "10.0.1.3")));
  EXPECT_EQ(draw(mesh, Profile::head), (std::map<std::string, int>{{"10.0.1.3:8080", 3000}}));
}

constexpr std::string_view kWaypoints = R"(
workloads:
- {name: client, namespace: default, workloadIps: [10.0.0.1], node: a}
- {name: w1, namespace: default, serviceAccount: wp, workloadIps: [10.0.3.1], services: {default/wp.example: {}}}
- {name: w2, namespace: default, serviceAccount: wp, workloadIps: [10.0.3.2], status: Unhealthy, services: {default/wp.example: {}}}
- {name: tunnel, namespace: default, serviceAccount: app, workloadIps: [10.0.3.3], applicationTunnel: {protocol: PROXY}, services: {default/app.example: {}}}
services:
- {name: wp, namespace: default, hostname: wp.example, vips: [/10.96.0.3], ports: {15008: 15008}}
- {name: app, namespace: default, hostname: app.example, vips: [/10.96.0.4], ports: {80: 80}}
)";

UpstreamResult waypoint(const Mesh& mesh, const GatewayAddress& reference,
                        std::vector<packet::IpAddress> tried = {}) {
  return mesh->choose_waypoint(Profile::head, reference, *mesh->find_workload(ip("10.0.0.1")),
                               ip("10.96.9.9"), 1, tried);
}

TEST(WaypointChoice, ByHostnameByVipAndByAddress) {
  const Mesh mesh(kWaypoints);
  const GatewayAddress by_name{NamespacedHostname{"default", "wp.example"}, 15008};
  const GatewayAddress by_vip{NetworkAddress{"", ip("10.96.0.3")}, 15008};
  const GatewayAddress by_pod{NetworkAddress{"", ip("10.0.3.1")}, 15008};
  for (const auto& reference : {by_name, by_vip, by_pod}) {
    const auto result = waypoint(mesh, reference);
    ASSERT_TRUE(result.upstream);
    EXPECT_EQ(result.upstream->endpoint.to_string(), "10.0.3.1:15008");
    EXPECT_FALSE(waypoint(mesh, reference, {ip("10.0.3.1")}).upstream);
  }
}

TEST(WaypointChoice, AnApplicationTunnelNeedsNoPortOnTheService) {
  const Mesh mesh(kWaypoints);
  const auto result = waypoint(mesh, {NamespacedHostname{"default", "app.example"}, 15008});
  ASSERT_TRUE(result.upstream);
  EXPECT_EQ(result.upstream->endpoint.to_string(), "10.0.3.3:15008");
}

TEST(WaypointChoice, WhatNamesNothingIsSaidSo) {
  const Mesh mesh(kWaypoints);
  EXPECT_EQ(waypoint(mesh, {NamespacedHostname{"x", "wp.example"}, 15008}).why,
            NoUpstream::no_workload);
  EXPECT_EQ(waypoint(mesh, {NetworkAddress{"", ip("10.1.1.1")}, 15008}).why,
            NoUpstream::no_workload);
  EXPECT_EQ(waypoint(mesh, {NetworkAddress{"other", ip("10.0.3.1")}, 15008}).why,
            NoUpstream::no_workload);
}

TEST(WaypointChoice, ItsIdentityIsThatOfAnyPodBehindIt) {
  const Mesh mesh(kWaypoints);
  const GatewayAddress by_name{NamespacedHostname{"default", "wp.example"}, 15008};
  const GatewayAddress by_unhealthy{NetworkAddress{"", ip("10.0.3.2")}, 15008};
  const std::string_view wp = "spiffe://cluster.local/ns/default/sa/wp";
  const std::string_view app = "spiffe://cluster.local/ns/default/sa/app";
  EXPECT_TRUE(mesh->is_waypoint_identity(by_name, "default", wp));
  EXPECT_TRUE(mesh->is_waypoint_identity(by_unhealthy, "default", wp));
  EXPECT_FALSE(mesh->is_waypoint_identity(by_name, "default", app));
  EXPECT_FALSE(mesh->is_waypoint_identity(by_name, "default", "spiffe://x/ns/y/sa/z"));
}

}  // namespace
}  // namespace isthmus::mesh
