// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Everything that comes from files: the configuration, the mesh, the identities. Read and checked
// as a whole, at the start and on SIGHUP; nothing of it is used when any part is wrong.
#pragma once

#include <memory>
#include <string>

#include "config/config.h"
#include "mesh/model.h"
#include "tls/certificate.h"

namespace isthmus::app {

struct Inputs {
  config::Config config;
  mesh::Model model;
  std::shared_ptr<const tls::CredentialStore> credentials;  // never null
};

// Throws std::runtime_error: "FILE:LINE:COLUMN: REASON", or "FILE: REASON".
Inputs read_inputs(const std::string& config_file, tls::WallTime now);

// What a running gateway cannot change; empty when the new configuration can take the old one's
// place.
std::string needs_restart(const config::Config& running, const config::Config& wanted);

}  // namespace isthmus::app
