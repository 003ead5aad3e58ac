// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "config/config.h"

#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "mesh/local_file.h"

namespace isthmus::config {
namespace {

std::string read_file(const std::string& name) {
  std::ifstream file(std::string(SOURCE_ROOT) + "/" + name);
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Config accepted(std::string_view text, std::string_view file = "c.yaml") {
  auto result = parse(text, file);
  if (const auto* error = std::get_if<yaml::Error>(&result)) ADD_FAILURE() << error->to_string();
  return std::get<Config>(std::move(result));
}

std::string refusal(std::string_view text) {
  const auto result = parse(text, "c.yaml");
  const auto* error = std::get_if<yaml::Error>(&result);
  return error == nullptr ? "" : error->to_string();
}

// A configuration that is right, and a way to break it.
constexpr std::string_view kGood = R"(profile: head
node: {name: a, hosts: [10.0.0.1]}
ports:
- {name: n, role: node, device: {driver: vtap, iface: i0}, addresses: [10.0.0.9/24]}
- {name: p, role: pod, device: {driver: vtap}, pods: [{address: 10.0.0.5, netns: x}]}
routes: [{prefix: 0.0.0.0/0, via: 10.0.0.1, port: n}]
mesh: {file: m.yaml}
identity: {test_ca: {}}
)";

TEST(Config, TheExampleSaysEverythingAndIsAccepted) {
  const Config c = accepted(read_file("conf/isthmus.yaml"), "conf/isthmus.yaml");
  EXPECT_EQ(c.profile, mesh::Profile::v1_18);
  EXPECT_EQ(c.node.name, "node1");
  EXPECT_EQ(c.node.hosts.size(), 1U);
  ASSERT_EQ(c.ports.size(), 3U);
  EXPECT_EQ(c.ports[0].role, capture::PortRole::underlay);
  ASSERT_EQ(c.ports[0].addresses.size(), 2U);
  EXPECT_EQ(c.ports[0].addresses[0].network().to_string(), "192.0.2.0/24");
  EXPECT_EQ(c.ports[0].addresses[1].network().to_string(), "2001:db8::/64");
  EXPECT_EQ(c.ports[1].device.peer_mac, packet::MacAddress::parse("02:00:00:00:01:02"));
  ASSERT_EQ(c.ports[2].pods.size(), 2U);
  EXPECT_EQ(c.ports[2].pods[0].netns, "pod-sleep");
  EXPECT_EQ(c.ports[2].pods[1].iface, "eth0");
  EXPECT_FALSE(c.ports[2].pods[1].mac);
  EXPECT_EQ(c.routes.size(), 3U);
  EXPECT_EQ(c.neighbours[0].port, "host");
  EXPECT_EQ(c.workers.idle, Workers::Idle::adaptive);
  EXPECT_EQ(c.mesh_file, "conf/mesh.yaml");
  EXPECT_TRUE(c.identity.test_ca);
  EXPECT_EQ(c.console.socket, "/run/isthmus/console.sock");
  ASSERT_EQ(c.capture.rules.size(), 2U);
  EXPECT_EQ(c.capture.rules[0].protocol, 6);
  EXPECT_EQ(c.capture.rules[1].destination_ports, (capture::PortRange{9000, 9099}));
}

TEST(Config, TheSmallExamplesAreAccepted) {
  for (const char* name : {"conf/one-armed.yaml", "conf/pod-underlay.yaml"}) {
    accepted(read_file(name), name);
  }
}

TEST(Config, WhatIsNotSaidHasItsDefault) {
  const Config c = accepted(kGood, "/etc/isthmus/c.yaml");
  EXPECT_EQ(c.mesh_file, "/etc/isthmus/m.yaml");
  EXPECT_TRUE(c.identity.test_ca);
  EXPECT_EQ(c.ports[0].mtu, 1500);
  EXPECT_EQ(c.ports[0].device.queues, 1);
  EXPECT_TRUE(c.ports[0].device.offload);
  EXPECT_EQ(c.node.trust_domain, "cluster.local");
  EXPECT_EQ(c.limits.flows, 65536U);
  EXPECT_EQ(c.limits.records_per_key, 11'863'283U);
  EXPECT_EQ(c.limits.per_workload.flows, 32768U);
  EXPECT_EQ(c.limits.per_workload.bytes_in_flight, 16U << 20);
}

TEST(Config, TheMeshExampleIsAccepted) {
  const auto mesh = mesh::read_local_file(read_file("conf/mesh.yaml"), {.file = "mesh.yaml"});
  const auto* error = std::get_if<yaml::Error>(&mesh);
  EXPECT_EQ(error, nullptr) << error->to_string();
}

// The documentation names a key in backquotes, alone or with its path.
void expect_documented(const std::vector<std::string>& keys, const std::string& document) {
  const std::string text = read_file("docs/configuration.md");
  const size_t begin = text.find(document);
  ASSERT_NE(begin, std::string::npos) << document;
  const size_t end = text.find("\n## ", begin);
  const std::string section = text.substr(begin, end - begin);
  for (const std::string& key : keys) {
    EXPECT_NE(section.find("`" + key + "`"), std::string::npos) << key << " in " << document;
  }
}

TEST(ConfigDocumentation, DescribesEveryKey) {
  expect_documented(keys(), "## The configuration file");
}

TEST(ConfigDocumentation, DescribesEveryKeyOfTheMeshFile) {
  expect_documented(mesh::local_file_keys(), "## The mesh file");
}

std::string broken(std::string_view what, std::string_view by) {
  std::string text(kGood);
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

TEST(Config, TheBaseOfTheRefusalsIsAccepted) {
  EXPECT_EQ(refusal(kGood), "");
}

TEST(Config, IsRefusedWholeWithFileLineColumnAndReason) {
  struct Case {
    std::string_view what;
    std::string_view by;
    std::string_view error;
  };
  const Case cases[] = {
      {"profile: head", "profile: 1.19", "c.yaml:1:10: \"1.19\" is none of: 1.18, head"},
      {"profile: head", "profil: head", "c.yaml:1:1: unknown key \"profil\""},
      {"profile: head\n", "", "c.yaml:1:1: \"profile\" is missing"},
      {"name: a, ", "", "c.yaml:2:7: \"name\" is missing"},
      {"10.0.0.1]}", "10.0.0]}", "c.yaml:2:25: \"10.0.0\" is no IPv4 or IPv6 address"},
      {", hosts: [10.0.0.1]", "",
       "c.yaml:1:1: node.hosts is missing: ports of role node and host need it"},
      {"hosts: [10.0.0.1]", "hosts: [10.0.0.1, 10.0.0.1]",
       "c.yaml:1:1: node.hosts names 10.0.0.1 twice"},
      {"hosts: [10.0.0.1]", "hosts: [10.0.0.9]",
       "c.yaml:1:1: node.hosts: 10.0.0.9 is an address of the gateway itself"},
      {"name: a", "name: a, trust_domain: A",
       "c.yaml:2:31: \"A\" is no trust domain ([a-z0-9._-]+)"},
      {"name: a", "name: a, trust_domain_aliases: [cluster.local]",
       "c.yaml:1:1: node.trust_domain_aliases names the trust domain itself"},
      {"name: p", "name: n", "c.yaml:5:3: a second port with the name n"},
      {"name: n", "name: \"n n\"", "c.yaml:4:10: \"n n\" is no name ([A-Za-z0-9._:-]+)"},
      {"role: node", "role: edge", "c.yaml:4:19: \"edge\" is none of: node, underlay, pod, host"},
      {"driver: vtap, iface: i0", "driver: vtap", "c.yaml:4:3: device.iface is missing"},
      {"driver: vtap, iface: i0", "driver: \"null\", iface: i0",
       "c.yaml:4:33: iface, netns and peer_mac go with driver vtap only"},
      {"driver: vtap, iface: i0", "driver: virtio_user",
       "c.yaml:4:33: path goes with driver virtio_user, and only with it"},
      {"driver: vtap, iface: i0", "driver: devargs",
       "c.yaml:4:33: devargs goes with driver devargs, and only with it"},
      {"iface: i0", "iface: a-name-too-long-x",
       "c.yaml:4:55: \"a-name-too-long-x\" is longer than 15 characters"},
      {"iface: i0", "iface: i0, descriptors: 100", "c.yaml:4:72: is no power of two"},
      {"iface: i0", "iface: i0, queues: 65", "c.yaml:4:67: \"65\" is no number from 1 to 64"},
      {"10.0.0.9/24", "10.0.0.9", "c.yaml:4:72: \"10.0.0.9\" is no ADDRESS/LENGTH"},
      {"10.0.0.9/24", "10.0.0.9/33", "c.yaml:4:72: \"33\" is no number from 1 to 32"},
      {", addresses: [10.0.0.9/24]", "",
       "c.yaml:4:3: a port of role node needs an address: Geneve is sent to it"},
      {", pods: [{address: 10.0.0.5, netns: x}]", "",
       "c.yaml:5:3: a port of role pod needs its pods"},
      {"pods: [{address: 10.0.0.5, netns: x}]",
       "pods: [{address: 10.0.0.5, netns: x}, {address: 10.0.0.5, netns: y}]",
       "c.yaml:5:3: a second pod with the address 10.0.0.5"},
      {"pods: [{address: 10.0.0.5, netns: x}]",
       "pods: [{address: 10.0.0.5, netns: x}, {address: 10.0.0.6, netns: x}]",
       "c.yaml:5:3: a second port on the interface eth0"},
      {"pods: [{address: 10.0.0.5, netns: x}]", "pods: [{address: 10.0.0.5}]",
       "c.yaml:5:3: pod 10.0.0.5 needs its netns"},
      {"address: 10.0.0.5,", "address: 10.0.0.9,",
       "c.yaml:5:3: 10.0.0.9 is an address of the gateway itself"},
      {"address: 10.0.0.5,", "address: 224.0.0.5,",
       "c.yaml:5:3: 224.0.0.5 can be no pod's address"},
      {"role: pod", "role: host", "c.yaml:5:3: device.iface is missing"},
      {"device: {driver: vtap}", "device: {driver: vtap, iface: i1}",
       "c.yaml:5:3: iface and netns of a vtap of role pod stand with its pods"},
      {"device: {driver: vtap}, pods: [{address: 10.0.0.5, netns: x}]",
       "device: {driver: ring}, pods: [{address: 10.0.0.5}, {address: 10.0.0.6}]",
       "c.yaml:5:3: only a vtap serves more than one pod"},
      {"port: n}]", "port: m}]", "c.yaml:6:10: there is no port m"},
      {"port: n}]", "port: p}]",
       "c.yaml:6:10: pods are reached by their own addresses, not by routes"},
      {"via: 10.0.0.1", "via: 10.0.1.1", "c.yaml:6:10: 10.0.1.1 is on no network of port n"},
      {"via: 10.0.0.1", "via: fd00::1", "c.yaml:6:10: prefix and via are of different families"},
      {"routes: [", "routes: [{prefix: 0.0.0.0/0, port: n}, ",
       "c.yaml:6:40: a second route for 0.0.0.0/0"},
      {"identity: {test_ca: {}}", "identity: {}",
       "c.yaml:1:1: identity needs one of pem_dir and test_ca"},
      {"identity: {test_ca: {}}", "identity: {test_ca: {}, pem_dir: x}",
       "c.yaml:1:1: identity needs one of pem_dir and test_ca"},
      {"mesh: {file: m.yaml}", "mesh: {}", "c.yaml:7:7: \"file\" is missing"},
      {"mesh:",
       "capture: {rules: [{action: bypass, source: 10.0.0.0/8, destination: \"fd00::/8\"}]}\nmesh:",
       "c.yaml:7:19: source and destination of different families"},
      {"mesh:", "capture: {rules: [{action: bypass, source_ports: 9-8}]}\nmesh:",
       "c.yaml:7:50: \"8\" is no number from 9 to 65535"},
      {"mesh:", "neighbours: [{address: 10.0.0.1, mac: \"ff:ff:ff:ff:ff:ff\", port: n}]\nmesh:",
       "c.yaml:7:14: the MAC address is a group's"},
      {"mesh:", "workers: {idle: lazy}\nmesh:", "c.yaml:7:17: \"lazy\" is none of: adaptive, poll"},
      {"mesh:", "pools: {small: 1}\nmesh:", "c.yaml:7:16: \"1\" is no number from 256 to 16777216"},
      {"mesh:", "limits: {records_per_key: 11863284}\nmesh:",
       "c.yaml:7:27: \"11863284\" is no number from 64 to 11863283"},
      {"mesh:", "limits: {per_workload: {flows: 16777217}}\nmesh:",
       "c.yaml:7:32: \"16777217\" is no number from 0 to 16777216"},
  };
  for (const auto& c : cases) EXPECT_EQ(refusal(broken(c.what, c.by)), c.error) << c.by;
}

std::string ports(unsigned count, std::string_view driver) {
  std::string text =
      "profile: head\nnode: {name: a}\nmesh: {file: m}\nidentity: {test_ca: {}}\nports:\n";
  for (unsigned i = 0; i < count; ++i) {
    text += fmt::format("- {{name: p{}, role: underlay, device: {{{}}}}}\n", i, driver);
  }
  return text;
}

TEST(Config, DebiansDpdkAllowsSoManyPortsAndNoMore) {
  EXPECT_EQ(refusal(ports(31, "driver: ring")), "");
  EXPECT_EQ(refusal(ports(32, "driver: ring")), "c.yaml:37:3: more than 31 ports");
  EXPECT_EQ(refusal(ports(24, "driver: virtio_user, path: /s")), "");
  EXPECT_EQ(refusal(ports(25, "driver: virtio_user, path: /s")),
            "c.yaml:30:3: more than 24 ports with driver virtio_user");
  EXPECT_EQ(refusal(ports(0, "")), "c.yaml:5:1: \"ports\" has no value");
}

TEST(Config, ANextHopMayBeOnALinkThatARouteMakes) {
  EXPECT_EQ(refusal(broken("routes: [{prefix: 0.0.0.0/0, via: 10.0.0.1,",
                           "routes: [{prefix: 192.0.2.1/32, port: n}, {prefix: 0.0.0.0/0, via: "
                           "192.0.2.1,")),
            "");
}

TEST(Config, PathsAreMeantFromTheFilesFolder) {
  const Config c =
      accepted(broken("{}}", "{root_dir: ca, write_pem_dir: /out}}"), "dir/sub/c.yaml");
  EXPECT_EQ(c.identity.test_ca->root_dir, "dir/sub/ca");
  EXPECT_EQ(c.identity.test_ca->write_pem_dir, "/out");
  EXPECT_EQ(accepted(kGood, "c.yaml").mesh_file, "m.yaml");
}

}  // namespace
}  // namespace isthmus::config
