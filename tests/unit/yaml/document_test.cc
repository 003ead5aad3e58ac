// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "yaml/document.h"

#include <gtest/gtest.h>
#include <string>

#include "yaml/fields.h"
#include "yaml/values.h"

namespace isthmus::yaml {
namespace {

std::string refusal(std::string_view text, const Limits& limits = {}) {
  try {
    parse(text, limits);
  } catch (const Failure& failure) {
    Error error = failure.error;
    error.file = "f";
    return error.to_string();
  }
  return "";
}

TEST(YamlDocument, RemembersPositions) {
  const Node root = parse("a:\n  - b\n  - c: 1\n");
  ASSERT_EQ(root.kind, Node::Kind::map);
  ASSERT_EQ(root.keys.size(), 1U);
  EXPECT_EQ(root.keys[0].text, "a");
  const Node& list = root.items[0];
  ASSERT_EQ(list.items.size(), 2U);
  EXPECT_EQ(list.items[0].line, 2);
  EXPECT_EQ(list.items[0].column, 5);
  EXPECT_EQ(list.items[1].items[0].text, "1");
  EXPECT_EQ(list.items[1].keys[0].line, 3);
}

TEST(YamlDocument, KeepsTags) {
  const Node root = parse("- !Exact foo\n- \"quoted\"\n- plain\n");
  EXPECT_EQ(root.items[0].tag, "!Exact");
  EXPECT_EQ(root.items[1].tag, "");
  EXPECT_EQ(root.items[2].tag, "");
}

TEST(YamlDocument, EmptyTextIsNull) {
  EXPECT_EQ(parse("").kind, Node::Kind::null);
  EXPECT_EQ(parse("# only a comment\n").kind, Node::Kind::null);
}

TEST(YamlDocument, RefusesWhatYamlAllowsAndWeDoNot) {
  EXPECT_EQ(refusal("a: 1\nb: 2\na: 3\n"), "f:3:1: \"a\" stands here twice");
  EXPECT_EQ(refusal("a: &x 1\nb: 2\n"), "f:1:4: anchors are not accepted");
  EXPECT_EQ(refusal("? [1, 2]\n: 3\n"), "f:1:3: a key must be a plain value");
  EXPECT_EQ(refusal("a: 1\n---\nb: 2\n"), "f: holds more than one document");
}

TEST(YamlDocument, RefusesSyntaxErrorsWithTheirPlace) {
  EXPECT_EQ(refusal("a: [1, 2\n").substr(0, 2), "f:");
  EXPECT_EQ(refusal("a: b: c\n").substr(0, 4), "f:1:");
}

TEST(YamlDocument, RefusesControlCharactersThatYamlCppTakesForTheEnd) {
  EXPECT_EQ(refusal("a: 1\nb: \x04 2\n"), "f:2:4: control character 0x04");
  EXPECT_EQ(refusal(std::string_view("a: \0", 4)), "f:1:4: control character 0x00");
}

TEST(YamlDocument, Rfc3629RefusesMalformedUtf8) {
  for (const char* bad : {"\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff\xfe", "\xe2\x82"}) {
    EXPECT_EQ(refusal(bad), "f:1:1: is not UTF-8");
  }
  EXPECT_EQ(refusal("a: \xe2\x82\xac\n"), "");
}

TEST(YamlDocument, LimitsAreLimits) {
  EXPECT_EQ(refusal("abc", {.bytes = 2}), "f: is larger than 2 bytes");
  EXPECT_EQ(refusal("[1, 2]", {.nodes = 3}), "");
  EXPECT_EQ(refusal("[1, 2, 3]", {.nodes = 3}).substr(0, 8), "f:1:8: t");
  EXPECT_EQ(refusal("[[1]]", {.depth = 2}), "");
  EXPECT_EQ(refusal("[[[1]]]", {.depth = 2}), "f:1:3: nested too deep");
  EXPECT_NE(refusal(std::string(100000, '[')), "");
  EXPECT_NE(refusal(std::string(100000, '{')), "");
}

struct Sample {
  int a = 0;
  std::string b;
};
constexpr Field<Sample> kFields[] = {
    {"a", Presence::required, [](const Node& n, Sample& s) { s.a = integer<int>(n, 1, 5); }},
    {"b", Presence::optional, [](const Node& n, Sample& s) { s.b = text(n); }},
};

std::string read(std::string_view yaml) {
  try {
    Sample sample;
    read_map<Sample>(parse(yaml), kFields, sample);
    return fmt::format("{} {}", sample.a, sample.b);
  } catch (const Failure& failure) {
    return failure.error.to_string();
  }
}

TEST(YamlFields, ReadsWhatTheTableSays) {
  EXPECT_EQ(read("{a: 3, b: x}"), "3 x");
  EXPECT_EQ(read("{a: 3, b: }"), "3 ");
  EXPECT_EQ(read("{a: 3, c: x}"), ":1:8: unknown key \"c\"");
  EXPECT_EQ(read("{b: x}"), ":1:1: \"a\" is missing");
  EXPECT_EQ(read("{a: }"), ":1:2: \"a\" has no value");
  EXPECT_EQ(read("{a: 6}"), ":1:5: \"6\" is no number from 1 to 5");
  EXPECT_EQ(read("{a: 0x1}"), ":1:5: \"0x1\" is no number from 1 to 5");
  EXPECT_EQ(read("{a: [1]}"), ":1:5: expected a plain value, found a list");
  EXPECT_EQ(read("[1]"), ":1:1: expected a map");
}

TEST(YamlFields, ListsItsKeys) {
  std::vector<std::string> keys;
  list_keys<Sample>(kFields, "top[]", keys);
  EXPECT_EQ(keys, (std::vector<std::string>{"top[].a", "top[].b"}));
}

}  // namespace
}  // namespace isthmus::yaml
