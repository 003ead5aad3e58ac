// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/local_file.h"

#include <gtest/gtest.h>
#include <string>

#include "support/mesh.h"

namespace isthmus::mesh {
namespace {

std::string refusal(std::string_view text, Profile profile = Profile::head) {
  const auto read = read_local_file(text, {.file = "m.yaml", .profile = profile});
  const auto* error = std::get_if<yaml::Error>(&read);
  return error == nullptr ? "" : error->to_string();
}

Model accepted(std::string_view text) {
  auto read = read_local_file(text, {.file = "m.yaml", .profile = Profile::head});
  if (const auto* error = std::get_if<yaml::Error>(&read)) ADD_FAILURE() << error->to_string();
  return std::get<Model>(std::move(read));
}

// Everything that the format knows, once.
constexpr std::string_view kEverything = R"(
workloads:
- uid: c1//v1/Pod/default/sleep
  name: sleep
  namespace: default
  trustDomain: td.example
  serviceAccount: sleep
  workloadIps: [10.0.0.1, "fd00::1"]
  network: n1
  protocol: HBONE
  networkMode: Standard
  waypoint: {destination: n1/10.0.9.9, hboneMtlsPort: 15008}
  networkGateway: {destination: default/east-west.example, hboneMtlsPort: 15009}
  workloadName: sleep-deploy
  workloadType: deployment
  canonicalName: sleep
  canonicalRevision: v2
  hostname: sleep.example
  node: a
  nativeTunnel: true
  applicationTunnel: {protocol: PROXY, port: 15088}
  authorizationPolicies: [default/p1]
  status: Unhealthy
  clusterId: c1
  locality: {region: r, zone: z, subzone: s}
  services:
    default/web.example: {80: 8080, 443: 8443}
  capacity: 5
- name: waypoint
  namespace: default
  network: n1
  workloadIps: [10.0.9.9]
services:
- name: web
  namespace: default
  hostname: web.example
  vips: [/10.96.0.1, n1/10.96.0.2]
  cidrVips: [n1/10.97.0.0/16]
  ports: {80: 8080, 443: 0}
  subjectAltNames: ["spiffe://td.example/ns/default/sa/web"]
  waypoint: {destination: default/web.example, hboneMtlsPort: 15008}
  weightedWaypoints:
  - {destination: {destination: default/sleep.example, hboneMtlsPort: 15008}, weight: 3}
  loadBalancer: {routingPreferences: [Network, Region], mode: Failover, healthPolicy: AllowAll}
  ipFamilies: IPv4
  canonical: true
  visibility: Namespace
  endpoints:
    default/waypoint: {workloadUid: default/waypoint, port: {80: 1}, status: Healthy}
policies:
- name: p1
  namespace: default
  scope: WorkloadSelector
  action: Deny
  dryRun: true
  rules:
  - - - namespaces: [!Exact a]
        notNamespaces: [!Prefix b]
        principals: [{Suffix: c}]
        notPrincipals: [!Presence ]
        sourceIps: [10.0.0.0/8]
        notSourceIps: [10.1.0.0/16]
        destinationIps: ["fd00::/8"]
        notDestinationIps: [10.0.0.7]
        destinationPorts: [80]
        notDestinationPorts: [81]
        serviceAccounts: [{namespace: n, serviceAccount: s}]
        notServiceAccounts: [{namespace: m, serviceAccount: t}]
)";

TEST(LocalFile, ReadsEveryFieldOfAWorkload) {
  const Model model = accepted(kEverything);
  ASSERT_EQ(model.workloads.size(), 2U);
  const Workload& w = model.workloads[0];
  EXPECT_EQ(w.uid, "c1//v1/Pod/default/sleep");
  EXPECT_EQ(w.identity(), "spiffe://td.example/ns/default/sa/sleep");
  ASSERT_EQ(w.addresses.size(), 2U);
  EXPECT_EQ(w.addresses[1], test::ip("fd00::1"));
  EXPECT_EQ(w.tunnel_protocol, TunnelProtocol::hbone);
  EXPECT_EQ(std::get<NetworkAddress>(w.waypoint->destination),
            (NetworkAddress{"n1", test::ip("10.0.9.9")}));
  EXPECT_EQ(std::get<NamespacedHostname>(w.network_gateway->destination).hostname,
            "east-west.example");
  EXPECT_EQ(w.network_gateway->hbone_mtls_port, 15009);
  EXPECT_EQ(w.workload_name, "sleep-deploy");
  EXPECT_EQ(w.workload_type, "deployment");
  EXPECT_EQ(w.canonical_name, "sleep");
  EXPECT_EQ(w.canonical_revision, "v2");
  EXPECT_EQ(w.hostname, "sleep.example");
  EXPECT_EQ(w.node, "a");
  EXPECT_TRUE(w.native_tunnel);
  EXPECT_EQ(w.application_tunnel->port, 15088);
  EXPECT_EQ(w.authorization_policies, std::vector<std::string>{"default/p1"});
  EXPECT_EQ(w.status, WorkloadStatus::unhealthy);
  EXPECT_EQ(w.cluster_id, "c1");
  EXPECT_EQ(w.locality, (Locality{"r", "z", "s"}));
  EXPECT_EQ((w.services.at({"default", "web.example"})), (PortMap{{80, 8080}, {443, 8443}}));
  EXPECT_EQ(w.capacity, 5U);
}

TEST(LocalFile, DefaultsAreTheControlPlanes) {
  const Model model = accepted(kEverything);
  const Workload& w = model.workloads[1];
  EXPECT_EQ(w.uid, "default/waypoint");
  EXPECT_EQ(w.identity(), "spiffe://cluster.local/ns/default/sa/default");
  EXPECT_EQ(w.tunnel_protocol, TunnelProtocol::none);
  EXPECT_EQ(w.status, WorkloadStatus::healthy);
  EXPECT_EQ(w.cluster_id, "Kubernetes");
  EXPECT_EQ(w.capacity, 1U);
  EXPECT_FALSE(w.waypoint);
}

TEST(LocalFile, ReadsEveryFieldOfAService) {
  const Model model = accepted(kEverything);
  ASSERT_EQ(model.services.size(), 1U);
  const Service& s = model.services[0];
  EXPECT_EQ(s.addresses[0], (NetworkAddress{"", test::ip("10.96.0.1")}));
  EXPECT_EQ(s.addresses[1], (NetworkAddress{"n1", test::ip("10.96.0.2")}));
  EXPECT_EQ(s.cidr_addresses[0].prefix, packet::Prefix::parse("10.97.0.0/16"));
  EXPECT_EQ(s.ports, (PortMap{{80, 8080}, {443, 0}}));
  EXPECT_EQ(s.subject_alt_names[0], "spiffe://td.example/ns/default/sa/web");
  ASSERT_TRUE(s.waypoint);
  EXPECT_EQ(s.weighted_waypoints[0].weight, 3U);
  EXPECT_EQ(s.load_balancing.mode, LoadBalancing::Mode::failover);
  EXPECT_EQ(s.load_balancing.health_policy, LoadBalancing::HealthPolicy::allow_all);
  EXPECT_EQ(s.load_balancing.routing_preference,
            (std::vector{LoadBalancing::Scope::network, LoadBalancing::Scope::region}));
  EXPECT_EQ(s.ip_families, IpFamilies::ipv4_only);
  EXPECT_TRUE(s.canonical);
  EXPECT_EQ(s.visibility, Visibility::namespace_);
  EXPECT_EQ(s.endpoints[0].workload_uid, "default/waypoint");
}

TEST(LocalFile, ReadsEveryFieldOfAPolicy) {
  const Model model = accepted(kEverything);
  ASSERT_EQ(model.policies.size(), 1U);
  const Authorization& p = model.policies[0];
  EXPECT_EQ(p.key(), "default/p1");
  EXPECT_EQ(p.scope, Authorization::Scope::workload_selector);
  EXPECT_EQ(p.action, Authorization::Action::deny);
  EXPECT_TRUE(p.dry_run);
  const Match& m = p.rules.at(0).clauses.at(0).matches.at(0);
  EXPECT_EQ(m.namespaces[0].type, StringMatch::Type::exact);
  EXPECT_EQ(m.namespaces[0].value, "a");
  EXPECT_EQ(m.not_namespaces[0].type, StringMatch::Type::prefix);
  EXPECT_EQ(m.principals[0].type, StringMatch::Type::suffix);
  EXPECT_EQ(m.not_principals[0].type, StringMatch::Type::presence);
  EXPECT_EQ(m.source_ips[0], packet::Prefix::parse("10.0.0.0/8"));
  EXPECT_EQ(m.not_source_ips[0], packet::Prefix::parse("10.1.0.0/16"));
  EXPECT_EQ(m.destination_ips[0], packet::Prefix::parse("fd00::/8"));
  EXPECT_EQ(m.not_destination_ips[0], packet::Prefix::parse("10.0.0.7/32"));
  EXPECT_EQ(m.destination_ports[0], 80);
  EXPECT_EQ(m.not_destination_ports[0], 81);
  EXPECT_EQ(m.service_accounts[0].service_account, "s");
  EXPECT_EQ(m.not_service_accounts[0].namespace_, "m");
}

TEST(LocalFile, PresenceIsReadInEverySpelling) {
  for (const char* spelling : {"!Presence", "!Presence []", "{Presence: }", "{Presence: []}"}) {
    const std::string text =
        std::string(
            "policies:\n- {name: p, namespace: n, scope: Global, action: Deny, rules: "
            "[[[{notPrincipals: [") +
        spelling + " ]}]]]}\n";
    const Model model = accepted(text);
    EXPECT_EQ(model.policies[0].rules[0].clauses[0].matches[0].not_principals[0].type,
              StringMatch::Type::presence)
        << spelling;
  }
}

TEST(LocalFile, KnowsItsKeys) {
  const auto keys = local_file_keys();
  for (const char* key : {"workloads[].workloadIps[]", "workloads[].waypoint.hboneMtlsPort",
                          "services[].loadBalancer.mode", "services[].endpoints.UID.port",
                          "policies[].rules[][][].notPrincipals[]"}) {
    EXPECT_NE(std::find(keys.begin(), keys.end(), key), keys.end()) << key;
  }
}

TEST(LocalFile, IsRefusedWholeWithPlaceAndReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "m.yaml:0: "},
      {"workload: []\n", "m.yaml:1:1: unknown key \"workload\""},
      {"workloads:\n- workloadIps: [10.0.0.1]\n  namespace: n\n  nam: x\n",
       "m.yaml:4:3: unknown key \"nam\""},
      {"workloads:\n- workloadIps: [10.0.0.1]\n  name: x\n",
       "m.yaml:2:3: \"namespace\" is missing"},
      {"workloads:\n- {workloadIps: [10.0.0.256], namespace: n, name: x}\n",
       "m.yaml:2:18: \"10.0.0.256\" is no IPv4 or IPv6 address"},
      {"workloads:\n- {workloadIps: [], namespace: n}\n", "m.yaml:2:3: has no uid and no name"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x}\n- {workloadIps: [], namespace: n, "
       "name: x}\n",
       "m.yaml:3:3: a second workload with the uid n/x"},
      {"workloads:\n- {workloadIps: [10.0.0.1], namespace: n, name: x}\n- {workloadIps: "
       "[10.0.0.1], namespace: n, name: y}\n",
       "m.yaml:3:3: a second workload with the address 10.0.0.1"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x, protocol: HTTP}\n",
       "m.yaml:2:54: \"HTTP\" is none of: TCP, HBONE"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x, services: {n/h: {80: 80}}}\n",
       "m.yaml:2:3: serves n/h, which is no service of this file"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x, capacity: -1}\n",
       "m.yaml:2:54: \"-1\" is no number from 0 to 4294967295"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x, waypoint: {destination: n/w, "
       "hboneMtlsPort: 15008}}\n",
       "m.yaml:2:3: waypoint n/w is no service or workload of this file"},
      {"workloads:\n- {workloadIps: [], namespace: n, name: x, serviceAccount: \"a/b\"}\n",
       "m.yaml:2:3: spiffe://cluster.local/ns/n/sa/a/b is no SPIFFE id of Istio's form"},
      {"services:\n- {name: s, namespace: n, hostname: h, vips: [10.96.0.1], ports: {}}\n",
       "m.yaml:2:47: \"10.96.0.1\" has no \"NETWORK/\" in front"},
      {"services:\n- {name: s, namespace: n, hostname: h, vips: [], ports: {65536: 1}}\n",
       "m.yaml:2:58: \"65536\" is no number from 1 to 65535"},
      {"services:\n- {name: s, namespace: n, hostname: h, vips: [], ports: {}}\n- {name: s, "
       "namespace: n, hostname: h, vips: [], ports: {}}\n",
       "m.yaml:3:3: a second service n/h"},
      {"services:\n- {name: s, namespace: n, hostname: h, vips: [/1.1.1.1, /1.1.1.1], ports: {}}\n",
       "m.yaml:2:3: a second service of n with the address 1.1.1.1"},
      {"services:\n- {name: s, namespace: n, hostname: h, vips: [], ports: {}, subjectAltNames: "
       "[x]}\n",
       "m.yaml:2:79: \"x\" is no SPIFFE id of Istio's form"},
      {"policies:\n- {name: p, namespace: n, scope: Global, action: Allow, rules: "
       "[[[{principals: [x]}]]]}\n",
       "m.yaml:2:81: expected one of: Exact, Prefix, Suffix, Presence"},
      {"policies:\n- {name: p, namespace: n, scope: Global, action: Audit, rules: []}\n",
       "m.yaml:2:50: \"Audit\" is none of: Allow, Deny"},
      {"policies:\n- {name: p, namespace: n, scope: Global, action: Allow, rules: "
       "[[[{sourceIps: [10.0.0.1/8]}]]]}\n",
       "m.yaml:2:80: \"10.0.0.1/8\" is no CIDR block (ADDRESS/LENGTH without host bits)"},
  };
  for (const auto& [text, reason] : cases) {
    if (std::string_view(text).empty()) {
      EXPECT_NE(refusal(text), "");
    } else {
      EXPECT_EQ(refusal(text), reason) << text;
    }
  }
}

TEST(LocalFile, Istio118KnowsNoServiceAccounts) {
  const char* text =
      "policies:\n- {name: p, namespace: n, scope: Global, action: Allow, rules: "
      "[[[{serviceAccounts: [{namespace: n, serviceAccount: s}]}]]]}\n";
  EXPECT_EQ(refusal(text, Profile::head), "");
  EXPECT_EQ(refusal(text, Profile::v1_18),
            "m.yaml:2:3: serviceAccounts needs profile head: 1.18 does not know it");
}

TEST(LocalFile, SeveralNamespacesMayShareAVip) {
  EXPECT_EQ(
      refusal("services:\n- {name: s, namespace: n, hostname: h, vips: [/1.1.1.1], ports: {}}\n"
              "- {name: s, namespace: m, hostname: h, vips: [/1.1.1.1], ports: {}}\n"),
      "");
}

}  // namespace
}  // namespace isthmus::mesh
