// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "relay/share.h"

#include <utility>

#include "relay/pump.h"

namespace isthmus::relay {

void Share::add(Pump& pump) {
  pump.next_ = nullptr;
  pump.previous_ = last_;
  (last_ == nullptr ? first_ : last_->next_) = &pump;
  last_ = &pump;
  pump.listed_ = true;
}

void Share::remove(Pump& pump) {
  (pump.previous_ == nullptr ? first_ : pump.previous_->next_) = pump.next_;
  (pump.next_ == nullptr ? last_ : pump.next_->previous_) = pump.previous_;
  pump.listed_ = false;
}

void Share::wait() {
  ++waits_;
  ++waiting_;
  if (!listed_) shares_->push(*this);
}

// The oldest first: whoever is through goes to the end.
void Share::look_again(unsigned& most) {
  const Pump* last = last_;
  while (waiting_ != 0 && most != 0 && first_ != nullptr) {
    Pump& pump = *first_;
    const bool round = &pump == last;
    --most;
    remove(pump);
    pump.look_again();
    if (round) break;
  }
}

void Shares::push(Share& share) {
  share.listed_ = true;
  share.next_ = nullptr;
  (last_ == nullptr ? first_ : last_->next_) = &share;
  last_ = &share;
}

bool Shares::resume(unsigned most) {
  const Share* last = last_;
  while (first_ != nullptr && most != 0) {
    Share& share = *first_;
    first_ = std::exchange(share.next_, nullptr);
    if (first_ == nullptr) last_ = nullptr;
    share.listed_ = false;
    share.look_again(most);
    if (share.waiting_ != 0 && !share.listed_) push(share);
    if (&share == last) return most == 0;
  }
  return first_ != nullptr;
}

}  // namespace isthmus::relay
