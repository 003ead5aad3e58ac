// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Values of one type each, out of a node; each throws Failure at the node when it is another.
#pragma once

#include <charconv>
#include <fmt/format.h>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>

#include "packet/address.h"
#include "yaml/document.h"

namespace isthmus::yaml {

const std::string& text(const Node& node);           // not empty
const std::string& text_or_empty(const Node& node);  // null is empty
bool boolean(const Node& node);                      // true or false
packet::IpAddress address(const Node& node);
packet::Prefix prefix(const Node& node);
packet::MacAddress mac(const Node& node);

// Decimal digits only, within [least, most].
template <typename T>
T integer(const Node& node, T least = 0, T most = std::numeric_limits<T>::max()) {
  const std::string& digits = text(node);
  T value{};
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most) {
    throw Failure(node, fmt::format("\"{}\" is no number from {} to {}", digits, least, most));
  }
  return value;
}

template <typename E>
E one_of(const Node& node, std::initializer_list<std::pair<std::string_view, E>> values) {
  const std::string& name = text(node);
  std::string known;
  for (const auto& [spelling, value] : values) {
    if (name == spelling) return value;
    known += known.empty() ? "" : ", ";
    known += spelling;
  }
  throw Failure(node, fmt::format("\"{}\" is none of: {}", name, known));
}

const std::vector<Node>& sequence(const Node& node);

// Calls read(element) for each, and gives what it returns.
template <typename Read>
auto list(const Node& node, Read read) {
  std::vector<decltype(read(node))> out;
  out.reserve(sequence(node).size());
  for (const Node& item : sequence(node)) out.push_back(read(item));
  return out;
}

}  // namespace isthmus::yaml
