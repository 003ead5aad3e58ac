// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The table of the configuration's top level. Used by config.cc alone.
#pragma once

#include <span>

#include "config/config.h"
#include "yaml/fields.h"

namespace isthmus::config {

// What a mistake in the checks that follow reading is to point at, in the order of the lists.
struct Places {
  const yaml::Node* root = nullptr;
  const yaml::Node* ports = nullptr;
  const yaml::Node* routes = nullptr;
  const yaml::Node* neighbours = nullptr;
  const yaml::Node* rules = nullptr;
};

struct Document {
  Config config;
  Places places;
};

std::span<const yaml::Field<Document>> document_fields();
std::span<const yaml::Field<Port>> port_fields();

// Consistency over the whole; throws Failure.
void check(const Document& document);

}  // namespace isthmus::config
