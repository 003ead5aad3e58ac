// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the HTTP/2 connections of one worker share: stream slots, HPACK memory, buffers, counters.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "h2/arena.h"
#include "h2/headers.h"
#include "h2/stream.h"
#include "packet/pools.h"
#include "stats/reason.h"

namespace isthmus::h2 {

struct ContextOptions {
  uint32_t streams = 4096;        // slots
  size_t hpack_bytes = 4u << 20;  // decoder tables of all connections
  // Memory that what all streams have received may take before connections withhold their credit:
  // what slow readers make us keep. At twice of it connections that keep much are read no more.
  uint64_t receive_budget = 32u << 20;
  // Memory that what waits in all streams for their peers' windows may take: the less is left of
  // it, the less each stream takes.
  uint64_t send_budget = 32u << 20;
};

// A point in time of what is in use, for leak checks and the console.
struct Usage {
  uint32_t streams = 0;
  size_t hpack_bytes = 0;
  uint64_t received = 0;  // memory that streams hold for what is not read yet
  uint64_t queued = 0;    // bytes that were written and not sent
};

class Context {
 public:
  // Control side: allocates. Pools and counters outlive the context, the context its connections.
  Context(const ContextOptions& options, const packet::Pools& pools,
          stats::ReasonCounters& reasons);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Usage usage() const;
  // What streams have received takes twice the budget.
  bool overfull() const { return received_ / 2 >= receive_budget_; }

 private:
  friend class Connection;
  friend class Stream;

  // What one stream may queue at present. The least lets everybody go on, in small steps.
  uint64_t queue_share() const {
    constexpr uint64_t kLeast = 4096;
    const uint64_t left = queued_ < send_budget_ ? send_budget_ - queued_ : 0;
    return std::max(left / 4, kLeast);
  }

  Stream* take_stream();
  void give_back(Stream& stream);

  packet::Pools pools_;
  stats::ReasonCounters& reasons_;
  Arena arena_;
  nghttp2_hd_deflater* deflater_ =
      nullptr;  // never indexes: it has no state that a peer could miss
  std::unique_ptr<Stream[]> streams_;
  Stream* free_streams_ = nullptr;
  uint32_t streams_in_use_ = 0;
  uint64_t received_ = 0;
  uint64_t receive_budget_;
  uint64_t queued_ = 0;
  uint64_t send_budget_;
  HeaderList list_;
  std::array<uint8_t, kMaxFrameSize> encoded_;  // one header block being made
};

}  // namespace isthmus::h2
