// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The operator's own rules, by 5-tuple: flows that are not to be captured, or not to pass. The
// first rule that matches decides. Immutable once built (two rte_acl tries, one per family), and
// swapped together with the mesh snapshot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "packet/address.h"

struct rte_acl_ctx;

namespace isthmus::capture {

// Whose traffic a rule speaks of: what pods send, what they receive, or both.
enum class Direction : uint8_t { outbound = 1, inbound = 2, both = 3 };
enum class Action : uint8_t { bypass = 1, drop = 2 };

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 65535;
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

struct Rule {
  Direction direction = Direction::both;
  Action action = Action::bypass;
  std::optional<packet::Prefix> source;       // any when absent
  std::optional<packet::Prefix> destination;  // any when absent; for outbound, before translation
  PortRange source_ports;
  PortRange destination_ports;
  std::optional<uint8_t> protocol;  // any when absent
};

// A rule that names one family applies to that family; one that names none, to both.
class Rules {
 public:
  static constexpr size_t kMaxRules = 4096;

  enum class BuildError : uint8_t { too_many, mixed_families, empty_range, no_memory };

  // Needs a running EAL. On failure returns null and says why.
  static std::unique_ptr<const Rules> build(std::span<const Rule> rules, BuildError* error);
  ~Rules();
  Rules(const Rules&) = delete;
  Rules& operator=(const Rules&) = delete;

  struct Hit {
    Action action;
    uint32_t rule;  // index in what was given to build()
  };
  // direction is outbound or inbound. Allocates nothing.
  std::optional<Hit> match(Direction direction, const packet::Tuple& tuple,
                           uint8_t protocol) const noexcept;

  std::span<const Rule> list() const noexcept { return rules_; }

 private:
  Rules() = default;

  std::vector<Rule> rules_;
  rte_acl_ctx* v4_ = nullptr;  // null: no rule of that family
  rte_acl_ctx* v6_ = nullptr;
};

const char* text(Rules::BuildError error) noexcept;

}  // namespace isthmus::capture
