// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One stream of a connection (RFC 9113 section 5): a slot from the worker's pool.
#pragma once

#include <cstdint>

#include "h2/frame.h"
#include "packet/chain.h"

namespace isthmus::h2 {

class Connection;
class Context;
// A stream is its owner's from the event that announces it (or open()) until Connection::release().
// Its slot counts against the concurrency limit for all of that time, whatever the peer does to the
// stream meanwhile (CVE-2025-8671).
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  uint32_t id() const { return id_; }
  Connection* connection() const { return connection_; }

  // Bytes received and not read yet.
  uint32_t readable() const { return received_.size(); }
  // Bytes written and not sent yet.
  uint32_t queued() const { return to_send_.size(); }
  // The peer sent END_STREAM; what is readable may still be unread.
  bool end_received() const { return end_received_; }
  // END_STREAM was sent, with every byte before it.
  bool end_sent() const { return end_sent_; }
  bool reset() const { return reset_; }  // by either side: neither frames nor events will follow
  // Both directions have ended, or the stream was reset.
  bool finished() const { return reset_ || (end_received_ && end_sent_); }

  // The owner's; null until set.
  void* user = nullptr;

 private:
  friend class Connection;
  friend class Context;

  // What is to be sent besides DATA, in the order of the bits.
  enum Pending : uint8_t { kHeaders = 1, kWindowUpdate = 2, kEnd = 4, kReset = 8 };

  Connection* connection_ = nullptr;
  Stream* next_ = nullptr;        // list of streams with something pending; free list
  Stream* next_ready_ = nullptr;  // round of streams with DATA that may go
  packet::Chain received_;
  packet::Chain to_send_;
  packet::Chain block_;     // encoded header block that waits to be sent
  uint64_t body_left_ = 0;  // of content-length, ordinary requests only
  uint32_t id_ = 0;
  int32_t send_window_ = 0;
  int32_t receive_window_ = 0;  // what the peer may still send
  uint32_t credit_ = 0;         // read, not announced yet
  uint64_t occupied_ = 0;       // memory that received_ takes
  uint64_t waiting_ = 0;        // and to_send_
  ErrorCode reset_code_ = ErrorCode::no_error;
  uint16_t status_ = 0;  // of the answer of an ordinary request, sent at its end
  uint8_t pending_ = 0;
  bool queued_ : 1 = false;  // on the pending list
  bool ready_ : 1 = false;   // on a round
  bool end_received_ : 1 = false;
  bool idle_ : 1 = false;        // client: HEADERS were not sent yet
  bool end_wanted_ : 1 = false;  // END_STREAM follows what is queued
  bool end_sent_ : 1 = false;
  bool reset_ : 1 = false;
  bool reset_by_us_ : 1 = false;
  bool reset_done_ : 1 = false;  // RST_STREAM was sent or received: nothing is left to send
  bool answered_ : 1 = false;    // final response headers were sent or received
  bool tunnel_ : 1 = false;      // CONNECT; else the connection answers by itself
  bool released_ : 1 = false;
  bool has_length_ : 1 = false;     // body_left_ counts
  bool bodiless_ : 1 = false;       // HEAD: the answer has no body
  bool short_of_room_ : 1 = false;  // its owner found no room and wants to be told
};
// With the leg that hbone adds, an idle stream stays under 512 bytes.
static_assert(sizeof(Stream) <= 256);

}  // namespace isthmus::h2
