// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <cctype>
#include <gtest/gtest.h>
#include <set>
#include <string>

#include "stats/cycles.h"
#include "stats/histogram.h"
#include "stats/reason.h"

namespace isthmus::stats {
namespace {

TEST(Reason, EveryOneHasARoomANameAndAText) {
  std::set<std::string> names;
  for (unsigned i = 0; i < kReasonCount; ++i) {
    const ReasonInfo& reason = info(static_cast<Reason>(i));
    EXPECT_TRUE(names.insert(std::string(reason.room) + "_" + reason.name).second);
    ASSERT_GT(std::string(reason.text).size(), 5u) << reason.name;
    EXPECT_NE(std::string(reason.text).back(), '.') << reason.name;
  }
  EXPECT_STREQ(info(Reason::packet_truncated).room, "packet");
  EXPECT_STREQ(info(Reason::packet_truncated).name, "truncated");
}

TEST(Reason, EveryOneIsCountedByItself) {
  ReasonCounters counters;
  counters.count(Reason::packet_truncated);
  counters.count(Reason::packet_truncated, 4);
  counters.count(Reason::packet_no_buffer);
  EXPECT_EQ(counters.get(Reason::packet_truncated), 5u);
  EXPECT_EQ(counters.get(Reason::packet_no_buffer), 1u);
  EXPECT_EQ(counters.get(Reason::packet_bad_checksum), 0u);
}

TEST(Histogram, BucketsArePowersOfTwo) {
  Histogram histogram;
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{4}, UINT64_MAX}) {
    histogram.record(value);
  }
  EXPECT_EQ(histogram.bucket(0), 1u);
  EXPECT_EQ(histogram.bucket(1), 1u);
  EXPECT_EQ(histogram.bucket(2), 2u);
  EXPECT_EQ(histogram.bucket(3), 1u);
  EXPECT_EQ(histogram.bucket(64), 1u);
  EXPECT_EQ(histogram.count(), 6u);
  EXPECT_EQ(histogram.max(), UINT64_MAX);
  for (unsigned n = 1; n < Histogram::kBuckets; ++n) {
    Histogram one;
    one.record(Histogram::lower_bound(n));
    EXPECT_EQ(one.bucket(n), 1u);
  }
}

TEST(Histogram, QuantileIsNeverBelowTheValueAndAtMostTwiceIt) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0u);
  for (uint64_t value = 1; value <= 1000; ++value) histogram.record(value);
  EXPECT_EQ(histogram.sum(), 500'500u);
  for (const double share : {0.01, 0.5, 0.9, 0.99}) {
    const double exact = share * 1000;
    EXPECT_GE(histogram.quantile(share), exact);
    EXPECT_LE(histogram.quantile(share), 2 * exact);
  }
  EXPECT_EQ(histogram.quantile(1.0), 1000u);
}

TEST(Histogram, MergedWorkersCountAsOne) {
  Histogram all;
  Histogram one;
  Histogram two;
  one.record(5);
  two.record(7);
  two.record(900);
  all.merge(one);
  all.merge(two);
  EXPECT_EQ(all.count(), 3u);
  EXPECT_EQ(all.sum(), 912u);
  EXPECT_EQ(all.max(), 900u);
  EXPECT_EQ(all.bucket(3), 2u);
}

TEST(CycleCounters, StagesAreCountedByThemselves) {
  enum class Stage { receive, timers, count_ };
  CycleCounters<Stage, static_cast<unsigned>(Stage::count_)> counters;
  counters.add(Stage::receive, 100, 32);
  counters.add(Stage::receive, 50, 0);
  EXPECT_EQ(counters.get(Stage::receive).cycles, 150u);
  EXPECT_EQ(counters.get(Stage::receive).calls, 2u);
  EXPECT_EQ(counters.get(Stage::receive).items, 32u);
  EXPECT_EQ(counters.get(Stage::timers).calls, 0u);
}

}  // namespace
}  // namespace isthmus::stats
