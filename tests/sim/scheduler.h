// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Virtual time: a queue of things to happen, in the order of their instants and, within one, in the
// order in which they were asked for. The same program and seed give the same run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "timer/time.h"

namespace isthmus::sim {

class Scheduler {
 public:
  explicit Scheduler(timer::Instant start) : now_(start) {}

  timer::Instant now() const { return now_; }
  void at(timer::Instant when, std::function<void()> what) {
    events_.emplace(std::pair(std::max(when, now_), count_++), std::move(what));
  }
  void after(timer::Duration delay, std::function<void()> what) {
    at(now_ + delay, std::move(what));
  }
  bool idle() const { return events_.empty(); }
  timer::Instant next() const {
    return events_.empty() ? timer::kNever : events_.begin()->first.first;
  }
  // Lets the next thing happen. False when there is none.
  bool step() {
    if (events_.empty()) return false;
    auto first = events_.extract(events_.begin());
    now_ = first.key().first;
    first.mapped()();
    return true;
  }

 private:
  timer::Instant now_;
  uint64_t count_ = 0;
  std::map<std::pair<timer::Instant, uint64_t>, std::function<void()>> events_;
};

// Something that has timers: woken at its next deadline, however that moves.
class Waker {
 public:
  Waker(Scheduler& scheduler, std::function<void()> wake)
      : scheduler_(scheduler), wake_(std::move(wake)) {}
  // Called after whatever may have changed the deadline.
  void set(timer::Instant deadline) {
    if (deadline >= scheduled_ || deadline == timer::kNever) return;
    scheduled_ = std::max(deadline, scheduler_.now());
    const uint64_t mine = ++generation_;
    scheduler_.at(scheduled_, [this, mine] {
      if (mine != generation_) return;
      scheduled_ = timer::kNever;
      wake_();
    });
  }

 private:
  Scheduler& scheduler_;
  std::function<void()> wake_;
  timer::Instant scheduled_ = timer::kNever;
  uint64_t generation_ = 0;
};

}  // namespace isthmus::sim
