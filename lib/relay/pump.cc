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

void Pump::start(Leg& first, Leg& second, PumpOwner& owner) {
  sides_[0] = {&first};
  sides_[1] = {&second};
  owner_ = &owner;
  first.observe(this);
  second.observe(this);
  move(0);
  move(1);
}

void Pump::cancel(Cause cause) {
  if (!running()) return;
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
  // Each round takes what both sides allow; the legs' own bounds end the loop.
  while (true) {
    const uint32_t wanted = std::min(from.readable(), to.send_room());
    if (wanted == 0) break;
    packet::Chain bytes = from.read(wanted);
    if (bytes.empty()) break;
    side.moved += bytes.size();
    to.write(std::move(bytes));
  }
  if (from.ended()) {
    side.shut_other = true;
    to.shutdown();
  }
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
  PumpOwner& owner = *std::exchange(owner_, nullptr);
  for (const Side& each : sides_) each.leg->observe(nullptr);
  owner.on_pump_done(*this, {cause, side == 0, sides_[0].moved, sides_[1].moved});
}

}  // namespace isthmus::relay
