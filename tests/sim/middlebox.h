// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What firewalls and load balancers do to TCP headers on their way. One box sees both directions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isthmus::sim {

struct Middlebox {
  // Options blanked out with NOPs in the SYNs of a side (bit 0: side 0, bit 1: side 1).
  uint8_t strip_timestamps = 0;
  uint8_t strip_sack = 0;
  uint8_t strip_scale = 0;  // of one SYN only: the two ends disagree about what a window means
  uint16_t clamp_mss = 0;   // no SYN promises more; 0: off
  // Added to the sequence numbers of a side, and taken from what acknowledges them.
  uint32_t shift[2] = {0, 0};
  bool shift_sack = true;  // false: the box that forgets SACK blocks when it rewrites numbers
  bool bleach_ecn = false;

  bool idle() const;
  // An IP packet of side from, on its way to the other side. Checksums are right afterwards if they
  // were.
  void rewrite(int from, std::vector<uint8_t>& packet) const;
};

std::string describe(const Middlebox& box);

// Sets the congestion experienced mark of a packet that is ECN capable. False when it isn't.
bool mark_congestion(std::vector<uint8_t>& packet);

}  // namespace isthmus::sim
