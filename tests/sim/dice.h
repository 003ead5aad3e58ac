// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a seed decides, and which seeds the environment asks for.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace isthmus::sim {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t upto(uint64_t n) { return random_() % (n + 1); }
  bool one_in(uint64_t n) { return random_() % n == 0; }
  // Up to the largest, in steps of a thousandth of it.
  double share(double largest) { return largest * 0.001 * static_cast<double>(upto(1000)); }

 private:
  std::mt19937_64 random_;
};

// A number in the environment.
inline uint64_t number(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace isthmus::sim
