// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Records to plaintext, decrypted where they lie.
#pragma once

#include <cstdint>
#include <optional>

#include "packet/chain.h"
#include "tls/record.h"

namespace isthmus::tls {

enum class OpenStatus : uint8_t {
  need_more,  // every whole record was opened
  closed,     // close_notify came: no more data will, and what follows it is ignored
  error,      // failure() says why; the connection is to be ended with its alert
  no_buffer,  // a mempool is empty: call again later, with or without new bytes
};

// The receiving direction of a connection. Key slot and layer outlive it; Session owns both.
class Opener {
 public:
  Opener() = default;
  Opener(RecordLayer& layer, DirectionKeys& keys, Role own_role)
      : layer_(&layer), keys_(&keys), role_(own_role) {}

  // Takes ciphertext as it came from TCP, cut anyhow, and appends the plaintext of every whole
  // record to plaintext. Nothing of a record that fails its tag is ever appended. A buffer that
  // others also refer to (refcnt above 1, indirect) is copied before it is decrypted.
  OpenStatus open(packet::Chain&& ciphertext, packet::Chain& plaintext);

  bool closed_cleanly() const { return closed_; }
  const FailureInfo& failure() const { return failure_; }
  // Ciphertext held back: a record that has not arrived whole.
  uint32_t pending() const { return pending_.size(); }
  // The peer asked for a KeyUpdate that has not been answered yet.
  bool update_requested() const { return update_requested_; }
  void update_answered() { update_requested_ = false; }
  // KeyUpdates received.
  uint32_t key_generation() const { return key_generation_; }
  // Records under the present key.
  uint64_t sequence() const { return sequence_; }
  bool update_due() const { return sequence_ >= layer_->limits().update_after; }

 private:
  using Step = std::optional<OpenStatus>;  // empty: go on with the next record

  Step open_one(packet::Chain& plaintext);
  Step check_header(const uint8_t* header);
  bool in_place(uint32_t size, bool& cut_inside) const;
  Step open_in_place(const uint8_t* header, uint32_t size, bool cut_inside, packet::Chain& content);
  Step open_copying(const uint8_t* header, uint32_t size, packet::Chain& content);
  Step handle(packet::Chain& inner, packet::Chain& plaintext);
  Step on_alert(const packet::Chain& content);
  Step on_handshake(const packet::Chain& content);
  Step on_message_header();
  Step on_message_end(bool record_ends);
  Step without_data();
  Step fail(Failure failure);

  RecordLayer* layer_ = nullptr;
  DirectionKeys* keys_ = nullptr;
  packet::Chain pending_;
  // The segment at the front of pending_ whose other references are our own slices of it.
  const rte_mbuf* own_head_ = nullptr;
  uint64_t sequence_ = 0;
  // A post-handshake message in progress: header bytes read so far, then body bytes still to come.
  uint32_t body_left_ = 0;
  uint32_t key_generation_ = 0;
  uint8_t message_header_[4] = {};
  uint8_t header_read_ = 0;
  uint8_t body_byte_ = 0;
  Role role_ = Role::client;
  bool update_requested_ = false;
  bool closed_ = false;
  unsigned without_data_ = 0;  // records in a row
  FailureInfo failure_;
};

}  // namespace isthmus::tls
