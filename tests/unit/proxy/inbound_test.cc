// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/inbound.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "support/mesh.h"

namespace isthmus::proxy {
namespace {

using test::at;
using test::ip;
using test::Mesh;

constexpr std::string_view kInboundMesh = R"(
workloads:
- {name: open, namespace: default, serviceAccount: open, workloadIps: [10.0.0.1], protocol: HBONE, node: a, services: {default/open.example: {81: 8181}}}
- {name: guarded, namespace: guarded, workloadIps: [10.0.0.2], protocol: HBONE, node: a}
- {name: strict, namespace: strict, workloadIps: [10.0.0.3], protocol: HBONE, node: a}
- {name: behind, namespace: default, workloadIps: [10.0.0.4], protocol: HBONE, node: a, waypoint: {destination: /10.0.3.3, hboneMtlsPort: 15008}}
- {name: lost, namespace: default, workloadIps: [10.0.0.5], protocol: HBONE, node: a, authorizationPolicies: [default/gone]}
- {name: tunnelled, namespace: default, workloadIps: [10.0.0.6], protocol: HBONE, node: a, applicationTunnel: {protocol: PROXY, port: 15088}}
- {name: sandwich, namespace: default, serviceAccount: sandwich, workloadIps: [10.0.0.7], protocol: HBONE, node: a}
- {name: sidecar, namespace: default, workloadIps: [10.0.0.8], protocol: HBONE, nativeTunnel: true, node: a}
- {name: served, namespace: default, workloadIps: [10.0.5.1], protocol: HBONE, node: e, waypoint: {destination: /10.0.0.7, hboneMtlsPort: 15008}}
- {name: wp, namespace: default, serviceAccount: waypoint, workloadIps: [10.0.3.3], protocol: HBONE, nativeTunnel: true, node: c}
- {name: remote, namespace: default, serviceAccount: client, workloadIps: [10.0.1.1], protocol: HBONE, node: b}
services:
- {name: open, namespace: default, hostname: open.example, vips: [/10.96.0.1], ports: {80: 8080, 81: 0, 82: 0}}
policies:
- {name: allow, namespace: guarded, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/default/sa/client], destinationPorts: [8080]}]]]}
- {name: istio_converted_static_strict, namespace: strict, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [!Presence ]}]]]}
)";

constexpr std::string_view kClient = "spiffe://cluster.local/ns/default/sa/client";
constexpr std::string_view kWaypoint = "spiffe://cluster.local/ns/default/sa/waypoint";
constexpr std::string_view kStranger = "spiffe://cluster.local/ns/other/sa/stranger";

class InboundTest : public testing::Test {
 protected:
  struct Asked {
    std::string_view authority;
    std::string_view to;
    std::string_view peer = kClient;
    std::string_view method = "CONNECT";
    std::string_view forwarded;
    std::string_view from = "10.0.1.1:4000";
  };
  InboundDecision decide(Profile profile, const Asked& asked) {
    ConnectRequest request;
    request.method = asked.method;
    request.authority = asked.authority;
    request.forwarded = asked.forwarded;
    request.peer = mesh::Identity::parse(asked.peer);
    request.source = at(asked.from);
    request.original_destination = {ip(asked.to), 15008};
    return decide_inbound_hbone(*mesh_, {.profile = profile, .own_addresses = own_}, request);
  }
  InboundDecision plain(Profile profile, std::string_view from, std::string_view to,
                        bool past_waypoint = false) {
    return decide_inbound_plaintext(
        *mesh_,
        {.profile = profile, .own_addresses = own_, .plaintext_past_waypoint = past_waypoint},
        {at(from), at(to)});
  }

  Mesh mesh_{kInboundMesh};
  std::vector<packet::IpAddress> own_ = {ip("10.0.0.9")};
};

TEST_F(InboundTest, AcceptedConnectGoesToThePodFromTheClientsAddress) {
  for (const Profile profile : test::kProfiles) {
    const auto d = decide(profile, {"10.0.0.1:8080", "10.0.0.1"});
    EXPECT_EQ(d.status, 200);
    EXPECT_EQ(d.upstream, at("10.0.0.1:8080"));
    EXPECT_EQ(d.spoofed_source, ip("10.0.1.1"));
    EXPECT_EQ(mesh_->identity(d.destination_identity), "spiffe://cluster.local/ns/default/sa/open");
  }
}

struct CodeCase {
  const char* what;
  const char* method;
  const char* authority;
  const char* to;
  uint16_t v1_18;
  uint16_t head;
};

TEST_F(InboundTest, CodesOfBothProfiles) {
  const CodeCase cases[] = {
      {"method is not CONNECT", "GET", "10.0.0.1:8080", "10.0.0.1", 404, 400},
      {"method before authority", "GET", "junk", "10.0.0.1", 404, 400},
      {"authority cannot be parsed", "CONNECT", "junk", "10.0.0.1", 400, 400},
      {"authority without port", "CONNECT", "10.0.0.1", "10.0.0.1", 400, 400},
      {"authority of another pod", "CONNECT", "10.0.0.2:8080", "10.0.0.1", 400, 400},
      {"unknown pod", "CONNECT", "10.0.0.99:80", "10.0.0.99", 404, 503},
      {"pod of another node", "CONNECT", "10.0.1.1:80", "10.0.1.1", 404, 503},
      {"known hostname", "CONNECT", "open.example:80", "10.0.0.1", 400, 200},
      {"unknown hostname", "CONNECT", "gone.example:80", "10.0.0.1", 400, 503},
      {"hostname without the port", "CONNECT", "open.example:99", "10.0.0.1", 400, 503},
      {"a proxy's port", "CONNECT", "10.0.0.1:15008", "10.0.0.1", 200, 503},
      {"a proxy's port", "CONNECT", "10.0.0.1:15001", "10.0.0.1", 200, 503},
      {"a proxy's port", "CONNECT", "10.0.0.1:15006", "10.0.0.1", 200, 503},
      {"RBAC allows", "CONNECT", "10.0.0.2:8080", "10.0.0.2", 200, 200},
      {"RBAC denies the port", "CONNECT", "10.0.0.2:8081", "10.0.0.2", 401, 401},
      {"a policy is missing", "CONNECT", "10.0.0.5:80", "10.0.0.5", 401, 401},
      {"waypoint bypassed", "CONNECT", "10.0.0.4:80", "10.0.0.4", 401, 200},
      {"STRICT with identity", "CONNECT", "10.0.0.3:80", "10.0.0.3", 200, 200},
  };
  for (const auto& c : cases) {
    const Asked asked{.authority = c.authority, .to = c.to, .method = c.method};
    EXPECT_EQ(decide(Profile::v1_18, asked).status, c.v1_18) << c.what;
    EXPECT_EQ(decide(Profile::head, asked).status, c.head) << c.what;
    for (const Profile profile : test::kProfiles) {
      const auto d = decide(profile, asked);
      EXPECT_EQ(d.status == 200, d.reason == stats::Reason::count_) << c.what;
    }
  }
}

TEST_F(InboundTest, RbacDeniesByReason) {
  const auto d = decide(Profile::v1_18, {"10.0.0.2:8080", "10.0.0.2", kStranger});
  EXPECT_EQ(d.status, 401);
  EXPECT_EQ(d.reason, stats::Reason::mesh_rbac_not_allowed);
  const auto missing = decide(Profile::v1_18, {"10.0.0.5:80", "10.0.0.5"});
  EXPECT_EQ(missing.reason, stats::Reason::mesh_policy_missing);
  EXPECT_EQ(mesh_->name(missing.rbac.policy), "default/gone");
}

TEST_F(InboundTest, Istio118TrustsThePodsOwnWaypoint) {
  const auto d = decide(Profile::v1_18, {.authority = "10.0.0.4:80",
                                         .to = "10.0.0.4",
                                         .peer = kWaypoint,
                                         .forwarded = "for=10.0.7.7",
                                         .from = "10.0.3.3:4000"});
  EXPECT_EQ(d.status, 200);
  EXPECT_TRUE(d.from_waypoint);
  EXPECT_EQ(d.spoofed_source, ip("10.0.7.7"));
  const auto without = decide(
      Profile::v1_18,
      {.authority = "10.0.0.4:80", .to = "10.0.0.4", .peer = kWaypoint, .from = "10.0.3.3:4000"});
  EXPECT_EQ(without.spoofed_source, ip("10.0.3.3"));
}

TEST_F(InboundTest, APodThatReachesItselfThroughItsWaypointSeesTheWaypoint) {
  const auto d = decide(Profile::v1_18, {.authority = "10.0.0.4:80",
                                         .to = "10.0.0.4",
                                         .peer = kWaypoint,
                                         .forwarded = "for=10.0.0.4",
                                         .from = "10.0.3.3:4000"});
  EXPECT_EQ(d.spoofed_source, ip("10.0.3.3"));
}

TEST_F(InboundTest, NobodyElsesForwardedIsTrusted) {
  const Asked asked{.authority = "10.0.0.1:80", .to = "10.0.0.1", .forwarded = "for=10.0.7.7"};
  for (const Profile profile : test::kProfiles) {
    EXPECT_EQ(decide(profile, asked).spoofed_source, ip("10.0.1.1"));
  }
  const Asked waypoint{.authority = "10.0.0.4:80",
                       .to = "10.0.0.4",
                       .peer = kWaypoint,
                       .forwarded = "for=10.0.7.7",
                       .from = "10.0.3.3:4000"};
  EXPECT_EQ(decide(Profile::head, waypoint).spoofed_source, ip("10.0.3.3"));
}

TEST_F(InboundTest, AWaypointSkipsNoPolicyOfPodsThatItDoesNotServe) {
  const auto d =
      decide(Profile::v1_18, {.authority = "10.0.0.2:8080", .to = "10.0.0.2", .peer = kWaypoint});
  EXPECT_EQ(d.status, 401);
  EXPECT_FALSE(d.from_waypoint);
}

TEST_F(InboundTest, HeadTranslatesAHostnamesPort) {
  EXPECT_EQ(decide(Profile::head, {"open.example:80", "10.0.0.1"}).upstream, at("10.0.0.1:8080"));
  EXPECT_EQ(decide(Profile::head, {"open.example:81", "10.0.0.1"}).upstream, at("10.0.0.1:8181"));
  const auto unnamed = decide(Profile::head, {"open.example:82", "10.0.0.1"});
  EXPECT_EQ(unnamed.status, 503);
  EXPECT_EQ(unnamed.reason, stats::Reason::proxy_unknown_hostname);
}

TEST_F(InboundTest, HeadLetsAnApplicationTunnelTakeForeignAuthorities) {
  const auto d = decide(Profile::head, {"10.96.0.1:80", "10.0.0.6"});
  EXPECT_EQ(d.status, 200);
  EXPECT_EQ(d.upstream, at("10.0.0.6:15088"));
  EXPECT_EQ(decide(Profile::v1_18, {"10.96.0.1:80", "10.0.0.6"}).status, 400);
}

TEST_F(InboundTest, HeadLetsAWaypointTakeTheAddressesThatItServes) {
  const auto d = decide(Profile::head, {"10.0.5.1:80", "10.0.0.7"});
  EXPECT_EQ(d.status, 200);
  EXPECT_EQ(d.upstream, at("10.0.0.7:80"));
  EXPECT_EQ(decide(Profile::head, {"10.0.5.1:80", "10.0.0.1"}).status, 400);
}

TEST_F(InboundTest, APodThatTunnelsToItselfIsNotSpoofed) {
  const auto d = decide(Profile::v1_18,
                        {.authority = "10.0.0.1:80", .to = "10.0.0.1", .from = "10.0.0.1:4000"});
  EXPECT_EQ(d.status, 200);
  EXPECT_EQ(d.spoofed_source, packet::IpAddress());
}

TEST_F(InboundTest, AnAbsentPeerIdentityIsAnonymous) {
  EXPECT_EQ(decide(Profile::v1_18, {"10.0.0.3:80", "10.0.0.3", ""}).reason,
            stats::Reason::mesh_rbac_strict);
}

// ---- plaintext

TEST_F(InboundTest, PlaintextIsAnonymous) {
  for (const Profile profile : test::kProfiles) {
    const auto open = plain(profile, "10.0.1.1:4000", "10.0.0.1:80");
    EXPECT_EQ(open.status, 200);
    EXPECT_EQ(open.upstream, at("10.0.0.1:80"));
    EXPECT_EQ(open.spoofed_source, ip("10.0.1.1"));
    EXPECT_EQ(plain(profile, "10.0.1.1:4000", "10.0.0.2:8080").reason,
              stats::Reason::mesh_rbac_not_allowed);
  }
}

TEST_F(InboundTest, StrictRefusesPlaintextAndSaysSo) {
  for (const Profile profile : test::kProfiles) {
    const auto d = plain(profile, "10.0.1.1:4000", "10.0.0.3:80");
    EXPECT_EQ(d.status, 401);
    EXPECT_EQ(d.reason, stats::Reason::mesh_rbac_strict);
    EXPECT_EQ(mesh_->name(d.rbac.policy), "strict/istio_converted_static_strict");
  }
}

TEST_F(InboundTest, PlaintextPastAWaypointIsRefusedUnlessAllowed) {
  for (const Profile profile : test::kProfiles) {
    EXPECT_EQ(plain(profile, "10.0.1.1:4000", "10.0.0.4:80").reason,
              stats::Reason::proxy_waypoint_bypassed);
    EXPECT_EQ(plain(profile, "10.0.1.1:4000", "10.0.0.4:80", true).status, 200);
  }
}

TEST_F(InboundTest, PlaintextToWhatIsNotOursIsRefused) {
  EXPECT_EQ(plain(Profile::v1_18, "10.0.1.1:1", "10.0.0.99:80").reason,
            stats::Reason::proxy_unknown_destination);
  EXPECT_EQ(plain(Profile::v1_18, "10.0.0.1:1", "10.0.1.1:80").reason,
            stats::Reason::proxy_unknown_destination);
  EXPECT_EQ(plain(Profile::v1_18, "10.0.1.1:1", "10.0.0.9:80").reason,
            stats::Reason::proxy_self_call);
  EXPECT_EQ(plain(Profile::head, "10.0.1.1:1", "10.0.0.1:15001").reason,
            stats::Reason::proxy_self_call);
}

TEST_F(InboundTest, TheCertificateIsTheDestinationPods) {
  EXPECT_EQ(mesh_->identity(server_identity(*mesh_, ip("10.0.0.1"))),
            "spiffe://cluster.local/ns/default/sa/open");
  EXPECT_EQ(server_identity(*mesh_, ip("10.0.1.1")), mesh::kNoIdentity) << "another node's";
  EXPECT_EQ(server_identity(*mesh_, ip("10.0.0.8")), mesh::kNoIdentity) << "a sidecar";
  EXPECT_EQ(server_identity(*mesh_, ip("10.0.0.99")), mesh::kNoIdentity) << "unknown";
}

}  // namespace
}  // namespace isthmus::proxy
