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

float seconds(timer::Duration duration) {
  return static_cast<float>(duration.count()) * 1e-6F;
}

}  // namespace

void Congestion::start(CongestionControl algorithm, uint32_t mss, uint32_t max_window) {
  *this = Congestion();
  algorithm_ = algorithm;
  mss_ = mss;
  max_window_ = max_window;
  window_ = initial_window();
}

uint32_t Congestion::initial_window() const {
  return std::min(10 * mss_, std::max(2 * mss_, 14600u));
}

void Congestion::set_window(uint32_t bytes) {
  window_ = std::clamp(bytes, mss_, std::max(max_window_, mss_));
}

void Congestion::on_ack(uint32_t acked, timer::Instant now, timer::Duration rtt, bool limited) {
  const timer::Duration since = now - last_ack_;
  last_ack_ = now;
  if (!limited) {
    // Time in which nothing was tried must not count as growth (RFC 9438 section 4.2).
    if (epoch_ != timer::Instant()) epoch_ = std::min(now, epoch_ + since);
    return;
  }
  if (in_slow_start()) {
    // Bytes, not ACKs, are counted: splitting ACKs gains nothing (RFC 3465).
    const uint32_t used = std::min(acked, threshold_ - window_);
    set_window(window_ + used);
    acked -= used;
    if (acked == 0) return;
  }
  if (algorithm_ == CongestionControl::cubic) {
    grow_cubic(acked, now, rtt);
  } else {
    grow_reno(acked);
  }
}

void Congestion::grow_reno(uint32_t acked) {
  credit_ += acked;
  if (credit_ < window_) return;
  credit_ -= window_;
  set_window(window_ + mss_);
}

void Congestion::grow_cubic(uint32_t acked, timer::Instant now, timer::Duration rtt) {
  const float mss = static_cast<float>(mss_);
  const float window = static_cast<float>(window_) / mss;
  if (epoch_ == timer::Instant()) {
    epoch_ = now;
    w_est_ = window;
    if (window < w_max_) {
      k_ = std::cbrt((w_max_ - window) / kC);
    } else {
      k_ = 0;
      w_max_ = window;
    }
  }
  const float segments = static_cast<float>(acked) / mss;
  // Reno-friendly estimate, section 4.3: as fast as Reno once it is where the loss was.
  w_est_ += (w_est_ < prior_ ? kAlpha : 1.0F) * segments / window;
  const float t = seconds(now - epoch_);
  const auto cubic = [&](float at) { return kC * (at - k_) * (at - k_) * (at - k_) + w_max_; };
  float target;
  if (cubic(t) < w_est_) {
    target = std::max(window, w_est_);
  } else {
    const float aim = std::clamp(cubic(t + seconds(rtt)), window, 1.5F * window);
    target = window + (aim - window) / window * segments;
  }
  // At most what slow start would add.
  const float grown = std::min((target - window) * mss, static_cast<float>(acked));
  set_window(window_ + static_cast<uint32_t>(grown));
}

void Congestion::remember() {
  before_ = {window_, threshold_, w_max_};
}

void Congestion::reduce() {
  if (algorithm_ == CongestionControl::cubic) {
    const float window = static_cast<float>(window_) / static_cast<float>(mss_);
    prior_ = window;
    // Fast convergence, section 4.7: a flow whose peak falls makes room for newer ones.
    w_max_ = window < w_max_ ? window * (1 + kBeta) / 2 : window;
    threshold_ = static_cast<uint32_t>(static_cast<float>(window_) * kBeta);
    epoch_ = {};
  } else {
    threshold_ = window_ / 2;
  }
  threshold_ = std::max(threshold_, 2 * mss_);
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
  window_ = std::min(window_, std::max(in_flight, 2 * mss_));
  reduce();
  last_ack_ = now;
  set_window(mss_);
}

void Congestion::undo() {
  threshold_ = before_.threshold;
  w_max_ = before_.w_max;
  set_window(std::max(window_, before_.window));
  epoch_ = {};
}

void Congestion::on_idle(unsigned timeouts) {
  threshold_ = std::max(threshold_, window_ / 4 * 3);
  const uint32_t floor = std::min(window_, initial_window());
  while (timeouts-- > 0 && window_ > floor) window_ = std::max(window_ / 2, floor);
  epoch_ = {};
}

}  // namespace isthmus::tcp
