// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Authorizations in the local file: rules are lists of clauses, clauses lists of matches.
#include "mesh/local_file_fields.h"
#include "yaml/values.h"

namespace isthmus::mesh {

namespace {

using yaml::Field;
using yaml::Node;
using enum yaml::Presence;

constexpr size_t kMaxRules = 65535;  // a decision names its rule in 16 bits

StringMatch::Type match_type(const Node& where, std::string_view name) {
  if (name == "Exact") return StringMatch::Type::exact;
  if (name == "Prefix") return StringMatch::Type::prefix;
  if (name == "Suffix") return StringMatch::Type::suffix;
  if (name == "Presence") return StringMatch::Type::presence;
  throw yaml::Failure(where, "expected one of: Exact, Prefix, Suffix, Presence");
}

// "!Exact value" or "Exact: value", as versions of serde_yaml write an enum; Presence has no value.
StringMatch string_match(const Node& node) {
  const Node* value = &node;
  StringMatch match;
  if (node.tag.starts_with('!')) {
    match.type = match_type(node, std::string_view(node.tag).substr(1));
  } else if (node.kind == Node::Kind::map && node.keys.size() == 1) {
    match.type = match_type(node, node.keys[0].text);
    value = &node.items[0];
  } else {
    match_type(node, {});
  }
  if (match.type != StringMatch::Type::presence) {
    match.value = yaml::text(*value);
  } else if (!value->items.empty() || !value->text.empty()) {
    throw yaml::Failure(*value, "Presence takes no value");
  }
  return match;
}

constexpr Field<ServiceAccountMatch> kAccountFields[] = {
    {"namespace", required,
     [](const Node& n, ServiceAccountMatch& m) { m.namespace_ = yaml::text(n); }},
    {"serviceAccount", required,
     [](const Node& n, ServiceAccountMatch& m) { m.service_account = yaml::text(n); }},
};

void list_account_keys(const std::string& path, std::vector<std::string>& keys) {
  yaml::list_keys<ServiceAccountMatch>(kAccountFields, path, keys);
}

ServiceAccountMatch service_account(const Node& node) {
  ServiceAccountMatch match;
  yaml::read_map<ServiceAccountMatch>(node, kAccountFields, match);
  return match;
}

template <auto Member>
void strings(const Node& node, Match& match) {
  match.*Member = yaml::list(node, string_match);
}
template <auto Member>
void blocks(const Node& node, Match& match) {
  match.*Member = yaml::list(node, yaml::prefix);
}
template <auto Member>
void ports(const Node& node, Match& match) {
  match.*Member = yaml::list(node, [](const Node& n) { return yaml::integer<uint16_t>(n, 1); });
}
template <auto Member>
void accounts(const Node& node, Match& match) {
  match.*Member = yaml::list(node, service_account);
}

constexpr Field<Match> kMatchFields[] = {
    {"namespaces", optional, strings<&Match::namespaces>, nullptr, true},
    {"notNamespaces", optional, strings<&Match::not_namespaces>, nullptr, true},
    {"principals", optional, strings<&Match::principals>, nullptr, true},
    {"notPrincipals", optional, strings<&Match::not_principals>, nullptr, true},
    {"sourceIps", optional, blocks<&Match::source_ips>, nullptr, true},
    {"notSourceIps", optional, blocks<&Match::not_source_ips>, nullptr, true},
    {"destinationIps", optional, blocks<&Match::destination_ips>, nullptr, true},
    {"notDestinationIps", optional, blocks<&Match::not_destination_ips>, nullptr, true},
    {"destinationPorts", optional, ports<&Match::destination_ports>, nullptr, true},
    {"notDestinationPorts", optional, ports<&Match::not_destination_ports>, nullptr, true},
    {"serviceAccounts", optional, accounts<&Match::service_accounts>, list_account_keys, true},
    {"notServiceAccounts", optional, accounts<&Match::not_service_accounts>, list_account_keys,
     true},
};

Match match(const Node& node) {
  Match out;
  yaml::read_map<Match>(node, kMatchFields, out);
  return out;
}

Clause clause(const Node& node) {
  return {yaml::list(node, match)};
}
Rule rule(const Node& node) {
  return {yaml::list(node, clause)};
}

void list_match_keys(const std::string& path, std::vector<std::string>& keys) {
  yaml::list_keys<Match>(kMatchFields, path + "[][]", keys);
}

constexpr Field<Authorization> kPolicyFields[] = {
    {"name", required, [](const Node& n, Authorization& p) { p.name = yaml::text(n); }},
    {"namespace", required,
     [](const Node& n, Authorization& p) { p.namespace_ = yaml::text_or_empty(n); }},
    {"scope", required,
     [](const Node& n, Authorization& p) {
       p.scope = yaml::one_of<Authorization::Scope>(
           n, {{"Global", Authorization::Scope::global},
               {"Namespace", Authorization::Scope::namespace_},
               {"WorkloadSelector", Authorization::Scope::workload_selector}});
     }},
    {"action", required,
     [](const Node& n, Authorization& p) {
       p.action = yaml::one_of<Authorization::Action>(
           n, {{"Allow", Authorization::Action::allow}, {"Deny", Authorization::Action::deny}});
     }},
    {"rules", required,
     [](const Node& n, Authorization& p) {
       p.rules = yaml::list(n, rule);
       if (p.rules.size() > kMaxRules) throw yaml::Failure(n, "has more than 65535 rules");
     },
     list_match_keys, true},
    {"dryRun", optional, [](const Node& n, Authorization& p) { p.dry_run = yaml::boolean(n); }},
};

}  // namespace

std::span<const Field<Authorization>> policy_fields() {
  return kPolicyFields;
}

}  // namespace isthmus::mesh
