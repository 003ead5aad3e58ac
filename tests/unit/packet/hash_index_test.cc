// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/hash_index.h"

#include <gtest/gtest.h>
#include <random>
#include <unordered_map>

namespace isthmus::packet {
namespace {

// Hashes of few values, so that runs are long, wrap around and are closed again and again.
TEST(HashIndex, AgreesWithAMap) {
  for (const uint32_t spread : {1u, 7u, 100'000u}) {
    std::mt19937 random(9);
    HashIndex index(64);
    std::unordered_map<uint32_t, uint64_t> model;
    for (int step = 0; step < 50'000; ++step) {
      const uint32_t number = random() % 64;
      const auto found = model.find(number);
      if (found == model.end()) {
        const uint64_t hash = (random() % spread) * 0x9e3779b97f4a7c15;
        index.insert(hash, number);
        model[number] = hash;
      } else if (random() % 2 == 0) {
        index.erase(found->second, number);
        model.erase(found);
      }
      const uint32_t probe = random() % 64;
      const auto wanted = model.find(probe);
      const uint64_t hash = wanted == model.end() ? 12345 : wanted->second;
      const uint32_t got = index.find(hash, [&](uint32_t candidate) { return candidate == probe; });
      ASSERT_EQ(got, wanted == model.end() ? HashIndex::kNone : probe);
      // What is fetched ahead is the one, or one of the same hash.
      const uint32_t candidate = index.candidate(hash);
      if (wanted == model.end()) continue;
      ASSERT_NE(candidate, HashIndex::kNone);
      ASSERT_EQ(static_cast<uint32_t>(model[candidate]), static_cast<uint32_t>(hash));
    }
  }
}

TEST(HashIndex, EqualHashesAreToldApartByTheCaller) {
  HashIndex index(8);
  index.insert(5, 1);
  index.insert(5, 2);
  EXPECT_EQ(index.find(5, [](uint32_t n) { return n == 2; }), 2u);
  index.erase(5, 1);
  EXPECT_EQ(index.find(5, [](uint32_t n) { return n == 2; }), 2u);
  EXPECT_EQ(index.find(5, [](uint32_t n) { return n == 1; }), HashIndex::kNone);
}

}  // namespace
}  // namespace isthmus::packet
