// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "support/openssl_random.h"

#include <openssl/rand.h>
#include <random>

namespace isthmus::test {
namespace {

std::mt19937_64 generator;

int bytes(unsigned char* to, int n) {
  for (int i = 0; i < n; ++i) to[i] = static_cast<unsigned char>(generator());
  return 1;
}
int status() {
  return 1;
}

}  // namespace

void seed_openssl(uint64_t seed) {
  static const RAND_METHOD method = {
      .seed = nullptr,
      .bytes = bytes,
      .cleanup = nullptr,
      .add = nullptr,
      .pseudorand = bytes,
      .status = status,
  };
  generator.seed(seed);
// Deprecated in favour of providers, which would be a library of its own here.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  RAND_set_rand_method(&method);
#pragma GCC diagnostic pop
}

}  // namespace isthmus::test
