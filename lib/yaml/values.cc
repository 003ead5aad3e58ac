// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "yaml/values.h"

namespace isthmus::yaml {

namespace {

const char* kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::scalar:
      return "a plain value";
    case Node::Kind::sequence:
      return "a list";
    case Node::Kind::map:
      return "a map";
  }
  return "";
}

void expect(const Node& node, Node::Kind kind) {
  if (node.kind != kind) {
    throw Failure(node,
                  fmt::format("expected {}, found {}", kind_name(kind), kind_name(node.kind)));
  }
}

template <typename T>
T parsed(const Node& node, const char* what) {
  const std::string& spelling = text(node);
  if (const auto value = T::parse(spelling)) return *value;
  throw Failure(node, fmt::format("\"{}\" is no {}", spelling, what));
}

}  // namespace

const std::string& text(const Node& node) {
  expect(node, Node::Kind::scalar);
  if (node.text.empty()) throw Failure(node, "is empty");
  return node.text;
}

const std::string& text_or_empty(const Node& node) {
  if (node.kind != Node::Kind::null) expect(node, Node::Kind::scalar);
  return node.text;
}

bool boolean(const Node& node) {
  return one_of<bool>(node, {{"true", true}, {"false", false}});
}

packet::IpAddress address(const Node& node) {
  return parsed<packet::IpAddress>(node, "IPv4 or IPv6 address");
}

packet::Prefix prefix(const Node& node) {
  return parsed<packet::Prefix>(node, "CIDR block (ADDRESS/LENGTH without host bits)");
}

packet::MacAddress mac(const Node& node) {
  return parsed<packet::MacAddress>(node, "MAC address");
}

const std::vector<Node>& sequence(const Node& node) {
  expect(node, Node::Kind::sequence);
  return node.items;
}

}  // namespace isthmus::yaml
