// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/options.h"

#include <algorithm>

#include "packet/endian.h"

namespace isthmus::tcp {
namespace {

using packet::load_be;
using packet::store_be;

enum Kind : uint8_t {
  kEnd = 0,
  kNop = 1,
  kMss = 2,
  kScale = 3,
  kSackPermitted = 4,
  kSack = 5,
  kTimestamp = 8
};

// What nearly every segment has: two NOPs and a timestamp.
constexpr uint32_t kAlignedTimestamp = 0x0101080a;
// And nearly every SYN, beside values: MSS; SACK permitted and a timestamp; a NOP and the scale.
constexpr unsigned kCommonSynBytes = 20;
constexpr uint32_t kMssAndValue = 0x0204 << 16;
constexpr uint32_t kSackTimestamp = 0x0402080a;
constexpr uint32_t kNopScaleAndValue = 0x010303 << 8;

// All of them in that order; false: it is another one.
bool parse_common_syn(const uint8_t* at, SegmentOptions& out) {
  const auto mss = load_be<uint32_t>(at);
  const auto scale = load_be<uint32_t>(at + 16);
  if ((mss & ~0xffffu) != kMssAndValue || load_be<uint32_t>(at + 4) != kSackTimestamp ||
      (scale & ~0xffu) != kNopScaleAndValue) {
    return false;
  }
  out.has_mss = out.has_scale = out.sack_permitted = out.has_timestamp = true;
  out.mss = static_cast<uint16_t>(mss);
  out.timestamp = load_be<uint32_t>(at + 8);
  out.echo = load_be<uint32_t>(at + 12);
  out.scale = std::min(static_cast<uint8_t>(scale), kMaxWindowScale);
  return true;
}

bool parse_one(uint8_t kind, std::span<const uint8_t> body, bool syn, SegmentOptions& out) {
  switch (kind) {
    case kMss:
      if (body.size() != 2) return false;
      if (!syn) return true;
      out.has_mss = true;
      out.mss = load_be<uint16_t>(body.data());
      return true;
    case kScale:
      if (body.size() != 1) return false;
      if (!syn) return true;
      out.has_scale = true;
      out.scale = std::min(body[0], kMaxWindowScale);
      return true;
    case kSackPermitted:
      if (!body.empty()) return false;
      out.sack_permitted = syn;
      return true;
    case kTimestamp:
      if (body.size() != 8) return false;
      out.has_timestamp = true;
      out.timestamp = load_be<uint32_t>(body.data());
      out.echo = load_be<uint32_t>(body.data() + 4);
      return true;
    case kSack:
      if (body.empty() || body.size() % 8 != 0) return false;
      out.sack_count = static_cast<uint8_t>(std::min<size_t>(body.size() / 8, kMaxSackBlocks));
      for (unsigned i = 0; i < out.sack_count; ++i, body = body.subspan(8)) {
        out.sack[i] = {load_be<uint32_t>(body.data()), load_be<uint32_t>(body.data() + 4)};
      }
      return true;
    default:
      return true;
  }
}

unsigned write_common_syn(const SegmentOptions& options, uint8_t* to) {
  store_be(to, kMssAndValue | options.mss);
  store_be(to + 4, kSackTimestamp);
  store_be(to + 8, options.timestamp);
  store_be(to + 12, options.echo);
  store_be(to + 16, kNopScaleAndValue | options.scale);
  return kCommonSynBytes;
}

}  // namespace

bool parse_options(std::span<const uint8_t> bytes, bool syn, SegmentOptions& out) {
  if (bytes.size() == kTimestampBytes && load_be<uint32_t>(bytes.data()) == kAlignedTimestamp) {
    out.has_timestamp = true;
    out.timestamp = load_be<uint32_t>(bytes.data() + 4);
    out.echo = load_be<uint32_t>(bytes.data() + 8);
    return true;
  }
  if (syn && bytes.size() == kCommonSynBytes && parse_common_syn(bytes.data(), out)) return true;
  while (!bytes.empty()) {
    const uint8_t kind = bytes[0];
    if (kind == kEnd) return true;
    if (kind == kNop) {
      bytes = bytes.subspan(1);
      continue;
    }
    if (bytes.size() < 2 || bytes[1] < 2 || bytes[1] > bytes.size()) return false;
    if (!parse_one(kind, bytes.subspan(2, bytes[1] - 2u), syn, out)) return false;
    bytes = bytes.subspan(bytes[1]);
  }
  return true;
}

unsigned write_options(const SegmentOptions& options, bool syn, uint8_t* to) {
  if (!syn && options.sack_count == 0) {
    if (!options.has_timestamp) return 0;
    store_be(to, kAlignedTimestamp);
    store_be(to + 4, options.timestamp);
    store_be(to + 8, options.echo);
    return kTimestampBytes;
  }
  if (syn && options.has_mss && options.sack_permitted && options.has_timestamp &&
      options.has_scale && options.sack_count == 0) {
    return write_common_syn(options, to);
  }
  uint8_t* at = to;
  if (syn && options.has_mss) {
    *at++ = kMss;
    *at++ = 4;
    store_be(at, options.mss);
    at += 2;
  }
  if (syn && options.sack_permitted) {
    if (!options.has_timestamp) {
      *at++ = kNop;
      *at++ = kNop;
    }
    *at++ = kSackPermitted;
    *at++ = 2;
  }
  if (options.has_timestamp) {
    if (!syn || !options.sack_permitted) {
      *at++ = kNop;
      *at++ = kNop;
    }
    *at++ = kTimestamp;
    *at++ = 10;
    store_be(at, options.timestamp);
    store_be(at + 4, options.echo);
    at += 8;
  }
  if (syn && options.has_scale) {
    *at++ = kNop;
    *at++ = kScale;
    *at++ = 3;
    *at++ = options.scale;
  }
  const auto used = static_cast<unsigned>(at - to);
  const unsigned blocks = std::min<unsigned>(options.sack_count, (kMaxOptionBytes - used - 4) / 8);
  if (blocks != 0) {
    *at++ = kNop;
    *at++ = kNop;
    *at++ = kSack;
    *at++ = static_cast<uint8_t>(2 + 8 * blocks);
    for (unsigned i = 0; i < blocks; ++i, at += 8) {
      store_be(at, options.sack[i].start);
      store_be(at + 4, options.sack[i].end);
    }
  }
  return static_cast<unsigned>(at - to);
}

}  // namespace isthmus::tcp
