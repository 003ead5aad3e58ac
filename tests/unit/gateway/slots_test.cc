// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/slots.h"

#include <gtest/gtest.h>
#include <set>

namespace isthmus::gateway {
namespace {

struct Counted {
  explicit Counted(int n) : number(n) { ++alive; }
  ~Counted() { --alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  static inline int alive = 0;
  int number;
};

TEST(Slots, TakesAsManyAsThereAreAndNoMore) {
  Slots<Counted> slots(3);
  std::set<Counted*> taken;
  for (int i = 0; i < 3; ++i) taken.insert(slots.take(i));
  EXPECT_EQ(taken.size(), 3u);
  EXPECT_EQ(slots.used(), 3u);
  EXPECT_EQ(slots.take(3), nullptr);
  slots.give_back(*taken.begin());
  EXPECT_EQ(Counted::alive, 2);
  EXPECT_EQ(slots.take(4), *taken.begin()) << "the place that is free";
}

TEST(Slots, VisitorMayGiveBackWhatItIsShown) {
  Slots<Counted> slots(8);
  for (int i = 0; i < 8; ++i) slots.take(i);
  int seen = 0;
  slots.for_each([&](Counted& each) {
    ++seen;
    if (each.number % 2 == 0) slots.give_back(&each);
  });
  EXPECT_EQ(seen, 8);
  EXPECT_EQ(slots.used(), 4u);
  slots.for_each([](Counted& each) { EXPECT_EQ(each.number % 2, 1); });
}

TEST(Slots, DestroysWhatIsLeft) {
  {
    Slots<Counted> slots(4);
    slots.take(1);
    slots.take(2);
  }
  EXPECT_EQ(Counted::alive, 0);
}

}  // namespace
}  // namespace isthmus::gateway
