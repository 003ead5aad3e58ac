// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A YAML text as a tree that remembers where everything stood. Stricter than YAML: one document of
// UTF-8 text, no anchors, no aliases, no duplicate keys, keys are scalars; size, depth and number
// of nodes have limits.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "yaml/error.h"

namespace isthmus::yaml {

struct Node {
  enum class Kind { null, scalar, sequence, map };
  Kind kind = Kind::null;
  int line = 0;             // from 1
  int column = 0;           // from 1
  std::string text;         // scalar
  std::string tag;          // "!Exact"; empty: none
  std::vector<Node> keys;   // map: scalars, as many as items
  std::vector<Node> items;  // sequence: elements; map: values
};

// Thrown inside rooms that read YAML, never across their boundary.
struct Failure : std::exception {
  Failure(const Node& where, std::string why)
      : error{{}, where.line, where.column, std::move(why)} {}
  explicit Failure(Error what) : error(std::move(what)) {}
  const char* what() const noexcept override { return error.reason.c_str(); }
  Error error;  // file is filled in where the text is known
};

struct Limits {
  size_t bytes = size_t{64} << 20;
  size_t nodes = 4'000'000;
  unsigned depth = 24;
};

// Throws Failure. A text without any content is a null node.
Node parse(std::string_view text, const Limits& limits = {});

}  // namespace isthmus::yaml
