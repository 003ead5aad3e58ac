// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A connection that moves to another engine in mid-transfer, again and again, over links that lose:
// every byte arrives once and in order, and the peer notices nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>

#include "sim/tcp_run.h"

namespace isthmus::sim {
namespace {

struct Tally {
  unsigned moves = 0;
  unsigned in_flight = 0;     // with unacknowledged data
  unsigned out_of_order = 0;  // with bytes behind a gap
  unsigned unread = 0;
  unsigned recovering = 0;
  unsigned closing = 0;
  unsigned completed = 0;
};

void note(Tally& tally, const tcp::Info& info) {
  ++tally.moves;
  if (info.in_flight != 0) ++tally.in_flight;
  if (info.out_of_order != 0) ++tally.out_of_order;
  if (info.receive_queued != 0) ++tally.unread;
  if (std::string(info.congestion_state) != "open") ++tally.recovering;
  if (info.state != tcp::State::established) ++tally.closing;
}

// One step in `every` moves one side or the other.
std::string run_with_moves(Scenario scenario, unsigned every, Tally& tally) {
  // A new engine for each move: small ones.
  for (tcp::Config& config : scenario.config) {
    config.max_connections = config.max_time_wait = 4;
    config.max_sent_records = 8192;
    config.max_gaps = 2048;
  }
  TcpRun run(scenario);
  std::mt19937_64 random(scenario.seed);
  std::string error;
  while (error.empty() && run.steps() < 200'000 && run.step()) {
    if (random() % every != 0) continue;
    const int side = static_cast<int>(random() % 2);
    if (run.connection(side) == nullptr) continue;
    const tcp::Info before = run.connection(side)->info();
    if (!run.host(side).move_to_new_engine(run.user(side), error)) continue;
    note(tally, before);
    if (error.empty() && run.connection(side) != nullptr && !run.connection(side)->consistent()) {
      error = "an imported connection contradicts itself";
    }
  }
  if (error.empty()) error = run.finish();
  if (error.empty() && run.user(0).failure() == tcp::Failure::none && !run.user(0).aborted() &&
      !run.user(1).aborted()) {
    ++tally.completed;
  }
  return error.empty() ? error : fmt::format("seed {}: {}", scenario.seed, error);
}

TEST(Export, EveryByteOnceAndInOrderThroughMovesAtRandom) {
  Tally tally;
  constexpr unsigned kSeeds = 400;
  for (uint64_t seed = 1; seed <= kSeeds && !testing::Test::HasFailure(); ++seed) {
    Scenario scenario = random_scenario(seed);
    scenario.write_log = false;
    EXPECT_EQ(run_with_moves(scenario, 1 + seed % 40, tally), "");
  }
  fmt::print(
      "{} moves: {} with data in flight, {} out of order, {} unread, {} in recovery, "
      "{} closing; {} of {} ended by FIN both ways\n",
      tally.moves, tally.in_flight, tally.out_of_order, tally.unread, tally.recovering,
      tally.closing, tally.completed, kSeeds);
  // Or the test would not be about what it says.
  EXPECT_GT(tally.moves, 2000u);
  EXPECT_GT(tally.in_flight, 500u);
  EXPECT_GT(tally.out_of_order, 100u);
  EXPECT_GT(tally.recovering, 100u);
  EXPECT_GT(tally.closing, 50u);
  EXPECT_GT(tally.completed, kSeeds / 2);
}

// With a move after each event, most of what waits for a timer waits anew; it must still come.
TEST(Export, MovesAtEveryEventUnderLoss) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Scenario scenario;
    scenario.seed = seed;
    scenario.link.loss = 0.02;
    scenario.link.reorder = 0.02;
    scenario.user[0].bytes = 300'000;
    scenario.user[1].bytes = 200'000;
    scenario.write_log = false;
    Tally tally;
    EXPECT_EQ(run_with_moves(scenario, 1, tally), "");
    EXPECT_EQ(tally.completed, 1u);
  }
}

}  // namespace
}  // namespace isthmus::sim
