// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Where a worker's time goes: cycles, calls and items of each stage of its loop. Cycle counts come
// from the caller, which reads the clock once between two stages. Single writer, relaxed readers.
#pragma once

#include <cstdint>

namespace isthmus::stats {

struct StageTotals {
  uint64_t cycles = 0;
  uint64_t calls = 0;
  uint64_t items = 0;  // packets, timers, events: whatever the stage works on
};

template <typename Stage, unsigned kStages>
class CycleCounters {
 public:
  void add(Stage stage, uint64_t cycles, uint64_t items) {
    StageTotals& totals = stages_[static_cast<unsigned>(stage)];
    __atomic_store_n(&totals.cycles, totals.cycles + cycles, __ATOMIC_RELAXED);
    __atomic_store_n(&totals.calls, totals.calls + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&totals.items, totals.items + items, __ATOMIC_RELAXED);
  }
  StageTotals get(Stage stage) const {
    const StageTotals& totals = stages_[static_cast<unsigned>(stage)];
    return {__atomic_load_n(&totals.cycles, __ATOMIC_RELAXED),
            __atomic_load_n(&totals.calls, __ATOMIC_RELAXED),
            __atomic_load_n(&totals.items, __ATOMIC_RELAXED)};
  }

 private:
  StageTotals stages_[kStages] = {};
};

}  // namespace isthmus::stats
