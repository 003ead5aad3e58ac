// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// TCP options as they stand in a segment (RFC 9293 section 3.2, RFC 7323, RFC 2018): parsed from
// untrusted bytes, written for our own.
#pragma once

#include <cstdint>
#include <span>

#include "tcp/sequence.h"

namespace isthmus::tcp {

struct SackBlock {
  Seq start = 0;
  Seq end = 0;  // exclusive
  friend constexpr bool operator==(const SackBlock&, const SackBlock&) = default;
};

inline constexpr unsigned kMaxSackBlocks = 4;
inline constexpr unsigned kMaxOptionBytes = 40;
inline constexpr uint8_t kMaxWindowScale = 14;  // RFC 7323 section 2.3
// Bytes of the timestamp option as everybody aligns it: NOP, NOP, kind, length, two words.
inline constexpr unsigned kTimestampBytes = 12;

struct SegmentOptions {
  bool has_mss = false;
  bool has_scale = false;
  bool sack_permitted = false;
  bool has_timestamp = false;
  uint16_t mss = 0;
  uint8_t scale = 0;  // clamped to kMaxWindowScale
  uint8_t sack_count = 0;
  uint32_t timestamp = 0;
  uint32_t echo = 0;
  SackBlock sack[kMaxSackBlocks];
};

// Reads the bytes between the fixed header and the payload (at most 40). MSS, window scale and
// SACK-permitted count only on a SYN. False when a length lies (MUST-7): the segment is not to be
// trusted. Unknown kinds are skipped by their length (MUST-6).
bool parse_options(std::span<const uint8_t> bytes, bool syn, SegmentOptions& out);

// Writes what is set in options, padded with NOPs in front to a multiple of four, SACK blocks last
// and as many as fit. Returns the length, at most 40. With syn, the SYN options are written.
unsigned write_options(const SegmentOptions& options, bool syn, uint8_t* to);

}  // namespace isthmus::tcp
