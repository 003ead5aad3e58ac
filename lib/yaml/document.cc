// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "yaml/document.h"

#include <fmt/format.h>
#include <sstream>
#include <unordered_set>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace isthmus::yaml {

namespace {

[[noreturn]] void fail(const YAML::Mark& mark, std::string reason) {
  throw Failure(Error{{}, mark.line + 1, mark.column + 1, std::move(reason)});
}

// Length of the well-formed UTF-8 sequence at the front (RFC 3629 section 4); 0: there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool malformed = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
                         (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
  return malformed ? 0 : length;
}

// yaml-cpp guesses encodings, and takes a control character (EOT) for the end of the text: what
// stands behind it would be lost without a word.
void check_characters(std::string_view text) {
  Error error{{}, 1, 1, {}};
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text.substr(i));
    const auto c = static_cast<unsigned char>(text[i]);
    const bool control = c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r');
    if (length == 0 || control) {
      error.reason = length == 0 ? "is not UTF-8" : fmt::format("control character 0x{:02x}", c);
      throw Failure(error);
    }
    error.column = c == '\n' ? 1 : error.column + 1;
    error.line += c == '\n' ? 1 : 0;
    i += length;
  }
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const Limits& limits) : limits_(limits) {}
  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(make(mark, Node::Kind::null, {}, anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "aliases are not accepted");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node = make(mark, Node::Kind::scalar, tag, anchor);
    node.text = value;
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(make(mark, Node::Kind::sequence, tag, anchor), mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(make(mark, Node::Kind::map, tag, anchor), mark);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Node node;
    std::unordered_set<std::string> seen;  // keys of a map
  };

  Node make(const YAML::Mark& mark, Node::Kind kind, const std::string& tag,
            YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) fail(mark, "anchors are not accepted");
    if (++count_ > limits_.nodes) fail(mark, "too many values in one file");
    Node node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    // "?" and "!" are yaml-cpp's marks of plain and quoted scalars without a tag.
    if (tag != "?" && tag != "!") node.tag = tag;
    return node;
  }

  void open(Node node, const YAML::Mark& mark) {
    if (stack_.size() >= limits_.depth) fail(mark, "nested too deep");
    stack_.push_back({std::move(node), {}});
  }

  void close() {
    Node node = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(node));
  }

  void add(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    const bool is_key =
        parent.node.kind == Node::Kind::map && parent.node.keys.size() == parent.node.items.size();
    if (!is_key) {
      parent.node.items.push_back(std::move(node));
      return;
    }
    if (node.kind != Node::Kind::scalar) throw Failure(node, "a key must be a plain value");
    if (!parent.seen.insert(node.text).second) {
      throw Failure(node, fmt::format("\"{}\" stands here twice", node.text));
    }
    parent.node.keys.push_back(std::move(node));
  }

  const Limits& limits_;
  size_t count_ = 0;
  std::vector<Open> stack_;
  Node root_;
};

}  // namespace

std::string Error::to_string() const {
  return line == 0 ? fmt::format("{}: {}", file, reason)
                   : fmt::format("{}:{}:{}: {}", file, line, column, reason);
}

Node parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes) {
    throw Failure(Error{{}, 0, 0, fmt::format("is larger than {} bytes", limits.bytes)});
  }
  check_characters(text);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(limits);
    if (!parser.HandleNextDocument(builder)) return {};
    TreeBuilder rest(limits);
    if (parser.HandleNextDocument(rest)) {
      throw Failure(Error{{}, 0, 0, "holds more than one document"});
    }
    return builder.take();
  } catch (const YAML::Exception& e) {
    fail(e.mark, e.msg);
  }
}

}  // namespace isthmus::yaml
