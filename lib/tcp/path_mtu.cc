// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The path's MTU: lowered by ICMP or, where a path swallows large packets without a word, by
// timeouts; raised again by a probe (after RFC 4821 and RFC 8899). A probe is one segment of the
// larger size among those of the smaller: its loss costs that segment, and no window.
#include <algorithm>

#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

// What every path carries: RFC 9293 MUST-15's assumption, RFC 8200.
constexpr uint32_t kSmallestV4 = 576;
constexpr uint32_t kSmallestV6 = 1280;
// What nearly every path carries, tunnels and all.
constexpr uint32_t kCautiousV4 = 1240;
// Full-sized segments that time out so often in a row are suspected of their size, and once more
// after as many again.
constexpr uint8_t kSuspicious = 3;
constexpr uint8_t kDesperate = 6;
constexpr timer::Duration kRaiseAfter = std::chrono::minutes(1);
constexpr timer::Duration kRaiseAgain = std::chrono::minutes(10);  // RFC 1191, RFC 8899

}  // namespace

uint32_t Connection::payload_of(uint32_t mtu) const {
  return mtu - (local_.address.is_v4() ? 40 : 60) - (timestamps_ ? kTimestampBytes : 0);
}

void Connection::set_send_mss(uint32_t payload) {
  mss_ = static_cast<uint16_t>(payload);
  congestion_.set_mss(mss_);
}

void Connection::lower_mtu(uint32_t mtu) {
  const uint32_t floor = local_.address.is_v4() ? kSmallestV4 : kSmallestV6;
  const uint32_t payload = payload_of(std::max(mtu, floor));
  if (payload >= mss_) return;
  full_mss_ = std::max(full_mss_, mss_);
  raise_at_ = seconds(core_->now + kRaiseAgain);
  set_send_mss(payload);
  if (!synchronized() || snd_una_ == snd_nxt_) return;
  // What is in flight did not pass; that is no sign of congestion.
  flight_->board.mark_all_lost(core_->records);
  flight_->recovery_point = snd_nxt_;
  mark_ready();
}

// The retransmission timer has expired again. Everything is marked lost already.
void Connection::suspect_black_hole() {
  if (backoff_ < kSuspicious || flight_->board.empty()) return;
  const bool v4 = local_.address.is_v4();
  uint32_t payload = payload_of(v4 ? kCautiousV4 : kSmallestV6);
  if (payload >= mss_ && v4 && backoff_ >= kDesperate) payload = payload_of(kSmallestV4);
  // What is out is small enough, and doesn't pass either.
  if (payload >= mss_ || snd_nxt_ - snd_una_ <= payload) return;
  full_mss_ = std::max(full_mss_, mss_);
  raise_at_ = seconds(core_->now + kRaiseAfter);
  set_send_mss(payload);
}

// Data enough for one large segment and others behind it, which show at once if it is lost.
bool Connection::may_raise_mss(uint32_t sendable) const {
  return full_mss_ != 0 && !raising_mss_ && phase_ == Phase::open &&
         static_cast<int32_t>(core_->present.seconds - raise_at_) >= 0 && disorder_->empty() &&
         sendable >= uint32_t{full_mss_} + 3u * mss_;
}

void Connection::on_mss_raise_acknowledged() {
  raising_mss_ = false;
  set_send_mss(full_mss_);
  full_mss_ = 0;
}

void Connection::on_mss_raise_lost() {
  raising_mss_ = false;
  raise_at_ = seconds(core_->now + kRaiseAgain);
}

}  // namespace isthmus::tcp
