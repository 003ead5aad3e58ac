// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "relay/pump.h"

#include <algorithm>
#include <utility>

namespace isthmus::relay {

const char* to_string(Cause cause) {
  switch (cause) {
    case Cause::none:
      return "none";
    case Cause::reset:
      return "reset";
    case Cause::refused:
      return "refused";
    case Cause::timed_out:
      return "timed out";
    case Cause::lost:
      return "connection lost";
    case Cause::no_memory:
      return "no memory";
    case Cause::cancelled:
      return "cancelled";
  }
  return "unknown";
}

void Pump::start(Leg& first, Leg& second, PumpOwner& owner, Share* share) {
  sides_[0] = {&first};
  sides_[1] = {&second};
  owner_ = &owner;
  share_ = share;
  first.observe(this);
  second.observe(this);
  move(0);
  move(1);
}

void Pump::cancel(Cause cause) {
  if (!running()) return;
  leave_share();
  owner_ = nullptr;
  for (Side& side : sides_) {
    side.leg->observe(nullptr);
    side.leg->abort(cause);
  }
}

void Pump::move(int direction) {
  if (!running()) return;
  Side& side = sides_[direction];
  Leg& from = *side.leg;
  Leg& to = *sides_[1 - direction].leg;
  if (side.shut_other) return;
  bool waits = false;
  // Each round takes what both sides allow; the legs' own bounds end the loop.
  while (true) {
    uint32_t wanted = std::min(from.readable(), to.send_room());
    if (wanted == 0) break;
    if (share_ != nullptr) {
      wanted = std::min(wanted, allowance(direction));
      waits = wanted == 0;
      if (waits) break;
    }
    packet::Chain bytes = from.read(wanted);
    if (bytes.empty()) {
      // No buffer for the cut. No leg tells when there is one: neither was short of anything else.
      waits = share_ != nullptr;
      break;
    }
    side.moved += bytes.size();
    if (share_ != nullptr) count(side, side.on_its_way + bytes.size());
    to.write(std::move(bytes));
  }
  if (share_ != nullptr) {
    set_waits(side, waits);
    list();
  }
  if (from.ended()) {
    side.shut_other = true;
    to.shutdown();
  }
}

uint32_t Pump::allowance(int direction) {
  if (!share_->limited()) return UINT32_MAX;
  Side& side = sides_[direction];
  count(side, sides_[1 - direction].leg->queued());
  return static_cast<uint32_t>(std::min<uint64_t>(share_->room(side.on_its_way), UINT32_MAX));
}

void Pump::count(Side& side, uint32_t on_its_way) {
  if (!share_->limited()) return;
  share_->used_ = share_->used_ - side.on_its_way + on_its_way;
  side.on_its_way = on_its_way;
}

void Pump::set_waits(Side& side, bool waits) {
  if (waits == side.waits) return;
  side.waits = waits;
  if (waits) {
    share_->wait();
  } else {
    share_->stop_waiting();
  }
}

void Pump::look_again() {
  for (const int direction : {0, 1}) {
    if (sides_[direction].waits) {
      move(direction);
    } else {
      count(sides_[direction], sides_[1 - direction].leg->queued());
    }
  }
  list();
}

void Pump::list() {
  const auto counts = [](const Side& side) { return side.on_its_way != 0 || side.waits; };
  const bool any = counts(sides_[0]) || counts(sides_[1]);
  if (any && !listed_) share_->add(*this);
  if (!any && listed_) share_->remove(*this);
}

void Pump::leave_share() {
  if (share_ == nullptr) return;
  for (Side& side : sides_) {
    set_waits(side, false);
    count(side, 0);
  }
  list();
  share_ = nullptr;
}

void Pump::on_closed(Leg& leg) {
  if (!running()) return;
  const int side = from(leg);
  // What is still readable may wait for the other leg's room: its end is passed on by move().
  sides_[side].closed = true;
  move(side);
  if (sides_[0].closed && sides_[1].closed) finish(Cause::none, 0);
}

void Pump::on_aborted(Leg& leg, Cause cause) {
  if (!running()) return;
  const int side = from(leg);
  Leg& other = *sides_[1 - side].leg;
  other.observe(nullptr);
  other.abort(Cause::cancelled);
  finish(cause, side);
}

void Pump::finish(Cause cause, int side) {
  leave_share();
  PumpOwner& owner = *std::exchange(owner_, nullptr);
  for (const Side& each : sides_) each.leg->observe(nullptr);
  owner.on_pump_done(*this, {cause, side == 0, sides_[0].moved, sides_[1].moved});
}

}  // namespace isthmus::relay
