// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the timing wheel costs a segment when there are many connections: each sends in turn, which
// arms a deadline of 4 ms, and has its answer at once, which takes it back. A microsecond passes
// for each. The connections are records of seven cache lines in random order; their own
// lines have been asked for, as an engine does, and only the wheel's calls are timed.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "timer/wheel.h"

namespace isthmus::timer {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Instant kStart{std::chrono::seconds(1'000'000)};
constexpr unsigned kBurst = 32;

struct alignas(64) Record : Wheel::Entry {
  char rest[448 - sizeof(Wheel::Entry)];
};

class Records {
 public:
  explicit Records(unsigned count)
      : wheel(kStart, count), records_(std::make_unique<Record[]>(count)), order_(count) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  }
  ~Records() {
    for (unsigned i = 0; i < order_.size(); ++i) wheel.cancel(records_[i]);
  }
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;

  // Calls use(Record&) for the next burst.
  template <typename Use>
  void burst(Use&& use) {
    for (unsigned i = 0; i < kBurst; ++i) {
      const auto* at = reinterpret_cast<const char*>(&record(i));
      for (unsigned line = 0; line < sizeof(Record); line += 64) __builtin_prefetch(at + line, 1);
    }
    for (unsigned i = 0; i < kBurst; ++i) benchmark::DoNotOptimize(record(i).rest[0] += 1);
    const auto start = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < kBurst; ++i) use(record(i));
    now += microseconds(kBurst);
    wheel.advance(now, ~0u, [](Wheel::Entry&) {});
    spent = std::chrono::steady_clock::now() - start;
    next_ += kBurst;
  }

  Wheel wheel;
  Instant now = kStart;
  std::chrono::duration<double> spent{};

 private:
  Record& record(unsigned i) { return records_[order_[(next_ + i) % order_.size()]]; }

  std::unique_ptr<Record[]> records_;
  std::vector<uint32_t> order_;
  size_t next_ = 0;
};

template <typename Use>
void measure(benchmark::State& state, Use&& use) {
  Records records(static_cast<unsigned>(state.range(0)));
  const auto each = [&](Record& record) { use(records, record); };
  for (int64_t i = 0; i < 4 * state.range(0); i += kBurst) records.burst(each);
  for (auto _ : state) {
    records.burst(each);
    state.SetIterationTime(records.spent.count());
  }
  state.counters["each"] = benchmark::Counter(
      kBurst, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// The wheel comes by an entry that nobody wants.
void given_up(benchmark::State& state) {
  measure(state, [](Records& records, Record& record) {
    records.wheel.arm(record, records.now + milliseconds(4));
    records.wheel.arm(record, kNever);
  });
}

// With keepalive: it goes on to a place far away, which the next segment takes it from.
void put_off(benchmark::State& state) {
  measure(state, [](Records& records, Record& record) {
    records.wheel.arm(record, records.now + milliseconds(4));
    records.wheel.arm(record, records.now + hours(2));
  });
}

BENCHMARK(given_up)->Arg(1000)->Arg(10'000)->Arg(100'000)->UseManualTime();
BENCHMARK(put_off)->Arg(1000)->Arg(10'000)->Arg(100'000)->UseManualTime();

}  // namespace
}  // namespace isthmus::timer

BENCHMARK_MAIN();
