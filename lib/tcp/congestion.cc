// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/congestion.h"

#include <algorithm>
#include <cmath>

namespace isthmus::tcp {
namespace {

// RFC 9438 section 4.1.2 and 5.
constexpr float kC = 0.4F;
constexpr float kBeta = 0.7F;
constexpr float kAlpha = 3 * (1 - kBeta) / (1 + kBeta);

// RFC 9406 section 4.2. Its limit on what one ACK may add is not taken: here an ACK often answers
// what one large packet carried, and the path has shown that it bears it.
constexpr uint32_t kMinThreshold = 4'000;
constexpr uint32_t kMaxThreshold = 16'000;
constexpr uint8_t kRttSamples = 8;
constexpr uint32_t kSlowDivisor = 4;
constexpr uint8_t kSlowRounds = 5;

float seconds(timer::Duration duration) {
  return static_cast<float>(duration.count()) * 1e-6F;
}

}  // namespace

void Congestion::start(CongestionControl algorithm, uint32_t mss, uint32_t max_window) {
  *this = Congestion();
  algorithm_ = algorithm;
  mss_ = static_cast<uint16_t>(mss);
  max_window_ = max_window;
  window_ = initial_window();
  hystart_ = {.last_min = UINT32_MAX, .current_min = UINT32_MAX};
}

uint32_t Congestion::initial_window() const {
  return std::min(10u * mss_, std::max(2u * mss_, 14600u));
}

void Congestion::set_window(uint32_t bytes) {
  window_ = std::clamp<uint32_t>(bytes, mss_, std::max<uint32_t>(max_window_, mss_));
}

void Congestion::on_ack(const AckSample& ack) {
  const timer::Duration since = ack.now - last_ack_;
  last_ack_ = ack.now;
  if (threshold_ == UINT32_MAX) look_at_round(ack);
  if (!ack.limited) {
    // Time in which nothing was tried must not count as growth (RFC 9438 section 4.2).
    if (threshold_ != UINT32_MAX && cubic_.epoch != timer::Instant()) {
      cubic_.epoch = std::min(ack.now, cubic_.epoch + since);
    }
    return;
  }
  uint32_t acked = ack.acked;
  if (in_slow_start()) {
    // Bytes, not ACKs, are counted: splitting ACKs gains nothing (RFC 3465).
    const uint32_t used = std::min(acked, threshold_ - window_);
    grow_slow_start(used);
    acked -= used;
    if (acked == 0) return;
  }
  switch (algorithm_) {
    case CongestionControl::cubic:
      return grow_cubic(acked, ack);
    case CongestionControl::reno:
      return grow_reno(acked);
  }
}

void Congestion::grow_slow_start(uint32_t acked) {
  const bool slowly = threshold_ == UINT32_MAX && hystart_.baseline != 0;
  if (!slowly) return set_window(window_ + acked);
  credit_ += acked;
  set_window(window_ + credit_ / kSlowDivisor);
  credit_ %= kSlowDivisor;
}

// RFC 9406 section 4.2: a round ends when what was sent at its beginning is acknowledged.
void Congestion::look_at_round(const AckSample& ack) {
  HyStart& h = hystart_;
  if (!h.started || seq_lt(h.round_end, ack.una)) {
    h.started = true;
    h.round_end = ack.nxt;
    h.last_min = h.current_min;
    h.current_min = UINT32_MAX;
    h.samples = 0;
    if (h.baseline != 0 && ++h.slow_rounds > kSlowRounds) {
      // It was no accident: the queue at the bottleneck grows.
      threshold_ = window_;
      credit_ = 0;
      cubic_ = {};
      return;
    }
  }
  if (ack.rtt < timer::Duration()) return;
  const auto rtt = static_cast<uint32_t>(std::clamp<int64_t>(ack.rtt.count(), 1, INT32_MAX));
  h.current_min = std::min(h.current_min, rtt);
  if (h.samples < kRttSamples) ++h.samples;
  if (h.samples < kRttSamples || h.last_min == UINT32_MAX) return;
  if (h.baseline == 0) {
    const uint32_t rise = std::clamp(h.last_min / 8, kMinThreshold, kMaxThreshold);
    if (h.current_min < h.last_min + rise) return;
    h.baseline = h.current_min;
    h.slow_rounds = 0;
  } else if (h.current_min < h.baseline) {
    h.baseline = 0;
  }
}

void Congestion::grow_reno(uint32_t acked) {
  credit_ += acked;
  if (credit_ < window_) return;
  credit_ -= window_;
  set_window(window_ + mss_);
}

void Congestion::grow_cubic(uint32_t acked, const AckSample& ack) {
  Cubic& c = cubic_;
  const float mss = static_cast<float>(mss_);
  const float window = static_cast<float>(window_) / mss;
  if (c.epoch == timer::Instant()) {
    c.epoch = ack.now;
    c.w_est = window;
    if (window < c.w_max) {
      c.k = std::cbrt((c.w_max - window) / kC);
    } else {
      c.k = 0;
      c.w_max = window;
    }
  }
  const float segments = static_cast<float>(acked) / mss;
  // Reno-friendly estimate, section 4.3: as fast as Reno once it is where the loss was.
  c.w_est += (c.w_est < c.prior ? kAlpha : 1.0F) * segments / window;
  const float t = seconds(ack.now - c.epoch);
  const auto cubic = [&](float at) { return kC * (at - c.k) * (at - c.k) * (at - c.k) + c.w_max; };
  float target;
  if (cubic(t) < c.w_est) {
    target = std::max(window, c.w_est);
  } else {
    const float aim = std::clamp(cubic(t + seconds(ack.smoothed_rtt)), window, 1.5F * window);
    target = window + (aim - window) / window * segments;
  }
  // At most what slow start would add.
  const float grown = std::min((target - window) * mss, static_cast<float>(acked));
  // Far from the loss an ACK adds less than a byte: the fractions are kept, in 256ths.
  credit_ += static_cast<uint32_t>(grown * 256);
  set_window(window_ + credit_ / 256);
  credit_ %= 256;
}

void Congestion::remember() {
  const bool first = threshold_ == UINT32_MAX;
  before_ = {window_, threshold_, first ? 0 : cubic_.w_max};
  if (first) cubic_ = {};  // slow start has ended, and HyStart++ with it
}

void Congestion::reduce() {
  switch (algorithm_) {
    case CongestionControl::cubic: {
      const float window = static_cast<float>(window_) / static_cast<float>(mss_);
      cubic_.prior = window;
      // Fast convergence, section 4.7: a flow whose peak falls makes room for newer ones.
      cubic_.w_max = window < cubic_.w_max ? window * (1 + kBeta) / 2 : window;
      threshold_ = static_cast<uint32_t>(static_cast<float>(window_) * kBeta);
      cubic_.epoch = {};
      break;
    }
    case CongestionControl::reno:
      threshold_ = window_ / 2;
      break;
  }
  threshold_ = std::max<uint32_t>(threshold_, 2u * mss_);
  credit_ = 0;
}

void Congestion::on_loss(timer::Instant now) {
  remember();
  reduce();
  last_ack_ = now;
}

void Congestion::on_timeout(uint32_t in_flight, timer::Instant now) {
  remember();
  // What was really in flight bounds what the path has shown to carry (RFC 5681 equation 4).
  window_ = std::min(window_, std::max<uint32_t>(in_flight, 2u * mss_));
  reduce();
  last_ack_ = now;
  set_window(mss_);
}

void Congestion::undo() {
  threshold_ = before_.threshold;
  if (threshold_ == UINT32_MAX) {
    hystart_ = {.last_min = UINT32_MAX, .current_min = UINT32_MAX};
  } else {
    cubic_.w_max = before_.w_max;
    cubic_.epoch = {};
  }
  set_window(std::max(window_, before_.window));
}

void Congestion::on_idle(unsigned timeouts) {
  const bool first = threshold_ == UINT32_MAX;
  if (!first) threshold_ = std::max(threshold_, window_ / 4 * 3);
  const uint32_t floor = std::min(window_, initial_window());
  while (timeouts-- > 0 && window_ > floor) window_ = std::max(window_ / 2, floor);
  restart_epoch();
}

}  // namespace isthmus::tcp
