// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Lines as ztunnel of today writes them, but for what the gateway alone knows.
#include "access_log.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "support/mesh.h"

namespace isthmus::app {
namespace {

using config::AccessLog;
using Format = AccessLog::Format;
using flow::Kind;
using flow::Report;
using std::chrono::milliseconds;
using test::at;

constexpr std::string_view kMesh = R"(workloads:
- uid: c//Pod/default/shell
  name: shell-1
  namespace: default
  serviceAccount: shell
  node: a
  workloadIps: [10.244.0.24]
  protocol: HBONE
- uid: c//Pod/default/echo
  name: echo-1
  namespace: default
  serviceAccount: echo
  node: b
  workloadIps: [10.244.0.42]
  protocol: HBONE
  services: {default/echo.default.svc.cluster.local: {80: 80}}
services:
- name: echo
  namespace: default
  hostname: echo.default.svc.cluster.local
  vips: [/10.96.108.116]
  ports: {80: 80}
policies:
- {name: deny-intruder, namespace: default, scope: Namespace, action: Deny, rules: [[[{destinationPorts: [1]}]]]}
)";

constexpr SystemTime kWhen{std::chrono::sys_days(std::chrono::year(2026) / 6 / 1) +
                           std::chrono::microseconds(123456)};

class AccessLines : public testing::Test {
 protected:
  Report outbound() const {
    Report record;
    record.kind = Kind::outbound_hbone;
    record.capture = capture::Class::outbound_15001;
    record.client = {at("10.244.0.24:46238"), at("10.96.108.116:80")};
    record.upstream = {at("10.244.0.24:5000"), at("10.244.0.42:15008")};
    record.endpoint = at("10.244.0.42:80");
    record.source_identity = mesh->find_identity("spiffe://cluster.local/ns/default/sa/shell");
    record.peer = "spiffe://cluster.local/ns/default/sa/echo";
    record.authority = at("10.244.0.42:80");
    record.http_status = 200;
    record.at = flow::Moments(timer::Instant(milliseconds(1000)));
    record.at.mark(flow::kUpstream, timer::Instant(milliseconds(1004)));
    record.closed = timer::Instant(milliseconds(1013));
    record.bytes_to_upstream = 67;
    record.bytes_to_client = 490;
    return record;
  }
  std::string line(const Report& record, Format format = Format::text) const {
    return access_line(record, *mesh, format, kWhen);
  }
  test::Mesh mesh{kMesh};
};

TEST_F(AccessLines, OutboundHasZtunnelsFieldsInOrder) {
  EXPECT_EQ(line(outbound()),
            "2026-06-01T00:00:00.123456Z\tinfo\taccess\tconnection complete\t"
            "src.addr=10.244.0.24:46238 src.workload=\"shell-1\" src.namespace=\"default\" "
            "src.identity=\"spiffe://cluster.local/ns/default/sa/shell\" "
            "src.cluster=\"Kubernetes\" dst.addr=10.244.0.42:15008 "
            "dst.hbone_addr=10.244.0.42:80 dst.service=\"echo.default.svc.cluster.local\" "
            "dst.workload=\"echo-1\" dst.namespace=\"default\" "
            "dst.identity=\"spiffe://cluster.local/ns/default/sa/echo\" "
            "dst.cluster=\"Kubernetes\" direction=\"outbound\" bytes_sent=67 bytes_recv=490 "
            "duration=\"13ms\"\n");
}

TEST_F(AccessLines, JsonHasTheSameInTheSameOrder) {
  const std::string text = line(outbound(), Format::json);
  const auto json = nlohmann::ordered_json::parse(text);
  std::string names;
  for (const auto& [name, value] : json.items()) names += name + " ";
  EXPECT_EQ(names,
            "level time scope message src.addr src.workload src.namespace src.identity src.cluster "
            "dst.addr dst.hbone_addr dst.service dst.workload dst.namespace dst.identity "
            "dst.cluster direction bytes_sent bytes_recv duration ");
  EXPECT_EQ(json["bytes_recv"], 490);
  EXPECT_EQ(json["scope"], "access");
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(AccessLines, AStreamShowsTheIdentityThatItsPeerProved) {
  Report record = outbound();
  record.kind = Kind::inbound_stream;
  record.capture = capture::Class::inbound_hbone_15008;
  record.client = {at("10.244.0.24:5000"), at("10.244.0.42:15008")};
  record.upstream = {at("10.244.0.24:6000"), at("10.244.0.42:80")};
  record.source_identity = 0;
  record.destination_identity = mesh->find_identity("spiffe://cluster.local/ns/default/sa/echo");
  record.peer = "spiffe://cluster.local/ns/default/sa/shell";
  const std::string text = line(record);
  EXPECT_NE(text.find("src.identity=\"spiffe://cluster.local/ns/default/sa/shell\""),
            std::string::npos);
  EXPECT_NE(text.find("dst.addr=10.244.0.42:15008 dst.hbone_addr=10.244.0.42:80 "),
            std::string::npos);
  EXPECT_NE(text.find("dst.identity=\"spiffe://cluster.local/ns/default/sa/echo\""),
            std::string::npos);
  EXPECT_NE(text.find("direction=\"inbound\""), std::string::npos);
}

TEST_F(AccessLines, PlaintextHasNoIdentities) {
  Report record = outbound();
  record.kind = Kind::direct;
  EXPECT_EQ(line(record).find("identity"), std::string::npos);
  EXPECT_EQ(line(record).find("hbone"), std::string::npos);
}

TEST_F(AccessLines, AFailureBehindTheConnectSaysWhy) {
  Report record = outbound();
  record.reason = stats::Reason::gateway_reset;
  EXPECT_NE(line(record).find("\terror\taccess\tconnection complete\t"), std::string::npos);
  EXPECT_NE(line(record).find(" error=\"gateway.reset: "), std::string::npos);
}

TEST_F(AccessLines, ARefusalSaysWhoAskedAndWhy) {
  Report record = outbound();
  record.kind = Kind::refused;
  record.at = {};
  record.reason = stats::Reason::mesh_rbac_denied;
  record.policy = mesh.names->names.intern("default/deny-intruder");  // known: no new number
  record.http_status = 401;
  const std::string text = line(record);
  EXPECT_TRUE(text.starts_with(
      "2026-06-01T00:00:00.123456Z\twarn\taccess\tconnection failed\t"
      "src.addr=10.244.0.24:46238 dst.addr=10.96.108.116:80 direction=\"outbound\" "
      "error=\"mesh.rbac_denied: "))
      << text;
  EXPECT_NE(text.find(", policy default/deny-intruder, HTTP status 401\"\n"), std::string::npos)
      << text;
}

TEST_F(AccessLines, ARefusedConnectShowsTheIdentityThatItsPeerProvedAndWhatItAskedFor) {
  Report record = outbound();
  record.kind = Kind::refused;
  record.capture = capture::Class::inbound_hbone_15008;
  record.client = {at("10.244.0.24:5000"), at("10.244.0.42:15008")};
  record.peer = "spiffe://cluster.local/ns/default/sa/shell";
  record.at = {};
  record.reason = stats::Reason::mesh_rbac_denied;
  record.http_status = 401;
  EXPECT_TRUE(line(record).starts_with(
      "2026-06-01T00:00:00.123456Z\twarn\taccess\tconnection failed\tsrc.addr=10.244.0.24:5000 "
      "src.identity=\"spiffe://cluster.local/ns/default/sa/shell\" dst.addr=10.244.0.42:15008 "
      "dst.hbone_addr=10.244.0.42:80 direction=\"inbound\" error=\"mesh.rbac_denied: "))
      << line(record);
}

TEST_F(AccessLines, AFailedHandshakeNamesItsAlertAndAnOrderlyTunnelHasNoLine) {
  Report record = outbound();
  record.kind = Kind::tunnel;
  EXPECT_EQ(line(record), "");
  record.at = {};
  record.reason = stats::Reason::hbone_truncated;
  EXPECT_EQ(line(record), "") << "its streams have their lines";
  record.peer = {};
  record.reason = stats::Reason::tls_unknown_ca;
  record.tls_alert = 48;
  EXPECT_NE(line(record).find(", TLS alert 48 (unknown_ca)"), std::string::npos) << line(record);
}

TEST_F(AccessLines, WhatAPeerSentCannotForgeALine) {
  Report record = outbound();
  record.refused_authority.assign("x\" dst.addr=1.2.3.4\n\xff");
  const std::string text = line(record);
  EXPECT_NE(text.find("dst.hbone_addr=\"x\\\" dst.addr=1.2.3.4\\n"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(AccessLogFile, KeepsTheOrderAndTellsWhatWasLost) {
  const test::Mesh mesh(kMesh);
  const std::string path = testing::TempDir() + "access_log_" + std::to_string(getpid());
  {
    app::AccessLog log({path, Format::json}, 1);
    Report record;
    record.client = {at("10.244.0.24:1"), at("10.0.0.1:80")};
    for (uint16_t port = 1; port <= 5000; ++port) {
      record.client.source.port = port;
      log.ring(0).push(record);
    }
    EXPECT_EQ(log.ring(0).lost(), 5000u - 4096u);
    log.write(*mesh, {}, kWhen);
    log.write(*mesh, {}, kWhen);
  }
  std::ifstream file(path);
  std::string line;
  unsigned lines = 0;
  while (std::getline(file, line) && ++lines <= 4096) {
    const auto json = nlohmann::json::parse(line);
    ASSERT_EQ(json["src.addr"], "10.244.0.24:" + std::to_string(lines));
  }
  EXPECT_EQ(lines, 4097u);
  EXPECT_EQ(nlohmann::json::parse(line)["count"], 904);
  unlink(path.c_str());
}

TEST(AccessLogFile, ThatCannotBeOpenedIsAnError) {
  EXPECT_THROW(app::AccessLog({"/nowhere/at/all", Format::text}, 1), std::runtime_error);
}

}  // namespace
}  // namespace isthmus::app
