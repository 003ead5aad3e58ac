// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mesh file: anything is read or refused with a reason, and what is read can be indexed and
// decided on.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "mesh/local_file.h"
#include "mesh/snapshot.h"
#include "proxy/inbound.h"
#include "proxy/outbound.h"

namespace isthmus {
namespace {

void decide(const mesh::Snapshot& snapshot, mesh::Profile profile) {
  const proxy::Settings settings{.profile = profile};
  for (const auto& from : snapshot.workloads()) {
    for (const auto& service : snapshot.services()) {
      if (from.workload->addresses.empty() || service.service->addresses.empty()) continue;
      const packet::Endpoint source{from.workload->addresses[0], 4000};
      const packet::Endpoint to{service.service->addresses[0].address, 80};
      const auto decision = proxy::decide_outbound(snapshot, settings, {source, to, 1, {}});
      for (const auto& step : decision.walk.steps()) proxy::describe(step, snapshot);
      proxy::decide_inbound_plaintext(snapshot, settings, {to, source});
    }
  }
}

}  // namespace
}  // namespace isthmus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isthmus;
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(data, size, copy.get());
  for (const auto profile : {mesh::Profile::v1_18, mesh::Profile::head}) {
    auto read = mesh::read_local_file({copy.get(), size}, {.file = "f", .profile = profile});
    if (const auto* error = std::get_if<yaml::Error>(&read)) {
      if (error->reason.empty()) abort();
      continue;
    }
    mesh::Names names;
    const auto snapshot =
        mesh::Snapshot::build(std::get<mesh::Model>(std::move(read)), {.node = "node1"}, names);
    if (snapshot->workloads().size() * snapshot->services().size() < 64) decide(*snapshot, profile);
  }
  return 0;
}
