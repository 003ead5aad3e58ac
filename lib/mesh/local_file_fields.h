// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The tables of keys of the local file, one per message. Used by local_file.cc alone.
#pragma once

#include <span>

#include "mesh/model.h"
#include "yaml/fields.h"

namespace isthmus::mesh {

std::span<const yaml::Field<Workload>> workload_fields();
std::span<const yaml::Field<Service>> service_fields();
std::span<const yaml::Field<Authorization>> policy_fields();

}  // namespace isthmus::mesh
