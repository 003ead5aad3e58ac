// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/standing_queue.h"

#include <algorithm>

namespace isthmus::tcp {
namespace {

// The shortest round trip of so many rounds is a measurement: delayed ACKs and bursts only add.
constexpr uint8_t kRounds = 4;
// Until round trips show what a new window has made of the queue: the packets of one, and those
// that were sent while these were on their way.
constexpr unsigned kSettling = 2;
// Measurements.
constexpr uint16_t kRest = 32;
constexpr uint16_t kCompetition = 256;

uint32_t grown(uint32_t window) {
  return window + window / 4;
}
uint32_t shrunk(uint32_t window) {
  return window - window / 5;
}
uint64_t rate(uint32_t window, uint32_t rtt) {
  return uint64_t{window} * 1'000'000 / rtt;
}

}  // namespace

StandingQueue::Advice StandingQueue::on_ack(const Sample& ack) {
  // Somebody has cut the window: what it was before is not to be had back from here.
  if (started_ && ack.window < measured_) interrupt();
  if (!started_) {
    started_ = true;
    begin(ack, ack.window, kSettling);
  }
  limited_ |= ack.limited;
  if (ack.rtt != 0 && (lowest_ == 0 || ack.rtt < lowest_)) lowest_ = ack.rtt;
  Advice advice{.grow = grows()};
  if (!seq_lt(round_end_, ack.una)) return advice;
  if (!limited_) {
    on_pause();
    begin(ack, ack.window, settling_ != 0 ? settling_ - 1u : 0u);
  } else if (settling_ != 0) {
    begin(ack, ack.window, settling_ - 1u);
  } else if (++rounds_ < kRounds || lowest_ == 0) {
    round_end_ = ack.nxt;
    limited_ = false;
  } else {
    advice = on_measured(lowest_, ack);
    const bool changed = advice.window != 0;
    begin(ack, changed ? advice.window : ack.window, changed ? kSettling : 0);
  }
  return advice;
}

// A sender with pauses does not see what its window would do; so it can't rest on that for ever.
void StandingQueue::on_pause() {
  if (stage_ == Stage::shrinking) {
    stage_ = Stage::resting;
    left_ = kRest;
  } else if (stage_ == Stage::resting && --left_ == 0) {
    stage_ = Stage::growing;
    window_ = 0;
  }
}

// What is measured from now on, or after some rounds, is of packets that this window has let go.
void StandingQueue::begin(const Sample& ack, uint32_t window, unsigned settling) {
  settling_ = static_cast<uint8_t>(settling);
  round_end_ = ack.nxt;
  measured_ = window;
  lowest_ = 0;
  rounds_ = 0;
  limited_ = false;
}

StandingQueue::Advice StandingQueue::on_measured(uint32_t rtt, const Sample& ack) {
  switch (stage_) {
    case Stage::growing:
      return on_grown(rtt, ack);
    case Stage::shrinking:
      return on_shrunk(rtt, ack);
    case Stage::resting:
      if (rtt > grown(rtt_)) {
        stage_ = Stage::competing;
        left_ = kCompetition;
      } else if (measured_ < window_ || rtt < rtt_ - rtt_ / 8 || --left_ == 0) {
        mark(measured_, rtt);
      }
      break;
    case Stage::competing:
      if (--left_ == 0) mark(measured_, rtt);
      break;
  }
  return {.grow = grows()};
}

StandingQueue::Advice StandingQueue::on_grown(uint32_t rtt, const Sample& ack) {
  if (window_ == 0 || measured_ < window_) {
    mark(measured_, rtt);
  } else if (measured_ >= grown(window_)) {
    const uint64_t now = rate(measured_, rtt);
    const uint64_t before = rate(window_, rtt_);
    if (now > before + before / 48) {
      mark(measured_, rtt);
    } else {
      rate_ = std::max(now, before);
      // Half of the path's own time in the queue is little enough, and a reserve for the link.
      if (rtt_ > ack.base + ack.base / 2) return shrink();
      return rest(window_);
    }
  }
  return {};
}

// One that fell by itself was cut by a loss.
StandingQueue::Advice StandingQueue::on_shrunk(uint32_t rtt, const Sample& ack) {
  if (measured_ < tried_) {
    mark(measured_, rtt);
    return {};
  }
  if (rate(tried_, rtt) < rate_ - rate_ / 32) return rest(window_);
  window_ = tried_;
  rtt_ = rtt;
  if (rtt > ack.base + ack.base / 2) return shrink();
  return rest(window_);
}

StandingQueue::Advice StandingQueue::shrink() {
  stage_ = Stage::shrinking;
  tried_ = shrunk(window_);
  return {.grow = false, .window = tried_};
}

StandingQueue::Advice StandingQueue::rest(uint32_t window) {
  stage_ = Stage::resting;
  left_ = kRest;
  return {.grow = false, .window = window};
}

void StandingQueue::mark(uint32_t window, uint32_t rtt) {
  stage_ = Stage::growing;
  window_ = window;
  rtt_ = rtt;
}

}  // namespace isthmus::tcp
