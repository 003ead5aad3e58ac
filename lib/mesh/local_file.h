// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// ztunnel's local file (LOCAL_XDS_PATH): workloads, services and policies in YAML, keys in camel
// case as ztunnel's serde writes them. Refused whole: unknown keys, duplicates, wrong types and
// values that cannot be are errors with line and column. Differences to ztunnel:
// docs/configuration.md.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "mesh/model.h"
#include "yaml/error.h"

namespace isthmus::mesh {

struct LocalFileOptions {
  std::string file;  // for messages only: nothing is opened here
  Profile profile = Profile::v1_18;
  std::string trust_domain = "cluster.local";  // of workloads that do not say
  std::string cluster = "Kubernetes";          // the same
};

std::variant<Model, yaml::Error> read_local_file(std::string_view text,
                                                 const LocalFileOptions& options);

// Every key that the reader knows, as "workloads[].workloadIps"; for documentation and its test.
std::vector<std::string> local_file_keys();

}  // namespace isthmus::mesh
