// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The keys of everything but ports.
#include "config/fields.h"
#include "yaml/values.h"

namespace isthmus::config {

namespace {

using yaml::Failure;
using yaml::Field;
using yaml::Node;
using enum yaml::Presence;

template <auto Member, typename T>
void text_field(const Node& node, T& into) {
  into.*Member = yaml::text(node);
}

// Trust domains as SPIFFE writes them (SPIFFE-ID, section 2.1).
std::string trust_domain(const Node& node) {
  const std::string& name = yaml::text(node);
  for (const char c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!plain) throw Failure(node, fmt::format("\"{}\" is no trust domain ([a-z0-9._-]+)", name));
  }
  return name;
}

constexpr Field<ThisNode> kNodeFields[] = {
    {"name", required, text_field<&ThisNode::name, ThisNode>},
    {"hosts", optional, [](const Node& n, ThisNode& v) { v.hosts = yaml::list(n, yaml::address); },
     nullptr, true},
    {"network", optional, [](const Node& n, ThisNode& v) { v.network = yaml::text_or_empty(n); }},
    {"cluster", optional, text_field<&ThisNode::cluster, ThisNode>},
    {"trust_domain", optional,
     [](const Node& n, ThisNode& v) { v.trust_domain = trust_domain(n); }},
    {"trust_domain_aliases", optional,
     [](const Node& n, ThisNode& v) { v.trust_domain_aliases = yaml::list(n, trust_domain); },
     nullptr, true},
};

constexpr Field<Route> kRouteFields[] = {
    {"prefix", required, [](const Node& n, Route& r) { r.prefix = yaml::prefix(n); }},
    {"via", optional, [](const Node& n, Route& r) { r.via = yaml::address(n); }},
    {"port", required, text_field<&Route::port, Route>},
};

constexpr Field<Neighbour> kNeighbourFields[] = {
    {"address", required, [](const Node& n, Neighbour& v) { v.address = yaml::address(n); }},
    {"mac", required, [](const Node& n, Neighbour& v) { v.mac = yaml::mac(n); }},
    {"port", required, text_field<&Neighbour::port, Neighbour>},
};

constexpr Field<Workers> kWorkersFields[] = {
    {"idle", optional,
     [](const Node& n, Workers& w) {
       w.idle = yaml::one_of<Workers::Idle>(
           n, {{"adaptive", Workers::Idle::adaptive}, {"poll", Workers::Idle::poll}});
     }},
    {"idle_after_us", optional,
     [](const Node& n, Workers& w) { w.idle_after_us = yaml::integer<uint32_t>(n, 1, 1'000'000); }},
    {"handshake_threads", optional,
     [](const Node& n, Workers& w) { w.handshake_threads = yaml::integer<uint32_t>(n, 1, 64); }},
};

template <auto Member>
void count_field(const Node& node, Pools& pools) {
  pools.*Member = yaml::integer<uint32_t>(node, 256, 1U << 24);
}

constexpr Field<Pools> kPoolsFields[] = {
    {"small", optional, count_field<&Pools::small>},
    {"large", optional, count_field<&Pools::large>},
    {"clones", optional, count_field<&Pools::clones>},
};

template <auto Member, uint64_t Most, typename T>
void limit_field(const Node& node, T& into) {
  using Value = std::remove_reference_t<decltype(into.*Member)>;
  into.*Member = yaml::integer<Value>(node, 1, static_cast<Value>(Most));
}

// 0 is none.
template <auto Member>
void quota_field(const Node& node, WorkloadLimits& into) {
  using Value = std::remove_reference_t<decltype(into.*Member)>;
  constexpr uint64_t kMost = sizeof(Value) == sizeof(uint64_t) ? uint64_t{1} << 40 : 1U << 24;
  into.*Member = yaml::integer<Value>(node, 0, static_cast<Value>(kMost));
}

constexpr Field<WorkloadLimits> kWorkloadLimitFields[] = {
    {"flows", optional, quota_field<&WorkloadLimits::flows>},
    {"pending_tunnels", optional, quota_field<&WorkloadLimits::pending_tunnels>},
    {"held_syns", optional, quota_field<&WorkloadLimits::held_syns>},
    {"handshakes_per_second", optional, quota_field<&WorkloadLimits::handshakes_per_second>},
    {"pending_handshakes", optional, quota_field<&WorkloadLimits::pending_handshakes>},
    {"bytes_in_flight", optional, quota_field<&WorkloadLimits::bytes_in_flight>},
};

constexpr Field<Limits> kLimitsFields[] = {
    {"flows", optional, limit_field<&Limits::flows, 1U << 24, Limits>},
    {"tunnels", optional, limit_field<&Limits::tunnels, 1U << 20, Limits>},
    {"streams_per_tunnel", optional, limit_field<&Limits::streams_per_tunnel, 10000, Limits>},
    {"pending_handshakes", optional, limit_field<&Limits::pending_handshakes, 1U << 20, Limits>},
    {"records_per_key", optional,
     [](const Node& n, Limits& l) {
       // Few are for tests: a peer ends a connection over 32 KeyUpdates in a row without data.
       l.records_per_key = yaml::integer<uint32_t>(n, 64, Limits().records_per_key);
     }},
    {"per_workload", optional,
     [](const Node& n, Limits& l) {
       yaml::read_map<WorkloadLimits>(n, kWorkloadLimitFields, l.per_workload);
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<WorkloadLimits>(kWorkloadLimitFields, path, keys);
     }},
};

constexpr Field<Config> kMeshFields[] = {
    {"file", required, text_field<&Config::mesh_file, Config>},
};

constexpr Field<TestCa> kTestCaFields[] = {
    {"root_dir", optional, text_field<&TestCa::root_dir, TestCa>},
    {"write_pem_dir", optional, text_field<&TestCa::write_pem_dir, TestCa>},
    {"ttl_seconds", optional,
     [](const Node& n, TestCa& t) {
       t.ttl_seconds = yaml::integer<uint32_t>(n, 60, 365U * 86400);
     }},
};

constexpr Field<Identity> kIdentityFields[] = {
    {"pem_dir", optional, text_field<&Identity::pem_dir, Identity>},
    {"test_ca", optional,
     [](const Node& n, Identity& i) {
       yaml::read_map<TestCa>(n, kTestCaFields, i.test_ca.emplace());
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<TestCa>(kTestCaFields, path, keys);
     }},
};

constexpr Field<Console> kConsoleFields[] = {
    {"socket", required, text_field<&Console::socket, Console>},
};

constexpr Field<AccessLog> kAccessLogFields[] = {
    {"file", required, text_field<&AccessLog::file, AccessLog>},
    {"format", optional,
     [](const Node& n, AccessLog& v) {
       v.format = yaml::one_of<AccessLog::Format>(
           n, {{"text", AccessLog::Format::text}, {"json", AccessLog::Format::json}});
     }},
};

// "80" or "8000-8999".
capture::PortRange port_range(const Node& node) {
  const std::string& spelling = yaml::text(node);
  const size_t dash = spelling.find('-');
  Node part = node;
  part.text = spelling.substr(0, dash);
  capture::PortRange range;
  range.first = range.last = yaml::integer<uint16_t>(part);
  if (dash != std::string::npos) {
    part.text = spelling.substr(dash + 1);
    range.last = yaml::integer<uint16_t>(part, range.first);
  }
  return range;
}

uint8_t protocol(const Node& node) {
  if (node.text == "tcp") return 6;
  if (node.text == "udp") return 17;
  if (node.text == "sctp") return 132;
  return yaml::integer<uint8_t>(node);
}

constexpr Field<capture::Rule> kRuleFields[] = {
    {"direction", optional,
     [](const Node& n, capture::Rule& r) {
       using Direction = capture::Direction;
       r.direction = yaml::one_of<Direction>(n, {{"outbound", Direction::outbound},
                                                 {"inbound", Direction::inbound},
                                                 {"both", Direction::both}});
     }},
    {"action", required,
     [](const Node& n, capture::Rule& r) {
       r.action = yaml::one_of<capture::Action>(
           n, {{"bypass", capture::Action::bypass}, {"drop", capture::Action::drop}});
     }},
    {"source", optional, [](const Node& n, capture::Rule& r) { r.source = yaml::prefix(n); }},
    {"destination", optional,
     [](const Node& n, capture::Rule& r) { r.destination = yaml::prefix(n); }},
    {"source_ports", optional,
     [](const Node& n, capture::Rule& r) { r.source_ports = port_range(n); }},
    {"destination_ports", optional,
     [](const Node& n, capture::Rule& r) { r.destination_ports = port_range(n); }},
    {"protocol", optional, [](const Node& n, capture::Rule& r) { r.protocol = protocol(n); }},
};

template <typename T>
T read(const Node& node, std::span<const Field<T>> fields) {
  T out;
  yaml::read_map<T>(node, fields, out);
  return out;
}

constexpr Field<Document> kCaptureFields[] = {
    {"rules", optional,
     [](const Node& n, Document& d) {
       d.config.capture.rules =
           yaml::list(n, [](const Node& rule) { return read<capture::Rule>(rule, kRuleFields); });
       d.places.rules = &n;
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<capture::Rule>(kRuleFields, path, keys);
     },
     true},
    {"plaintext_past_waypoint", optional,
     [](const Node& n, Document& d) {
       d.config.capture.plaintext_past_waypoint = yaml::boolean(n);
     }},
};

// A section that is a map with a table of its own.
template <auto Member, const auto& Fields, typename T>
constexpr Field<Document> section(std::string_view key, yaml::Presence presence) {
  return {key, presence,
          [](const Node& n, Document& d) { yaml::read_map<T>(n, Fields, d.config.*Member); },
          [](const std::string& path, std::vector<std::string>& keys) {
            yaml::list_keys<T>(Fields, path, keys);
          }};
}

constexpr Field<Document> kDocumentFields[] = {
    {"profile", required,
     [](const Node& n, Document& d) {
       d.config.profile = yaml::one_of<mesh::Profile>(
           n, {{"1.18", mesh::Profile::v1_18}, {"head", mesh::Profile::head}});
     }},
    section<&Config::node, kNodeFields, ThisNode>("node", required),
    {"ports", required,
     [](const Node& n, Document& d) {
       d.config.ports =
           yaml::list(n, [](const Node& port) { return read<Port>(port, port_fields()); });
       d.places.ports = &n;
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Port>(port_fields(), path, keys);
     },
     true},
    {"routes", optional,
     [](const Node& n, Document& d) {
       d.config.routes =
           yaml::list(n, [](const Node& route) { return read<Route>(route, kRouteFields); });
       d.places.routes = &n;
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Route>(kRouteFields, path, keys);
     },
     true},
    {"neighbours", optional,
     [](const Node& n, Document& d) {
       d.config.neighbours = yaml::list(
           n, [](const Node& entry) { return read<Neighbour>(entry, kNeighbourFields); });
       d.places.neighbours = &n;
     },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Neighbour>(kNeighbourFields, path, keys);
     },
     true},
    section<&Config::workers, kWorkersFields, Workers>("workers", optional),
    section<&Config::pools, kPoolsFields, Pools>("pools", optional),
    section<&Config::limits, kLimitsFields, Limits>("limits", optional),
    {"mesh", required,
     [](const Node& n, Document& d) { yaml::read_map<Config>(n, kMeshFields, d.config); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Config>(kMeshFields, path, keys);
     }},
    section<&Config::identity, kIdentityFields, Identity>("identity", required),
    section<&Config::console, kConsoleFields, Console>("console", optional),
    section<&Config::access_log, kAccessLogFields, AccessLog>("access_log", optional),
    {"capture", optional,
     [](const Node& n, Document& d) { yaml::read_map<Document>(n, kCaptureFields, d); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Document>(kCaptureFields, path, keys);
     }},
};

}  // namespace

std::span<const Field<Document>> document_fields() {
  return kDocumentFields;
}

}  // namespace isthmus::config
