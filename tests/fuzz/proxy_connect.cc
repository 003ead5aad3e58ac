// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The texts of a CONNECT: authority and Forwarded, and the decision on them. Input: the two,
// separated by the first newline.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/authority.h"
#include "proxy/inbound.h"
#include "support/mesh.h"

namespace isthmus {
namespace {

constexpr std::string_view kMesh = R"(
workloads:
- {name: a, namespace: n, workloadIps: [10.0.0.1], node: a, waypoint: {destination: /10.0.0.2, hboneMtlsPort: 15008}, services: {n/h.example: {}}}
- {name: w, namespace: n, serviceAccount: w, workloadIps: [10.0.0.2]}
services:
- {name: h, namespace: n, hostname: h.example, vips: [], ports: {80: 8080}}
)";

void check_authority(std::string_view text) {
  const proxy::Authority authority = proxy::parse_authority(text);
  if (authority.kind == proxy::Authority::Kind::invalid) return;
  if (authority.port == 0) abort();
  if (authority.kind == proxy::Authority::Kind::hostname) {
    if (authority.hostname.empty() || authority.hostname.size() > proxy::kMaxHostname) abort();
    return;
  }
  const std::string written = authority.endpoint.to_string();
  if (proxy::parse_authority(written).endpoint != authority.endpoint) abort();
}

}  // namespace
}  // namespace isthmus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isthmus;
  static const test::Mesh mesh(kMesh);
  const uint8_t* newline = std::find(data, data + size, '\n');
  const auto first = static_cast<size_t>(newline - data);
  const size_t second = first == size ? 0 : size - first - 1;
  const std::unique_ptr<char[]> authority(new char[first]);
  const std::unique_ptr<char[]> forwarded(new char[second]);
  std::copy_n(data, first, authority.get());
  std::copy_n(data + size - second, second, forwarded.get());

  check_authority({authority.get(), first});
  proxy::parse_forwarded_for({forwarded.get(), second});
  proxy::ConnectRequest request;
  request.method = "CONNECT";
  request.authority = {authority.get(), first};
  request.forwarded = {forwarded.get(), second};
  request.peer = mesh::Identity::parse("spiffe://cluster.local/ns/n/sa/w");
  request.source = test::at("10.0.0.2:4000");
  request.original_destination = test::at("10.0.0.1:15008");
  for (const auto profile : {mesh::Profile::v1_18, mesh::Profile::head}) {
    const auto decision = proxy::decide_inbound_hbone(*mesh, {.profile = profile}, request);
    if (decision.status == 200 && decision.upstream.address != test::ip("10.0.0.1")) abort();
  }
  return 0;
}
