// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The plan that workers go by, made from what was configured and what the devices say.
#pragma once

#include <memory>

#include "gateway/plan.h"
#include "inputs.h"
#include "mesh/interner.h"
#include "ports.h"
#include "tls/identity.h"

namespace isthmus::app {

// Throws std::runtime_error.
std::unique_ptr<const gateway::Plan> build_plan(const Inputs& inputs, const Ports& ports,
                                                mesh::Names& names, tls::IdentityTable& identities);

}  // namespace isthmus::app
