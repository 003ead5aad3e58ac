// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/cookie.h"

#include <algorithm>
#include <array>

namespace isthmus::tcp {
namespace {

// What peers have: the floor, RFC 9293's defaults, tunnels, Ethernet with and without options,
// jumbo frames.
constexpr std::array<uint16_t, 8> kMssOfIndex = {216, 536, 1220, 1360, 1400, 1440, 1460, 8940};
constexpr unsigned kInfoBits = 6;
constexpr uint32_t kInfoMask = (1u << kInfoBits) - 1;

constexpr uint32_t kOptionMask = 63;
constexpr uint32_t kNoScale = 15;

// Of the largest that is not above it. Each SYN of a flood asks, so nothing is guessed on the way.
uint32_t index_of(uint16_t mss) {
  uint32_t index = mss >= kMssOfIndex[4] ? 4 : 0;
  index += mss >= kMssOfIndex[index + 2] ? 2 : 0;
  index += mss >= kMssOfIndex[index + 1] ? 1 : 0;
  return index;
}

// Never 0, so that the one before it is an epoch, too, from the first second on: a secret that
// nobody has derived must not be taken for one that is known to all.
uint32_t epoch_of(uint32_t now) {
  return now / CookieMaker::kEpoch + 1;
}

}  // namespace

[[gnu::cold]] void CookieMaker::derive(Secret& secret, uint32_t epoch) const {
  secret.epoch = epoch;
  packet::SipHash first(seed_);
  packet::SipHash second(seed_);
  secret.mac.emplace(
      packet::SipKey{first.finish(uint64_t{2} * epoch), second.finish(uint64_t{2} * epoch + 1)});
}

uint32_t CookieMaker::mac(uint32_t epoch, const packet::Tuple& tuple, Seq peer_sequence,
                          uint32_t info) {
  Secret& secret = secrets_[epoch & 1];
  if (secret.epoch != epoch) derive(secret, epoch);
  const uint64_t code = (*secret.mac)(tuple, uint64_t{info} << 32 | peer_sequence);
  return static_cast<uint32_t>(code) & ~kInfoMask;
}

Seq CookieMaker::make(const packet::Tuple& tuple, Seq peer_sequence, const Cookie& cookie,
                      uint32_t now) {
  const uint32_t epoch = epoch_of(now);
  const uint32_t info = (epoch & 1) << 5 | (cookie.tag & 3u) << 3 | index_of(cookie.mss);
  last_made_ = now;
  ever_made_ = true;
  return mac(epoch, tuple, peer_sequence, info) | info;
}

std::optional<Cookie> CookieMaker::read(const packet::Tuple& tuple, Seq peer_sequence, Seq sequence,
                                        uint32_t now) {
  if (!ever_made_ || now - last_made_ > 2 * kEpoch) return std::nullopt;
  const uint32_t info = sequence & kInfoMask;
  uint32_t epoch = epoch_of(now);
  if ((epoch & 1) != info >> 5) --epoch;
  if (mac(epoch, tuple, peer_sequence, info) != (sequence & ~kInfoMask)) return std::nullopt;
  return Cookie{kMssOfIndex[info & 7], static_cast<uint8_t>(info >> 3 & 3)};
}

uint32_t cookie_timestamp(uint32_t now, const SegmentOptions& syn, bool ecn) {
  const uint32_t bits =
      (syn.has_scale ? syn.scale : kNoScale) | (syn.sack_permitted ? 16u : 0u) | (ecn ? 32u : 0u);
  const uint32_t value = (now & ~kOptionMask) | bits;
  return seq_lt(now, value) ? value - (kOptionMask + 1) : value;
}

SegmentOptions cookie_options(const Cookie& cookie, const SegmentOptions& ack, bool& ecn) {
  SegmentOptions options;
  options.has_mss = true;
  options.mss = cookie.mss;
  ecn = false;
  if (!ack.has_timestamp) return options;
  options.has_timestamp = true;
  options.timestamp = ack.timestamp;
  const uint32_t bits = ack.echo & kOptionMask;
  options.has_scale = (bits & 15) != kNoScale;
  if (options.has_scale) options.scale = std::min<uint8_t>(bits & 15, kMaxWindowScale);
  options.sack_permitted = (bits & 16) != 0;
  ecn = (bits & 32) != 0;
  return options;
}

}  // namespace isthmus::tcp
