// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What tests of the sending side share.
#pragma once

#include <initializer_list>

#include "script.h"

namespace isthmus::tcp {

class Sending : public Script {
 protected:
  static SegmentOptions sack_syn() {
    SegmentOptions options = syn_options();
    options.sack_permitted = true;
    return options;
  }
  static SegmentOptions scaled_syn(uint8_t scale) {
    SegmentOptions options = sack_syn();
    options.has_scale = true;
    options.scale = scale;
    return options;
  }
  // Opens with a measured round trip.
  void open_after(timer::Duration rtt, const SegmentOptions& options, uint16_t window = 65535) {
    connection_ = engine_->connect(local_, remote_, this, options_, now_);
    flush();
    const Out syn = out();
    now_ += rtt;
    In answer{.flags = "SA", .sequence = 0, .acknowledgment = 1, .window = window};
    answer.options = options;
    answer.options.echo = syn.options.timestamp;
    in(answer);
    sent_.clear();
    take_events();
  }
  In sack(uint32_t acknowledgment, std::initializer_list<SackBlock> blocks) {
    In in{.acknowledgment = acknowledgment};
    for (const SackBlock& block : blocks) in.options.sack[in.options.sack_count++] = block;
    return in;
  }
  // Bytes of all packets that left.
  uint32_t drain() {
    uint32_t bytes = 0;
    while (anything_out()) bytes += out().length;
    return bytes;
  }
  // Slow start until the window has this many bytes, everything acknowledged; the next sequence
  // number.
  uint32_t grow_window(uint32_t bytes, timer::Duration rtt, uint32_t next = 1) {
    while (connection_->info().congestion_window < bytes) {
      send(connection_->info().congestion_window);
      next += drain();
      now_ += rtt;
      in({.acknowledgment = next});
    }
    return next;
  }
};

}  // namespace isthmus::tcp
