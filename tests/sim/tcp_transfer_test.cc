// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Every byte arrives once and in order, or the connection reports an error: over links that
// misbehave, by seed: 1,500 of them, 10,000 where ISTHMUS_LONG is set. ISTHMUS_SEEDS=N runs
// seeds 1..N; ISTHMUS_SEED=S replays one, prints its packets and writes them to sim_tcp-S.pcap in
// the working directory.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/dice.h"
#include "sim/tcp_run.h"

namespace isthmus::sim {
namespace {

TEST(Transfer, EveryByteOnceAndInOrderOrAnError) {
  if (const uint64_t seed = number("ISTHMUS_SEED", 0); seed != 0) {
    Scenario scenario = random_scenario(seed);
    scenario.keep_packets = true;
    TcpRun run(scenario);
    const std::string error = run.finish();
    const std::string pcap = fmt::format("sim_tcp-{}.pcap", seed);
    fmt::print("{}\n{}", describe(scenario), run.log().text());
    EXPECT_TRUE(run.log().write_pcap(pcap)) << pcap;
    EXPECT_EQ(error, "");
    return;
  }
  const uint64_t seeds = number("ISTHMUS_SEEDS", number("ISTHMUS_LONG", 0) != 0 ? 10'000 : 1'500);
  uint64_t failures = 0;
  uint64_t completed = 0;
  for (uint64_t seed = 1; seed <= seeds && failures < 5; ++seed) {
    Scenario scenario = random_scenario(seed);
    scenario.write_log = false;
    TcpRun run(scenario);
    const std::string error = run.finish();
    if (error.empty() && !run.user(0).aborted() && !run.user(1).aborted() &&
        run.user(0).failure() == tcp::Failure::none) {
      ++completed;
    }
    if (error.empty()) continue;
    ++failures;
    ADD_FAILURE() << error << "\n  replay: ISTHMUS_SEED=" << seed
                  << " sim_tcp --gtest_filter=Transfer.EveryByte*";
  }
  fmt::print("{} seeds, {} ended by FIN both ways\n", seeds, completed);
  // Aborts are one in six; the rest must mostly succeed, or the oracle would accept a stack that
  // fails everything.
  EXPECT_GT(completed, seeds / 2);
}

TEST(Transfer, SameSeedSamePackets) {
  for (const uint64_t seed : {7u, 21u, 104u}) {
    TcpRun first(random_scenario(seed));
    const std::string error = first.finish();
    TcpRun second(random_scenario(seed));
    EXPECT_EQ(second.finish(), error);
    EXPECT_FALSE(first.log().text().empty());
    EXPECT_EQ(first.log().text(), second.log().text()) << "seed " << seed;
  }
  TcpRun other(random_scenario(8));
  other.finish();
  TcpRun seventh(random_scenario(7));
  seventh.finish();
  EXPECT_NE(other.log().text(), seventh.log().text());
}

}  // namespace
}  // namespace isthmus::sim
