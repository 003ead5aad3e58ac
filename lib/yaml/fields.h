// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Maps read by tables: a table of fields says which keys a map may hold, which it must, and how
// each is read. The same table lists the keys for the documentation.
#pragma once

#include <fmt/format.h>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "yaml/document.h"

namespace isthmus::yaml {

enum class Presence { optional, required };

using KeyLister = void (*)(const std::string& path, std::vector<std::string>& keys);

template <typename T>
struct Field {
  std::string_view key;
  Presence presence;
  void (*read)(const Node& value, T& into);
  // For a map inside: lists its keys. path is this field's, with "[]" when it is a list.
  KeyLister nested = nullptr;
  bool is_list = false;
};

// Throws Failure for a node that is no map, an unknown key, or a required key that is missing. An
// optional key without a value counts as absent.
template <typename T>
void read_map(const Node& node, std::span<const Field<T>> fields, T& into) {
  if (node.kind != Node::Kind::map) throw Failure(node, "expected a map");
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    const Node& value = node.items[i];
    const Field<T>* found = nullptr;
    for (const auto& field : fields) {
      if (field.key == key.text) found = &field;
    }
    if (found == nullptr) throw Failure(key, fmt::format("unknown key \"{}\"", key.text));
    if (value.kind == Node::Kind::null) {
      if (found->presence == Presence::required) {
        throw Failure(key, fmt::format("\"{}\" has no value", key.text));
      }
      continue;
    }
    found->read(value, into);
  }
  for (const auto& field : fields) {
    if (field.presence == Presence::optional) continue;
    bool present = false;
    for (const Node& key : node.keys) present |= key.text == field.key;
    if (!present) throw Failure(node, fmt::format("\"{}\" is missing", field.key));
  }
}

template <typename T>
void list_keys(std::span<const Field<T>> fields, const std::string& path,
               std::vector<std::string>& keys) {
  for (const auto& field : fields) {
    std::string key = path.empty() ? std::string(field.key) : fmt::format("{}.{}", path, field.key);
    if (field.is_list) key += "[]";
    keys.push_back(key);
    if (field.nested != nullptr) field.nested(key, keys);
  }
}

}  // namespace isthmus::yaml
