// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/congestion.h"

#include <algorithm>
#include <cmath>

#include "tcp/moment.h"

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

// An epoch's age stops here, long after its growth has reached any window that there is: beyond 71
// minutes it would begin anew.
constexpr uint32_t kOldestEpoch = 1'800'000'000;

float as_seconds(int64_t microseconds) {
  return static_cast<float>(microseconds) * 1e-6F;
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
  const uint32_t now = micros(ack.now);
  const uint32_t since = now - last_ack_;
  last_ack_ = now;
  if (threshold_ == UINT32_MAX) look_at_round(ack);
  if (!ack.limited) {
    // Time in which nothing was tried must not count as growth (RFC 9438 section 4.2).
    if (in_epoch_) cubic_.epoch += std::min(since, now - cubic_.epoch);
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
  const uint32_t now = micros(ack.now);
  if (!in_epoch_) {
    in_epoch_ = true;
    c.epoch = now;
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
  const uint32_t age = std::min(now - c.epoch, kOldestEpoch);
  c.epoch = now - age;
  const float t = as_seconds(age);
  const auto cubic = [&](float at) { return kC * (at - c.k) * (at - c.k) * (at - c.k) + c.w_max; };
  float target;
  if (cubic(t) < c.w_est) {
    target = std::max(window, c.w_est);
  } else {
    const float aim =
        std::clamp(cubic(t + as_seconds(ack.smoothed_rtt.count())), window, 1.5F * window);
    target = window + (aim - window) / window * segments;
  }
  // At most what slow start would add.
  const float grown = std::min((target - window) * mss, static_cast<float>(acked));
  // Far from the loss an ACK adds less than a byte: the fractions are kept, in 256ths.
  credit_ += static_cast<uint32_t>(grown * 256);
  set_window(window_ + credit_ / 256);
  credit_ %= 256;
}

Congestion::Before Congestion::remember() {
  const bool first = threshold_ == UINT32_MAX;
  if (first) cubic_ = {};  // slow start has ended, and HyStart++ with it
  return {window_, threshold_, cubic_.w_max};
}

void Congestion::reduce() {
  switch (algorithm_) {
    case CongestionControl::cubic: {
      const float window = static_cast<float>(window_) / static_cast<float>(mss_);
      cubic_.prior = window;
      // Fast convergence, section 4.7: a flow whose peak falls makes room for newer ones.
      cubic_.w_max = window < cubic_.w_max ? window * (1 + kBeta) / 2 : window;
      threshold_ = static_cast<uint32_t>(static_cast<float>(window_) * kBeta);
      in_epoch_ = false;
      break;
    }
    case CongestionControl::reno:
      threshold_ = window_ / 2;
      break;
  }
  threshold_ = std::max<uint32_t>(threshold_, 2u * mss_);
  credit_ = 0;
}

Congestion::Before Congestion::on_loss(timer::Instant now) {
  const Before before = remember();
  reduce();
  last_ack_ = micros(now);
  return before;
}

Congestion::Before Congestion::on_timeout(uint32_t in_flight, timer::Instant now) {
  const Before before = remember();
  // What was really in flight bounds what the path has shown to carry (RFC 5681 equation 4).
  window_ = std::min(window_, std::max<uint32_t>(in_flight, 2u * mss_));
  reduce();
  last_ack_ = micros(now);
  set_window(mss_);
  return before;
}

void Congestion::undo(const Before& before) {
  threshold_ = before.threshold;
  in_epoch_ = false;
  if (threshold_ == UINT32_MAX) {
    hystart_ = {.last_min = UINT32_MAX, .current_min = UINT32_MAX};
  } else {
    cubic_.w_max = before.w_max;
  }
  set_window(std::max(window_, before.window));
}

void Congestion::settle(uint32_t window) {
  set_window(window);
  threshold_ = window_;
  cubic_ = {};
  in_epoch_ = false;
  credit_ = 0;
}

void Congestion::on_idle(unsigned timeouts) {
  const bool first = threshold_ == UINT32_MAX;
  if (!first) threshold_ = std::max(threshold_, window_ / 4 * 3);
  const uint32_t floor = std::min(window_, initial_window());
  while (timeouts-- > 0 && window_ > floor) window_ = std::max(window_ / 2, floor);
  in_epoch_ = false;
}

}  // namespace isthmus::tcp
