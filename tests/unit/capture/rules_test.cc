// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "capture/rules.h"

#include <gtest/gtest.h>
#include <random>

namespace isthmus::capture {
namespace {

packet::Prefix block(std::string_view text) {
  return packet::Prefix::parse(text).value();
}
packet::Tuple tuple(std::string_view source, std::string_view destination) {
  return {packet::Endpoint::parse(source).value(), packet::Endpoint::parse(destination).value()};
}

std::unique_ptr<const Rules> build(const std::vector<Rule>& rules) {
  Rules::BuildError error{};
  auto built = Rules::build(rules, &error);
  EXPECT_NE(built, nullptr) << text(error);
  return built;
}

Rules::BuildError refusal(const std::vector<Rule>& rules) {
  Rules::BuildError error{};
  EXPECT_EQ(Rules::build(rules, &error), nullptr);
  return error;
}

TEST(CaptureRules, NoRulesMatchNothing) {
  EXPECT_FALSE(build({})->match(Direction::outbound, tuple("10.0.0.1:1", "10.0.0.2:2"), 6));
}

TEST(CaptureRules, EveryFieldOfARuleMustMatch) {
  Rule rule;
  rule.direction = Direction::outbound;
  rule.source = block("10.0.0.0/24");
  rule.destination = block("203.0.113.0/24");
  rule.source_ports = {1000, 2000};
  rule.destination_ports = {443, 443};
  rule.protocol = 6;
  const auto rules = build({rule});
  const auto hit = [&](std::string_view from, std::string_view to,
                       Direction direction = Direction::outbound, uint8_t protocol = 6) {
    return rules->match(direction, tuple(from, to), protocol).has_value();
  };
  EXPECT_TRUE(hit("10.0.0.9:1000", "203.0.113.7:443"));
  EXPECT_TRUE(hit("10.0.0.9:2000", "203.0.113.7:443"));
  EXPECT_FALSE(hit("10.0.1.9:1000", "203.0.113.7:443"));
  EXPECT_FALSE(hit("10.0.0.9:1000", "203.0.114.7:443"));
  EXPECT_FALSE(hit("10.0.0.9:999", "203.0.113.7:443"));
  EXPECT_FALSE(hit("10.0.0.9:2001", "203.0.113.7:443"));
  EXPECT_FALSE(hit("10.0.0.9:1000", "203.0.113.7:444"));
  EXPECT_FALSE(hit("10.0.0.9:1000", "203.0.113.7:443", Direction::inbound));
  EXPECT_FALSE(hit("10.0.0.9:1000", "203.0.113.7:443", Direction::outbound, 132));
}

TEST(CaptureRules, TheFirstMatchDecides) {
  Rule narrow;
  narrow.action = Action::drop;
  narrow.destination = block("10.1.1.0/24");
  Rule wide;
  wide.destination = block("10.1.0.0/16");
  auto rules = build({narrow, wide});
  auto hit = rules->match(Direction::outbound, tuple("10.0.0.1:1", "10.1.1.1:2"), 6);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->rule, 0U);
  EXPECT_EQ(hit->action, Action::drop);
  rules = build({wide, narrow});
  hit = rules->match(Direction::outbound, tuple("10.0.0.1:1", "10.1.1.1:2"), 6);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->rule, 0U);
  EXPECT_EQ(hit->action, Action::bypass);
}

TEST(CaptureRules, ARuleWithoutAddressesSpeaksOfBothFamilies) {
  Rule rule;
  rule.destination_ports = {22, 22};
  const auto rules = build({rule});
  EXPECT_TRUE(rules->match(Direction::inbound, tuple("10.0.0.1:1", "10.0.0.2:22"), 6));
  EXPECT_TRUE(rules->match(Direction::inbound, tuple("[fd00::1]:1", "[fd00::2]:22"), 6));
  EXPECT_FALSE(rules->match(Direction::inbound, tuple("[fd00::1]:1", "[fd00::2]:23"), 6));
}

TEST(CaptureRules, RefusesWhatCannotBe) {
  Rule mixed;
  mixed.source = block("10.0.0.0/8");
  mixed.destination = block("fd00::/8");
  EXPECT_EQ(refusal({mixed}), Rules::BuildError::mixed_families);
  Rule empty;
  empty.destination_ports = {2, 1};
  EXPECT_EQ(refusal({empty}), Rules::BuildError::empty_range);
  EXPECT_EQ(refusal(std::vector<Rule>(4097)), Rules::BuildError::too_many);
}

// The oracle: rules in order, field by field.
std::optional<uint32_t> scan(const std::vector<Rule>& rules, Direction direction,
                             const packet::Tuple& tuple, uint8_t protocol) {
  for (uint32_t i = 0; i < rules.size(); ++i) {
    const Rule& r = rules[i];
    const auto in = [](const PortRange& range, uint16_t port) {
      return port >= range.first && port <= range.last;
    };
    if (r.direction != Direction::both && r.direction != direction) continue;
    if (r.protocol && *r.protocol != protocol) continue;
    if (r.source && !r.source->contains(tuple.source.address)) continue;
    if (r.destination && !r.destination->contains(tuple.destination.address)) continue;
    if (!in(r.source_ports, tuple.source.port)) continue;
    if (!in(r.destination_ports, tuple.destination.port)) continue;
    return i;
  }
  return {};
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t below(uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(engine_); }
  bool coin() { return below(2) == 1; }

  // From a small world, so that rules and packets meet.
  packet::IpAddress address(bool v4) {
    if (v4)
      return packet::IpAddress::v4(0x0a000000U + below(4) * 0x10000 + below(4) * 256 + below(8));
    uint8_t bytes[16] = {0xfd};
    bytes[3] = static_cast<uint8_t>(below(3));
    bytes[7] = static_cast<uint8_t>(below(3));
    bytes[11] = static_cast<uint8_t>(below(3));
    bytes[15] = static_cast<uint8_t>(below(3));
    return packet::IpAddress::v6(bytes);
  }
  packet::Prefix prefix(bool v4) {
    const unsigned bits = v4 ? 32 : 128;
    const auto length = static_cast<uint8_t>(below(bits + 1));
    auto bytes = address(v4).bytes();
    const unsigned skip = v4 ? 96 : 0;
    for (unsigned i = length + skip; i < 128; ++i)
      bytes[i / 8] &= static_cast<uint8_t>(~(0x80 >> i % 8));
    const auto from = v4 ? packet::IpAddress::v4(packet::load_be<uint32_t>(&bytes[12]))
                         : packet::IpAddress::v6(bytes.data());
    return {from, length};
  }
  PortRange ports() {
    if (coin()) return {};
    const auto first = static_cast<uint16_t>(below(16));
    return {first, static_cast<uint16_t>(first + below(8))};
  }
  Rule rule() {
    const bool v4 = coin();
    Rule out;
    out.direction = static_cast<Direction>(1 + below(3));
    out.action = coin() ? Action::bypass : Action::drop;
    if (coin()) out.source = prefix(v4);
    if (coin()) out.destination = prefix(v4);
    out.source_ports = ports();
    out.destination_ports = ports();
    if (coin()) out.protocol = coin() ? 6 : 17;
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

TEST(CaptureRules, AgreeWithALinearScan) {
  unsigned hits = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    std::vector<Rule> list;
    const uint32_t count = 1 + random.below(40);
    for (uint32_t i = 0; i < count; ++i) list.push_back(random.rule());
    const auto rules = build(list);
    for (int i = 0; i < 2000; ++i) {
      const bool v4 = random.coin();
      const packet::Tuple t{{random.address(v4), static_cast<uint16_t>(random.below(32))},
                            {random.address(v4), static_cast<uint16_t>(random.below(32))}};
      const auto direction = random.coin() ? Direction::outbound : Direction::inbound;
      const uint8_t protocol = random.coin() ? 6 : 17;
      const auto hit = rules->match(direction, t, protocol);
      const auto expected = scan(list, direction, t, protocol);
      ASSERT_EQ(hit ? std::optional(hit->rule) : std::nullopt, expected)
          << t.to_string() << " seed " << seed;
      hits += expected.has_value();
    }
  }
  EXPECT_GT(hits, 4000U);
}

}  // namespace
}  // namespace isthmus::capture
