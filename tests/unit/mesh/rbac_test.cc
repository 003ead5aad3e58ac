// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/rbac.h"

#include <gtest/gtest.h>
#include <string>

#include "support/mesh.h"

namespace isthmus::mesh {
namespace {

using test::at;
using test::ip;
using Why = RbacDecision::Why;

constexpr std::string_view kSleep = "spiffe://cluster.local/ns/default/sa/sleep";
constexpr std::string_view kOther = "spiffe://other.td/ns/prod/sa/web";

Connection connection(std::string_view uri, std::string_view source = "10.0.0.1",
                      std::string_view destination = "10.0.0.2:8080") {
  Connection out;
  if (!uri.empty()) out.source_identity = Identity::parse(uri);
  out.source = ip(source);
  out.destination = at(destination);
  return out;
}

// The destination default/server with these policies (YAML list items), and its own list of names.
RbacDecision decide(Profile profile, const std::string& policies, const Connection& c,
                    const std::string& own = "[]") {
  const test::Mesh mesh(
      "workloads:\n- {name: server, namespace: default, workloadIps: [10.0.0.2], "
      "authorizationPolicies: " +
      own + "}\n" + (policies.empty() ? "" : "policies:\n" + policies));
  return evaluate(profile, *mesh->find_workload(ip("10.0.0.2")), c);
}

std::string policy(const std::string& action, const std::string& rules,
                   const std::string& more = "name: p, namespace: default, scope: Namespace") {
  return "- {" + more + ", action: " + action + ", rules: " + rules + "}\n";
}

// Whether one match (in one clause of one rule) holds, seen through a DENY policy.
bool match_holds(Profile profile, const std::string& match, const Connection& c) {
  return !decide(profile, policy("Deny", "[[[" + match + "]]]"), c).allowed;
}

struct MatchCase {
  const char* match;
  bool sleep;      // from 10.0.0.1 as default/sleep
  bool other;      // from 192.168.0.9 as other.td prod/web, to port 9090 of fd00::2
  bool anonymous;  // from 10.0.0.1 without identity
};

TEST(RbacMatch, TruthTableOfEveryField) {
  const MatchCase cases[] = {
      {"{namespaces: [!Exact default]}", true, false, false},
      {"{namespaces: [!Exact default, !Exact prod]}", true, true, false},
      {"{namespaces: [!Prefix de]}", true, false, false},
      {"{namespaces: [!Suffix od]}", false, true, false},
      {"{namespaces: [!Presence ]}", true, true, false},
      {"{notNamespaces: [!Exact default]}", false, true, true},
      {"{notNamespaces: [!Presence ]}", false, false, true},
      {"{principals: [!Exact cluster.local/ns/default/sa/sleep]}", true, false, false},
      {"{principals: [!Exact \"spiffe://cluster.local/ns/default/sa/sleep\"]}", false, false,
       false},
      {"{principals: [!Prefix cluster.local/]}", true, false, false},
      {"{principals: [!Suffix /sa/web]}", false, true, false},
      {"{principals: [!Presence ]}", true, true, false},
      {"{notPrincipals: [!Exact cluster.local/ns/default/sa/sleep]}", false, true, true},
      {"{notPrincipals: [!Presence ]}", false, false, true},
      {"{sourceIps: [10.0.0.0/8]}", true, false, true},
      {"{notSourceIps: [10.0.0.0/8]}", false, true, false},
      {"{destinationIps: [\"fd00::/8\"]}", false, true, false},
      {"{notDestinationIps: [\"fd00::/8\"]}", true, false, true},
      {"{destinationPorts: [8080]}", true, false, true},
      {"{destinationPorts: [1, 9090]}", false, true, false},
      {"{notDestinationPorts: [8080]}", false, true, false},
      {"{serviceAccounts: [{namespace: default, serviceAccount: sleep}]}", true, false, false},
      {"{serviceAccounts: [{namespace: prod, serviceAccount: sleep}]}", false, false, false},
      {"{notServiceAccounts: [{namespace: default, serviceAccount: sleep}]}", false, true, true},
      {"{namespaces: [!Exact default], destinationPorts: [8080]}", true, false, false},
      {"{namespaces: [!Exact default], destinationPorts: [9090]}", false, false, false},
  };
  const Connection sleep = connection(kSleep);
  const Connection other = connection(kOther, "192.168.0.9", "[fd00::2]:9090");
  const Connection anonymous = connection("");
  for (const auto& c : cases) {
    for (const Profile profile : {Profile::v1_18, Profile::head}) {
      EXPECT_EQ(match_holds(profile, c.match, sleep), c.sleep) << c.match;
      EXPECT_EQ(match_holds(profile, c.match, other), c.other) << c.match;
      EXPECT_EQ(match_holds(profile, c.match, anonymous), c.anonymous) << c.match;
    }
  }
}

TEST(RbacMatch, ServiceAccountIgnoresTheTrustDomain) {
  EXPECT_TRUE(match_holds(Profile::head,
                          "{serviceAccounts: [{namespace: prod, serviceAccount: web}]}",
                          connection(kOther)));
}

// rules, then whether a connection of default/sleep to port 8080 matches under 1.18 and head.
struct RuleCase {
  const char* rules;
  bool v1_18;
  bool head;
};

TEST(RbacRules, TruthTableOfBothProfiles) {
  const RuleCase cases[] = {
      {"[]", false, false},        // no rules: never
      {"[[]]", true, true},        // a rule without clauses: always
      {"[[[]]]", true, true},      // a clause without matches: always
      {"[[[{}]]]", false, false},  // an empty match: never
      {"[[[{destinationPorts: [8080]}]]]", true, true},
      {"[[[{destinationPorts: [1]}]]]", false, false},
      // Matches of one clause: all of them in 1.18 (its bug), any of them at head.
      {"[[[{destinationPorts: [8080]}, {destinationPorts: [1]}]]]", false, true},
      {"[[[{destinationPorts: [8080]}, {namespaces: [!Exact default]}]]]", true, true},
      // An empty match beside one that holds: spoils the clause in 1.18, is skipped at head.
      {"[[[{destinationPorts: [8080]}, {}]]]", false, true},
      {"[[[{}, {destinationPorts: [8080]}]]]", false, true},
      {"[[[{}, {}]]]", false, false},
      // Clauses of one rule: all.
      {"[[[{destinationPorts: [8080]}], [{destinationPorts: [1]}]]]", false, false},
      {"[[[{destinationPorts: [8080]}], [{namespaces: [!Exact default]}]]]", true, true},
      {"[[[{destinationPorts: [8080]}], []]]", true, true},
      // Rules: any.
      {"[[[{destinationPorts: [1]}]], [[{destinationPorts: [8080]}]]]", true, true},
  };
  const Connection sleep = connection(kSleep);
  for (const auto& c : cases) {
    EXPECT_EQ(!decide(Profile::v1_18, policy("Deny", c.rules), sleep).allowed, c.v1_18) << c.rules;
    EXPECT_EQ(!decide(Profile::head, policy("Deny", c.rules), sleep).allowed, c.head) << c.rules;
    EXPECT_EQ(decide(Profile::v1_18, policy("Allow", c.rules), sleep).allowed, c.v1_18) << c.rules;
    EXPECT_EQ(decide(Profile::head, policy("Allow", c.rules), sleep).allowed, c.head) << c.rules;
  }
}

constexpr const char* kMatch = "[[[{destinationPorts: [8080]}]]]";
constexpr const char* kNoMatch = "[[[{destinationPorts: [1]}]]]";

TEST(RbacOrder, NoPolicyAllows) {
  const auto d = decide(Profile::head, "", connection(""));
  EXPECT_TRUE(d.allowed);
  EXPECT_EQ(d.why, Why::no_policy);
}

TEST(RbacOrder, DenyWinsOverAllow) {
  const std::string both = policy("Allow", kMatch) +
                           policy("Deny", kMatch, "name: d, namespace: default, scope: Namespace");
  const auto d = decide(Profile::head, both, connection(kSleep));
  EXPECT_FALSE(d.allowed);
  EXPECT_EQ(d.why, Why::deny_matched);
}

TEST(RbacOrder, OnlyDenyPoliciesThatDoNotMatchAllow) {
  EXPECT_TRUE(decide(Profile::head, policy("Deny", kNoMatch), connection(kSleep)).allowed);
}

TEST(RbacOrder, AllowPoliciesThatDoNotMatchDeny) {
  const auto d = decide(Profile::head, policy("Allow", kNoMatch), connection(kSleep));
  EXPECT_FALSE(d.allowed);
  EXPECT_EQ(d.why, Why::no_allow_matched);
  EXPECT_EQ(d.policy, kNoName);
}

TEST(RbacOrder, NamesThePolicyAndTheRuleThatDecided) {
  const test::Mesh mesh(
      "workloads:\n- {name: server, namespace: default, workloadIps: [10.0.0.2]}\npolicies:\n" +
      policy("Deny", "[[[{destinationPorts: [1]}]], [[{destinationPorts: [8080]}]]]"));
  const auto d = evaluate(Profile::head, *mesh->find_workload(ip("10.0.0.2")), connection(kSleep));
  EXPECT_EQ(mesh->name(d.policy), "default/p");
  EXPECT_EQ(d.rule, 1);
}

TEST(RbacScope, PoliciesComeFromTheNamespaceTheRootAndTheWorkloadsList) {
  const Connection c = connection(kSleep);
  const auto allowed = [&](const char* where, const char* own = "[]") {
    return decide(Profile::head, policy("Deny", kMatch, where), c, own).allowed;
  };
  EXPECT_FALSE(allowed("name: p, namespace: default, scope: Namespace"));
  EXPECT_TRUE(allowed("name: p, namespace: prod, scope: Namespace"));
  EXPECT_FALSE(allowed("name: p, namespace: istio-system, scope: Global"));
  EXPECT_TRUE(allowed("name: p, namespace: default, scope: WorkloadSelector"));
  EXPECT_FALSE(allowed("name: p, namespace: default, scope: WorkloadSelector", "[default/p]"));
}

TEST(RbacScope, AReferencedPolicyThatIsMissingFailsClosed) {
  const auto d = decide(Profile::head, "", connection(kSleep), "[default/gone]");
  EXPECT_FALSE(d.allowed);
  EXPECT_EQ(d.why, Why::policy_missing);
  // Also beside an ALLOW that matches.
  EXPECT_FALSE(
      decide(Profile::head, policy("Allow", kMatch), connection(kSleep), "[default/gone]").allowed);
}

constexpr const char* kStrict =
    "- {name: istio_converted_static_strict, namespace: istio-system, scope: Global, action: "
    "Deny, rules: [[[{notPrincipals: [!Presence ]}]]]}\n";

TEST(RbacStrict, DeniesAnonymousPeersAndSaysWhy) {
  for (const Profile profile : {Profile::v1_18, Profile::head}) {
    const auto d = decide(profile, kStrict, connection(""));
    EXPECT_FALSE(d.allowed);
    EXPECT_EQ(d.why, Why::strict);
    EXPECT_TRUE(decide(profile, kStrict, connection(kSleep)).allowed);
  }
}

TEST(RbacDryRun, IsReportedAndNotEnforced) {
  const std::string dry =
      policy("Deny", kMatch, "name: p, namespace: default, scope: Namespace, dryRun: true");
  const auto d = decide(Profile::head, dry, connection(kSleep));
  EXPECT_TRUE(d.allowed);
  EXPECT_NE(d.dry_run, kNoName);
  const std::string dry_allow =
      policy("Allow", kNoMatch, "name: p, namespace: default, scope: Namespace, dryRun: true");
  EXPECT_TRUE(decide(Profile::head, dry_allow, connection(kSleep)).allowed);
}

}  // namespace
}  // namespace isthmus::mesh
