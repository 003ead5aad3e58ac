// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "capture/rules.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>

#include <rte_acl.h>

#include "packet/endian.h"

namespace isthmus::capture {

namespace {

using packet::be16;
using packet::be32;

// What the tries look at, in network order. The first field of a trie is one byte; behind it every
// field, or every pair of ports, fills a word of four.
struct KeyV4 {
  uint8_t protocol = 0;
  uint8_t unused[3] = {};
  be32 direction;
  be32 source;
  be32 destination;
  be16 source_port;
  be16 destination_port;
};
struct KeyV6 {
  uint8_t protocol = 0;
  uint8_t unused[3] = {};
  be32 direction;
  uint8_t source[16] = {};
  uint8_t destination[16] = {};
  be16 source_port;
  be16 destination_port;
};

constexpr unsigned kWordsV4 = 1;  // words of an address
constexpr unsigned kWordsV6 = 4;
constexpr unsigned fields(unsigned words) {
  return 4 + 2 * words;
}

RTE_ACL_RULE_DEF(AclRule, fields(kWordsV6));

// The fields of a key: protocol, direction, source words, destination words, two ports.
rte_acl_config make_config(unsigned words) {
  rte_acl_config config{};
  config.num_categories = 1;
  config.num_fields = fields(words);
  const auto define = [&](unsigned i, uint8_t type, uint8_t size, unsigned input, size_t offset) {
    config.defs[i] = {type, size, static_cast<uint8_t>(i), static_cast<uint8_t>(input),
                      static_cast<uint32_t>(offset)};
  };
  define(0, RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, 0);
  define(1, RTE_ACL_FIELD_TYPE_BITMASK, 4, 1, 4);
  for (unsigned i = 0; i < 2 * words; ++i) {
    define(2 + i, RTE_ACL_FIELD_TYPE_MASK, 4, 2 + i, 8 + 4 * i);
  }
  const unsigned ports = 2 + 2 * words;
  define(ports, RTE_ACL_FIELD_TYPE_RANGE, 2, ports, 8 + 8 * words);
  define(ports + 1, RTE_ACL_FIELD_TYPE_RANGE, 2, ports, 10 + 8 * words);
  return config;
}
static_assert(offsetof(KeyV4, source_port) == 8 + 8 * kWordsV4);
static_assert(offsetof(KeyV6, source_port) == 8 + 8 * kWordsV6);

void set_address(rte_acl_field* field, const std::optional<packet::Prefix>& prefix,
                 unsigned words) {
  if (!prefix) return;  // length 0: any
  // The last words of the sixteen bytes: an IPv4 address is mapped.
  const uint8_t* word = &prefix->address.bytes()[16 - 4 * words];
  int left = prefix->length;
  for (unsigned i = 0; i < words; ++i, word += 4, left -= 32) {
    field[i].value.u32 = packet::load_be<uint32_t>(word);
    field[i].mask_range.u32 = static_cast<uint32_t>(std::clamp(left, 0, 32));
  }
}

AclRule make_rule(const Rule& rule, uint32_t index, unsigned words) {
  AclRule out{};
  out.data.category_mask = 1;
  out.data.priority = RTE_ACL_MAX_PRIORITY - static_cast<int32_t>(index);  // the first one wins
  out.data.userdata = index + 1;
  if (rule.protocol) {
    out.field[0].value.u8 = *rule.protocol;
    out.field[0].mask_range.u8 = 0xff;
  }
  if (rule.direction != Direction::both) {
    out.field[1].value.u32 = static_cast<uint32_t>(rule.direction);
    out.field[1].mask_range.u32 = 0xffffffff;
  }
  set_address(&out.field[2], rule.source, words);
  set_address(&out.field[2 + words], rule.destination, words);
  out.field[2 + 2 * words].value.u16 = rule.source_ports.first;
  out.field[2 + 2 * words].mask_range.u16 = rule.source_ports.last;
  out.field[3 + 2 * words].value.u16 = rule.destination_ports.first;
  out.field[3 + 2 * words].mask_range.u16 = rule.destination_ports.last;
  return out;
}

// Whether the rule speaks of addresses of that family.
bool applies(const Rule& rule, bool v4) {
  const auto& named = rule.source ? rule.source : rule.destination;
  return !named || named->address.is_v4() == v4;
}

// rte_acl keeps its contexts by name, in one table of the process.
rte_acl_ctx* create(unsigned words, uint32_t rules) {
  static std::atomic<unsigned> serial{0};
  char name[RTE_ACL_NAMESIZE];
  snprintf(name, sizeof name, "isthmus_rules_%u", serial.fetch_add(1));
  rte_acl_param param{};
  param.name = name;
  param.socket_id = SOCKET_ID_ANY;
  param.rule_size = RTE_ACL_RULE_SZ(fields(words));
  param.max_rule_num = rules;
  return rte_acl_create(&param);
}

// Null with ok: no rule of that family.
struct Built {
  rte_acl_ctx* context = nullptr;
  bool ok = true;
};

Built build_family(std::span<const Rule> rules, bool v4) {
  const unsigned words = v4 ? kWordsV4 : kWordsV6;
  const auto count = std::count_if(rules.begin(), rules.end(),
                                   [&](const Rule& rule) { return applies(rule, v4); });
  if (count == 0) return {};
  Built built{create(words, static_cast<uint32_t>(count)), true};
  built.ok = built.context != nullptr;
  for (uint32_t i = 0; built.ok && i < rules.size(); ++i) {
    if (!applies(rules[i], v4)) continue;
    const AclRule rule = make_rule(rules[i], i, words);
    // The call reads rule_size bytes: a v4 rule is the front of the larger type.
    const auto* raw = reinterpret_cast<const rte_acl_rule*>(&rule);
    built.ok = rte_acl_add_rules(built.context, raw, 1) == 0;
  }
  const rte_acl_config config = make_config(words);
  built.ok = built.ok && rte_acl_build(built.context, &config) == 0;
  if (!built.ok) {
    rte_acl_free(built.context);
    built.context = nullptr;
  }
  return built;
}

std::optional<Rules::BuildError> check(std::span<const Rule> rules) {
  if (rules.size() > Rules::kMaxRules) return Rules::BuildError::too_many;
  for (const Rule& rule : rules) {
    if (rule.source && rule.destination &&
        rule.source->address.is_v4() != rule.destination->address.is_v4()) {
      return Rules::BuildError::mixed_families;
    }
    if (rule.source_ports.first > rule.source_ports.last ||
        rule.destination_ports.first > rule.destination_ports.last) {
      return Rules::BuildError::empty_range;
    }
  }
  return {};
}

uint32_t lookup(const rte_acl_ctx* context, const void* key) noexcept {
  const auto* data = static_cast<const uint8_t*>(key);
  uint32_t result = 0;
  return rte_acl_classify(context, &data, &result, 1, 1) == 0 ? result : 0;
}

}  // namespace

std::unique_ptr<const Rules> Rules::build(std::span<const Rule> rules, BuildError* error) {
  if (const auto wrong = check(rules)) {
    *error = *wrong;
    return nullptr;
  }
  std::unique_ptr<Rules> out(new Rules);
  out->rules_.assign(rules.begin(), rules.end());
  const Built v4 = build_family(rules, true);
  out->v4_ = v4.context;
  const Built v6 = build_family(rules, false);
  out->v6_ = v6.context;
  if (!v4.ok || !v6.ok) {
    *error = BuildError::no_memory;
    return nullptr;
  }
  return out;
}

Rules::~Rules() {
  rte_acl_free(v4_);
  rte_acl_free(v6_);
}

std::optional<Rules::Hit> Rules::match(Direction direction, const packet::Tuple& tuple,
                                       uint8_t protocol) const noexcept {
  const auto fill = [&](auto& key) {
    key.protocol = protocol;
    key.direction.set(static_cast<uint32_t>(direction));
    key.source_port.set(tuple.source.port);
    key.destination_port.set(tuple.destination.port);
  };
  const bool v4 = tuple.destination.address.is_v4();
  uint32_t result = 0;
  if (v4 && v4_ != nullptr) {
    KeyV4 key;
    fill(key);
    key.source = tuple.source.address.v4_wire();
    key.destination = tuple.destination.address.v4_wire();
    result = lookup(v4_, &key);
  } else if (!v4 && v6_ != nullptr) {
    KeyV6 key;
    fill(key);
    std::copy_n(tuple.source.address.bytes().data(), 16, key.source);
    std::copy_n(tuple.destination.address.bytes().data(), 16, key.destination);
    result = lookup(v6_, &key);
  }
  if (result == 0) return {};
  return Hit{rules_[result - 1].action, result - 1};
}

const char* text(Rules::BuildError error) noexcept {
  switch (error) {
    case Rules::BuildError::too_many:
      return "more than 4096 rules";
    case Rules::BuildError::mixed_families:
      return "source and destination of different families";
    case Rules::BuildError::empty_range:
      return "a port range ends before it begins";
    case Rules::BuildError::no_memory:
      return "the rules do not fit in memory";
  }
  return "";
}

}  // namespace isthmus::capture
