// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A request of the pool until its handler is told. Internal to the room.
#pragma once

#include <cstdint>

#include "hbone/pool.h"
#include "timer/wheel.h"

namespace isthmus::hbone {

struct Pool::Waiter : timer::Wheel::Entry {
  uint32_t index = 0;
  uint32_t generation = 0;
  Waiter* next = nullptr;  // free list, or the list it waits in
  Waiter* previous = nullptr;
  Transport* transport = nullptr;         // waits for it to open
  Tunnel* tunnel = nullptr;               // waits for its answer
  const Transport* refused_by = nullptr;  // asked there once, in vain
  OpenHandler* handler = nullptr;
  uint64_t cookie = 0;
  uint64_t workload = 0;
  bool failed = false;  // waits to be told
  Failure failure;
  PoolKey key;
  ConnectRequest request;
};

// First in, first out, with removal from anywhere.
struct Pool::WaiterList {
  Waiter*& first;
  Waiter*& last;

  void push(Waiter& waiter) {
    waiter.next = nullptr;
    waiter.previous = last;
    (last == nullptr ? first : last->next) = &waiter;
    last = &waiter;
  }
  void remove(Waiter& waiter) {
    (waiter.previous == nullptr ? first : waiter.previous->next) = waiter.next;
    (waiter.next == nullptr ? last : waiter.next->previous) = waiter.previous;
  }
};

}  // namespace isthmus::hbone
