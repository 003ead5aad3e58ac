// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The figures of `scripts/bench tcp-sim`, held to their targets.
#include "sim/tcp_goodput.h"

#include <chrono>
#include <gtest/gtest.h>

namespace isthmus::sim {
namespace {

void expect_met(const std::vector<Figure>& figures) {
  for (const Figure& figure : figures) {
    EXPECT_TRUE(figure.met()) << figure.name << ": " << figure.measured << " " << figure.unit
                              << ", wanted " << figure.target;
  }
}

TEST(Goodput, NinetyFivePercentOfTheLinkWithoutLoss) {
  expect_met(goodput_without_loss());
}
TEST(Goodput, Rfc9002PacingIsWorthAThirdOnShallowQueues) {
  expect_met(shallow_queues());
}
TEST(Goodput, Rfc9438LawUnderRandomLoss) {
  expect_met(goodput_under_loss());
}
TEST(Goodput, Rfc8985LostTailInTwoRoundTripsAndTenMilliseconds) {
  expect_met(tail_repair());
}
TEST(Goodput, Rfc8985ReorderingByThreePacketsCausesNoTimeout) {
  expect_met(reordering());
}
TEST(Goodput, Rfc9438TwoFlowsShareEvenly) {
  expect_met(fairness(std::chrono::milliseconds(10), 1));  // scripts/bench tcp-sim has more
}
TEST(Goodput, AShortQueueTakesAndLeavesAnEvenShare) {
  expect_met(fairness(std::chrono::milliseconds(10), 1, 1));
  expect_met(fairness(std::chrono::milliseconds(10), 1, 2));
}

}  // namespace
}  // namespace isthmus::sim
