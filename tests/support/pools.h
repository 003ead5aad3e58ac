// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Mempools for tests, made once per process.
#pragma once

#include "packet/pools.h"

namespace isthmus::test {

// Small enough for --no-huge -m 256: 8192 small, 1024 large, 16384 clones.
packet::Pools& pools();

// Mbufs taken from the three pools and not given back: a test asserts that it returns to where it
// was.
unsigned mbufs_in_use();

}  // namespace isthmus::test
