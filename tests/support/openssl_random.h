// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// OpenSSL's randomness from a seed, so that a run with real TLS handshakes repeats to the byte.
#pragma once

#include <cstdint>

namespace isthmus::test {

// For the whole process, from now on; again to start over. Never in a program that talks to others.
void seed_openssl(uint64_t seed);

}  // namespace isthmus::test
