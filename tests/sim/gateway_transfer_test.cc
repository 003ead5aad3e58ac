// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two gateways over a link that misbehaves, by seed: every byte arrives once and in order or the
// connection reports an error, and afterwards nothing is left. ISTHMUS_SEEDS=N runs seeds 1..N;
// ISTHMUS_SEED=S replays one and prints its packets.
#include <chrono>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/dice.h"
#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

TEST(Gateways, EveryByteOnceAndInOrderOrAnError) {
  if (const uint64_t seed = number("ISTHMUS_SEED", 0); seed != 0) {
    World world(random_gateways(seed));
    const std::string error = world.finish();
    fmt::print("{}{}\n{}", describe(random_gateways(seed)), world.outcome(), world.log().text());
    EXPECT_EQ(error, "");
    return;
  }
  const uint64_t seeds = number("ISTHMUS_SEEDS", 600);
  const auto start = std::chrono::steady_clock::now();
  uint64_t failures = 0;
  size_t flows = 0;
  size_t completed = 0;
  size_t broken = 0;
  for (uint64_t seed = 1; seed <= seeds && failures < 5; ++seed) {
    World world(random_gateways(seed));
    const std::string error = world.finish();
    flows += world.flows();
    completed += world.completed();
    broken += world.broken();
    if (error.empty()) continue;
    ++failures;
    ADD_FAILURE() << error << "\n  replay: ISTHMUS_SEED=" << seed
                  << " sim_gateway --gtest_filter=Gateways.EveryByte*";
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{} seeds in {:.1f} s, {} flows, {} ended by FIN both ways, {} broken by losses\n",
             seeds, took.count(), flows, completed, broken);
  // One in six aborts and one in five is refused; the rest must mostly succeed, or the oracle would
  // accept gateways that fail everything.
  EXPECT_GT(completed, flows / 2);
  EXPECT_LE(broken, flows / 500);
}

// With TLS's randomness seeded too, a run repeats to the last byte.
TEST(Gateways, SameSeedSamePackets) {
  for (const uint64_t seed : {3u, 8u, 21u}) {
    World first(random_gateways(seed));
    const std::string error = first.finish();
    World second(random_gateways(seed));
    EXPECT_EQ(second.finish(), error);
    EXPECT_FALSE(first.log().text().empty());
    EXPECT_EQ(first.log().text(), second.log().text()) << "seed " << seed;
    EXPECT_EQ(first.digest(), second.digest()) << "seed " << seed;
  }
  World other(random_gateways(4));
  other.finish();
  World third(random_gateways(3));
  third.finish();
  EXPECT_NE(other.digest(), third.digest());
}

}  // namespace
}  // namespace isthmus::sim
