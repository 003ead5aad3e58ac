// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a worker calls for each flow allocates nothing: this program counts its own allocations.
#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

#include "capture/classify.h"
#include "proxy/inbound.h"
#include "proxy/outbound.h"
#include "support/mesh.h"

namespace {

std::atomic<uint64_t> allocations{0};

void* counted(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) {
  return counted(size);
}
void* operator new[](size_t size) {
  return counted(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}

namespace isthmus::proxy {
namespace {

using test::at;
using test::ip;

constexpr std::string_view kAllocationMesh = R"(
workloads:
- {name: sleep, namespace: default, serviceAccount: a-service-account-of-more-than-fifteen-characters, workloadIps: [10.0.0.1], protocol: HBONE, node: a}
- {name: local, namespace: guarded, workloadIps: [10.0.0.2], protocol: HBONE, node: a, services: {default/web.example: {}}}
- {name: remote, namespace: default, workloadIps: [10.0.1.1], protocol: HBONE, node: b, services: {default/web.example: {}}}
- {name: wp, namespace: default, workloadIps: [10.0.3.3], protocol: HBONE, nativeTunnel: true, node: c, services: {default/wp.example: {}}}
services:
- {name: web, namespace: default, hostname: web.example, vips: [/10.96.0.1], ports: {80: 8080}, loadBalancer: {mode: Failover, routingPreferences: [Network, Region]}}
- {name: wp, namespace: default, hostname: wp.example, vips: [/10.96.0.5], ports: {15008: 15008}}
- {name: l7, namespace: default, hostname: l7.example, vips: [/10.96.0.7], ports: {80: 80}, waypoint: {destination: default/wp.example, hboneMtlsPort: 15008}}
policies:
- {name: p, namespace: guarded, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/default/sa/someone-with-a-long-name-indeed]}], [{sourceIps: [10.0.0.0/8]}]]]}
)";

TEST(WorkerPath, DecidesWithoutTheHeap) {
  const test::Mesh mesh(kAllocationMesh);
  capture::Rules::BuildError error{};
  capture::Rule rule;
  rule.destination_ports = {9999, 9999};
  const auto rules = capture::Rules::build(std::vector{rule}, &error);
  ASSERT_NE(rules, nullptr);
  const std::vector own = {ip("10.0.0.9")};
  const std::vector tried = {ip("10.0.0.2")};
  const auto peer =
      mesh::Identity::parse("spiffe://cluster.local/ns/default/sa/someone-with-a-long-name");

  const uint64_t before = allocations.load();
  unsigned decided = 0;
  for (const Profile profile : {Profile::v1_18, Profile::head}) {
    const Settings settings{.profile = profile, .own_addresses = own};
    for (const auto to : {"10.96.0.1:80", "10.96.0.7:80", "10.0.0.2:80", "1.1.1.1:443"}) {
      decided += decide_outbound(*mesh, settings, {at("10.0.0.1:4000"), at(to), decided, {}})
                     .walk.steps()
                     .size();
      decided += decide_outbound(*mesh, settings, {at("10.0.0.1:4000"), at(to), decided, tried})
                     .walk.steps()
                     .size();
    }
    ConnectRequest request;
    request.method = "CONNECT";
    request.peer = peer;
    request.source = at("10.0.1.1:4000");
    request.original_destination = at("10.0.0.2:15008");
    for (const auto authority : {"10.0.0.2:80", "web.example:80", "junk", "[fd00::1]:80"}) {
      request.authority = authority;
      request.forwarded = "for=\"[fd00::1]:4000\";host=web.example";
      decided += decide_inbound_hbone(*mesh, settings, request).status;
    }
    decided +=
        decide_inbound_plaintext(*mesh, settings, {at("10.0.1.1:1"), at("10.0.0.2:80")}).status;
  }
  capture::Packet packet{.role = capture::PortRole::pod,
                         .vni = {},
                         .tuple = {at("10.0.0.1:4000"), at("10.96.0.1:80")},
                         .protocol = 6,
                         .pod = ip("10.0.0.1")};
  decided += capture::classify({mesh.snapshot.get(), rules.get(), own}, packet).class_ ==
             capture::Class::outbound_15001;
  EXPECT_EQ(allocations.load(), before);
  EXPECT_GT(decided, 0U);
}

TEST(WorkerPath, TheCounterCounts) {
  const uint64_t before = allocations.load();
  const std::string text(100, 'x');
  EXPECT_GT(allocations.load(), before) << text;
}

}  // namespace
}  // namespace isthmus::proxy
