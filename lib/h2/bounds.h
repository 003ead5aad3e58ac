// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a peer may make us do, and how often. Each bound answers a known attack; the figures leave
// Envoy, hyper and nghttp2 at work an order of magnitude of room.
#pragma once

#include <algorithm>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::h2 {

// A bucket of events: starts full at `burst`, refills by `per_second`.
struct Rate {
  uint16_t burst;
  uint16_t per_second;
};

// RST_STREAM for requests that had no answer yet (CVE-2023-44487, rapid reset).
inline constexpr Rate kEarlyResets = {256, 64};
// RST_STREAM that the peer's errors made us send (CVE-2025-8671, MadeYouReset).
inline constexpr Rate kForcedResets = {128, 32};
inline constexpr Rate kPings = {128, 32};   // CVE-2019-9512
inline constexpr Rate kSettings = {32, 4};  // CVE-2019-9515
// Entries of one SETTINGS frame: each INITIAL_WINDOW_SIZE is work for every stream.
inline constexpr uint32_t kMaxSettings = 32;
inline constexpr Rate kEmptyFrames = {64, 16};  // CVE-2019-9518
// PRIORITY (CVE-2019-9513), unknown types, another GOAWAY, ACKs that nothing asked for.
inline constexpr Rate kIgnoredFrames = {512, 128};
// WINDOW_UPDATEs: a burst, and so many for each DATA frame that we sent.
inline constexpr uint32_t kWindowUpdateBurst = 1024;
inline constexpr uint32_t kWindowUpdatesPerData = 20;
// CVE-2024-27316: checked before END_HEADERS.
inline constexpr uint32_t kMaxContinuations = 8;
inline constexpr uint32_t kMaxHeaderBlock = 32'768;  // compressed bytes
inline constexpr uint32_t kMaxFields = 128;          // of one header list
inline constexpr uint32_t kMaxHeaderList =
    16'384;  // uncompressed, RFC 9113 section 6.5.2; advertised

class Budget {
 public:
  explicit Budget(Rate rate) : tokens_(rate.burst) {}

  // Takes a token. False when there is none: the peer has passed the limit.
  bool take(Rate rate, timer::Instant now) {
    constexpr int64_t kSecond = 1'000'000;
    const int64_t earned = (now - refilled_).count() * rate.per_second / kSecond;
    if (earned > 0) {
      tokens_ = static_cast<uint16_t>(std::min<int64_t>(rate.burst, tokens_ + earned));
      refilled_ = now;
    }
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }

 private:
  timer::Instant refilled_{};
  uint16_t tokens_;
};

}  // namespace isthmus::h2
