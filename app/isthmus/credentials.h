// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The identities' files: PEM as an administrator or a CA's agent lays it down, or the embedded test
// CA.
#pragma once

#include <memory>
#include <string>

#include "config/config.h"
#include "mesh/model.h"
#include "tls/certificate.h"

namespace isthmus::app {

// The whole file. Throws std::runtime_error.
std::string read_file(const std::string& path);

// For the configuration's pem_dir: the folder's roots (root-cert.pem or ca.crt), and every pair
// NAME-cert.pem and NAME-key.pem, or NAME.crt and NAME.key. For test_ca: a credential for each
// identity of a workload on our node. Without either: an empty store; every handshake fails.
// Throws std::runtime_error.
std::shared_ptr<const tls::CredentialStore> load_credentials(const config::Config& config,
                                                             const mesh::Model& model,
                                                             tls::WallTime now);

}  // namespace isthmus::app
