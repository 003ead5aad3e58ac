// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/rbac.h"

#include <algorithm>

namespace isthmus::mesh {

namespace {

// One field of a Match: something of the positive list (or no list), nothing of the negative one.
template <typename T, typename Predicate>
bool field_matches(const std::vector<T>& any_of, const std::vector<T>& none_of,
                   Predicate predicate) noexcept {
  return (any_of.empty() || std::any_of(any_of.begin(), any_of.end(), predicate)) &&
         std::none_of(none_of.begin(), none_of.end(), predicate);
}

// Principals are written without the scheme, and the peer's must have it.
bool principal_matches(const StringMatch& match, std::string_view uri) noexcept {
  constexpr std::string_view kScheme = "spiffe://";
  return uri.starts_with(kScheme) && match.matches(uri.substr(kScheme.size()));
}

bool match_matches(const Match& match, const Connection& connection) noexcept {
  const auto& peer = connection.source_identity;
  const std::string_view uri = peer ? peer->uri : std::string_view();
  const std::string_view peer_namespace = peer ? peer->namespace_ : std::string_view();
  const auto holds = [](const packet::IpAddress& address) {
    return [&address](const packet::Prefix& block) { return block.contains(address); };
  };
  return field_matches(match.destination_ips, match.not_destination_ips,
                       holds(connection.destination.address)) &&
         field_matches(match.source_ips, match.not_source_ips, holds(connection.source)) &&
         field_matches(match.destination_ports, match.not_destination_ports,
                       [&](uint16_t port) { return port == connection.destination.port; }) &&
         field_matches(match.service_accounts, match.not_service_accounts,
                       [&](const ServiceAccountMatch& account) {
                         return peer && peer->namespace_ == account.namespace_ &&
                                peer->service_account == account.service_account;
                       }) &&
         field_matches(match.principals, match.not_principals,
                       [&](const StringMatch& m) { return principal_matches(m, uri); }) &&
         field_matches(match.namespaces, match.not_namespaces,
                       [&](const StringMatch& m) { return m.matches(peer_namespace); });
}

// A clause without matches holds. Head: one match is enough, an empty one contributes nothing.
// 1.18: every match must hold, and an empty one never does.
bool clause_matches(Profile profile, const Clause& clause, const Connection& connection) noexcept {
  const auto holds = [&](const Match& match) {
    return !match.empty() && match_matches(match, connection);
  };
  if (clause.matches.empty()) return true;
  return profile == Profile::head
             ? std::any_of(clause.matches.begin(), clause.matches.end(), holds)
             : std::all_of(clause.matches.begin(), clause.matches.end(), holds);
}

// The rule asks for a peer that has proved anything at all: PeerAuthentication's STRICT.
bool asks_for_identity(const Rule& rule) noexcept {
  for (const Clause& clause : rule.clauses) {
    for (const Match& match : clause.matches) {
      for (const StringMatch& principal : match.not_principals) {
        if (principal.type == StringMatch::Type::presence) return true;
      }
    }
  }
  return false;
}

}  // namespace

std::optional<uint16_t> matching_rule(Profile profile, const Authorization& policy,
                                      const Connection& connection) noexcept {
  for (size_t i = 0; i < policy.rules.size(); ++i) {
    const auto& clauses = policy.rules[i].clauses;
    const bool matches = std::all_of(clauses.begin(), clauses.end(), [&](const Clause& clause) {
      return clause_matches(profile, clause, connection);
    });
    if (matches) return static_cast<uint16_t>(i);
  }
  return {};
}

RbacDecision evaluate(Profile profile, const WorkloadEntry& destination,
                      const Connection& connection) noexcept {
  using Why = RbacDecision::Why;
  const PolicySet& set = *destination.policies;
  RbacDecision decision;
  for (const PolicyRef& ref : set.deny) {
    const auto rule = matching_rule(profile, *ref.policy, connection);
    if (!rule) continue;
    if (ref.policy->dry_run) {
      if (decision.dry_run == kNoName) decision.dry_run = ref.name;
      continue;
    }
    const bool strict = !connection.source_identity && asks_for_identity(ref.policy->rules[*rule]);
    decision.why = strict ? Why::strict : Why::deny_matched;
    decision.policy = ref.name;
    decision.rule = *rule;
    return decision;
  }
  if (set.missing != kNoName) {
    decision.why = Why::policy_missing;
    decision.policy = set.missing;
    return decision;
  }
  bool any_allow = false;
  for (const PolicyRef& ref : set.allow) {
    if (ref.policy->dry_run) continue;
    any_allow = true;
    if (const auto rule = matching_rule(profile, *ref.policy, connection)) {
      decision.allowed = true;
      decision.why = Why::allow_matched;
      decision.policy = ref.name;
      decision.rule = *rule;
      return decision;
    }
  }
  decision.allowed = !any_allow;
  decision.why = any_allow ? Why::no_allow_matched : Why::no_policy;
  return decision;
}

const char* text(RbacDecision::Why why) noexcept {
  using Why = RbacDecision::Why;
  switch (why) {
    case Why::no_policy:
      return "allowed: no ALLOW policy applies";
    case Why::allow_matched:
      return "allowed: an ALLOW policy matches";
    case Why::deny_matched:
      return "denied: a DENY policy matches";
    case Why::strict:
      return "denied: the policy asks for an identity (STRICT)";
    case Why::no_allow_matched:
      return "denied: no ALLOW policy matches";
    case Why::policy_missing:
      return "denied: a policy is named and missing";
  }
  return "";
}

}  // namespace isthmus::mesh
