// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Meshes for tests, written as the local file writes them.
#pragma once

#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "mesh/local_file.h"
#include "mesh/snapshot.h"

namespace isthmus::test {

// A snapshot and the names it lends from.
struct Mesh {
  explicit Mesh(std::string_view yaml, mesh::Profile profile = mesh::Profile::head,
                mesh::SnapshotOptions options = {.node = "a", .network = "", .seed = 7},
                std::shared_ptr<mesh::Names> shared = std::make_shared<mesh::Names>())
      : names(std::move(shared)) {
    auto read = mesh::read_local_file(yaml, {.file = "mesh.yaml", .profile = profile});
    if (const auto* error = std::get_if<yaml::Error>(&read)) {
      throw std::runtime_error(error->to_string());
    }
    snapshot = mesh::Snapshot::build(std::get<mesh::Model>(std::move(read)), options, *names);
  }

  const mesh::Snapshot& operator*() const { return *snapshot; }
  const mesh::Snapshot* operator->() const { return snapshot.get(); }

  std::shared_ptr<mesh::Names> names;  // of every snapshot of one process
  std::shared_ptr<const mesh::Snapshot> snapshot;
};

constexpr mesh::Profile kProfiles[] = {mesh::Profile::v1_18, mesh::Profile::head};

inline packet::IpAddress ip(std::string_view text) {
  return packet::IpAddress::parse(text).value();
}
inline packet::Endpoint at(std::string_view text) {
  return packet::Endpoint::parse(text).value();
}

}  // namespace isthmus::test
