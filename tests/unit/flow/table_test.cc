// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "flow/table.h"

#include <array>
#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace isthmus::flow {
namespace {

timer::Instant at(int64_t us) {
  return timer::Instant(timer::Duration(us));
}

std::vector<Report> all(const Table& table, uint32_t at_once = 3, uint32_t limit = 5) {
  std::vector<Report> result;
  std::vector<Report> some(at_once);
  for (Table::Cursor cursor; !table.done(cursor);) {
    const uint32_t n = table.copy(cursor, some, limit);
    result.insert(result.end(), some.begin(), some.begin() + n);
  }
  return result;
}

TEST(FlowTable, IdsAreUniqueAcrossWorkersAndNameTheirOwner) {
  Table first(0, 2, 8);
  Table second(1, 2, 8);
  std::set<uint64_t> seen;
  for (int i = 0; i < 8; ++i) {
    const uint64_t a = first.open(at(i))->id;
    const uint64_t b = second.open(at(i))->id;
    EXPECT_EQ(a % 2, 0u);
    EXPECT_EQ(b % 2, 1u);
    EXPECT_NE(a, 0u);
    seen.insert({a, b});
  }
  EXPECT_EQ(seen.size(), 16u);
}

TEST(FlowTable, NoNumberNamesAFreePlace) {
  const Table table(0, 1, 8);
  for (uint64_t place = 0; place <= 8; ++place) {
    EXPECT_FALSE(table.find(place));
    EXPECT_FALSE(table.find(uint64_t{1} << 63 | place));
  }
}

TEST(FlowTable, RefusesWhenFullAndLeavesExistingFlowsUnharmed) {
  Table table(0, 1, 2);
  Record* a = table.open(at(1));
  Record* b = table.open(at(2));
  const uint64_t id = a->id;
  EXPECT_EQ(table.open(at(3)), nullptr);
  EXPECT_TRUE(table.find(id));
  table.close(b, at(4));
  EXPECT_NE(table.open(at(5)), nullptr);
  EXPECT_EQ(table.live(), 2u);
}

TEST(FlowTable, AClosedFlowIsFoundUntilTheRingHasGoneRound) {
  Table table(0, 1, 4, 3);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) {
    Record* record = table.open(at(i));
    record->bytes_to_client = static_cast<uint64_t>(i);
    ids.push_back(record->id);
    table.close(record, at(100 + i));
  }
  EXPECT_FALSE(table.find(ids[0]));
  for (int i = 1; i < 4; ++i) {
    const auto record = table.find(ids[i]);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->state, State::closed);
    EXPECT_EQ(record->bytes_to_client, static_cast<uint64_t>(i));
    EXPECT_EQ(record->closed, at(100 + i));
  }
  EXPECT_FALSE(table.find(0));
}

TEST(FlowTable, ARefusedAuthorityIsKeptAsItCame) {
  Table table(0, 1, 4, 1);
  LogRing log(4);
  table.log_to(&log);
  table.close(table.open(at(1)), at(2), "nonsense");
  unsigned told = 0;
  log.drain([&](const Report& report) {
    EXPECT_EQ(report.refused_authority.view(), "nonsense");
    ++told;
  });
  EXPECT_EQ(told, 1u);
  // The next flow to end in the same place had none.
  table.close(table.open(at(3)), at(4));
  for (const Report& report : all(table)) EXPECT_TRUE(report.refused_authority.empty());
}

TEST(FlowTable, AReusedPlaceStartsClean) {
  Table table(0, 1, 1);
  Record* record = table.open(at(1));
  record->policy = 3;
  record->http_status = 401;
  record->at.mark(kDecided, at(1));
  table.close(record, at(2), "x");
  record = table.open(at(3));
  EXPECT_EQ(record->policy, mesh::kNoName);
  EXPECT_EQ(record->http_status, 0);
  EXPECT_FALSE(record->at.happened(kDecided));
}

TEST(FlowTable, IterationInBoundedStepsSeesEveryRecordOnce) {
  Table table(0, 1, 16, 4);
  std::array<Record*, 10> open;
  for (int i = 0; i < 10; ++i) open[i] = table.open(at(i));
  for (int i = 0; i < 6; ++i) table.close(open[i], at(50));  // the first two are given up
  const auto records = all(table);
  ASSERT_EQ(records.size(), 8u);
  std::set<uint64_t> ids;
  for (const auto& record : records) ids.insert(record.id);
  EXPECT_EQ(ids.size(), 8u);
  EXPECT_EQ(records[0].id, 3u);  // closed ones first, the oldest in front
}

TEST(FlowTable, OneStepLooksAtNoMoreThanItsLimit) {
  Table table(0, 1, 64, 64);
  table.open(at(1));
  std::vector<Report> some(8);
  Table::Cursor cursor;
  EXPECT_EQ(table.copy(cursor, some, 10), 0u);
  EXPECT_EQ(cursor.next, 10u);
}

TEST(Moments, AreExactForHalfAnHourAndToTheMillisecondForWeeks) {
  using std::chrono::hours;
  using std::chrono::minutes;
  Moments moments(at(77));
  EXPECT_TRUE(moments.happened(kCaptured));
  EXPECT_FALSE(moments.happened(kFirstByte));
  for (const timer::Duration after : {timer::Duration(0), timer::Duration(1),
                                      timer::Duration(minutes(35)) + timer::Duration(7)}) {
    moments.mark(kFirstByte, at(77) + after);
    EXPECT_TRUE(moments.happened(kFirstByte));
    EXPECT_EQ(moments.after(kFirstByte), after);
  }
  for (const timer::Duration after :
       {timer::Duration(minutes(36)), timer::Duration(hours(24 * 24))}) {
    moments.mark(kFirstByte, at(77) + after + timer::Duration(999));
    EXPECT_EQ(moments.after(kFirstByte), after);
  }
  moments.mark(kFirstByte, at(77) + hours(24 * 365));
  EXPECT_GE(moments.after(kFirstByte), hours(24 * 24)) << "never earlier than another";
  EXPECT_EQ(moments.captured(), at(77));
}

TEST(ShortText, CutsWhatDoesNotFit) {
  ShortText<4> text;
  text.assign("abcdef");
  EXPECT_EQ(text.view(), "abcd");
  text.assign("x");
  EXPECT_EQ(text.view(), "x");
}

}  // namespace
}  // namespace isthmus::flow
