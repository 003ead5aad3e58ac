// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Every dropped packet, refused connection and failed tunnel has a named reason, counted once: by
// whoever finds it. A flow's record shows the reason; that counts nothing.
// reason.def is the list; the console, the metrics and the documentation are made from it.
#pragma once

#include <cstdint>
#include <optional>

namespace isthmus::stats {

enum class Reason : uint16_t {
#define ISTHMUS_REASON(room, name, text) room##_##name,
#include "stats/reason.def"
#undef ISTHMUS_REASON
  count_  // number of reasons
};

inline constexpr unsigned kReasonCount = static_cast<unsigned>(Reason::count_);

// Why something was refused; or nothing, when it wasn't. As std::optional<Reason>, but one number:
// gcc writes an optional's two members one by one and reads them back together, which waits for the
// store buffer in each function that hands it on.
class Refusal {
 public:
  constexpr Refusal() = default;
  constexpr Refusal(std::nullopt_t) {}
  constexpr Refusal(Reason reason) : reason_(reason) {}

  constexpr explicit operator bool() const { return has_value(); }
  constexpr bool has_value() const { return reason_ != Reason::count_; }
  // Only of a refusal.
  constexpr Reason operator*() const { return reason_; }

  friend constexpr bool operator==(const Refusal&, const Refusal&) = default;

 private:
  Reason reason_ = Reason::count_;
};

struct ReasonInfo {
  const char* room;  // "geneve"
  const char* name;  // "bad_version"
  const char* text;  // one line for people
};
const ReasonInfo& info(Reason reason);

// One worker's counters. Written by its owner only, read by others with relaxed loads.
class ReasonCounters {
 public:
  void count(Reason reason, uint64_t n = 1) {
    auto& slot = values_[static_cast<unsigned>(reason)];
    __atomic_store_n(&slot, slot + n, __ATOMIC_RELAXED);
  }
  uint64_t get(Reason reason) const {
    return __atomic_load_n(&values_[static_cast<unsigned>(reason)], __ATOMIC_RELAXED);
  }

 private:
  uint64_t values_[kReasonCount] = {};
};

}  // namespace isthmus::stats
