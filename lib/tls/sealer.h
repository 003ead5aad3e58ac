// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Plaintext to records. The cipher's pass from source to destination is the only copy.
#pragma once

#include <cstdint>
#include <span>

#include "packet/chain.h"
#include "tls/record.h"

namespace isthmus::tls {

enum class SealStatus : uint8_t {
  ok,
  no_buffer,      // a mempool is empty: nothing was sealed, try again later
  key_exhausted,  // the connection can send no more
  closed,         // close_notify or an alert was sent already
};

// The sending direction of a connection. Key slot and layer outlive it; Session owns both.
class Sealer {
 public:
  Sealer() = default;
  Sealer(RecordLayer& layer, DirectionKeys& keys, uint16_t max_plaintext)
      : layer_(&layer), keys_(&keys), max_plaintext_(max_plaintext) {}

  // Appends one record to out that holds header and then the first length bytes of payload
  // (length <= payload.size(), header.size() + length <= max_plaintext()), which are dropped from
  // payload. With no_buffer payload and out are unchanged.
  SealStatus seal(ContentType type, std::span<const uint8_t> header, packet::Chain& payload,
                  uint32_t length, packet::Chain& out);
  // Appends a KeyUpdate under the old key, then moves to the next key (RFC 8446 section 4.6.3).
  SealStatus update_key(bool request_peer, packet::Chain& out);

  uint16_t max_plaintext() const { return max_plaintext_; }
  // Records under the present key; also the next record's sequence number.
  uint64_t sequence() const { return sequence_; }
  bool update_due() const { return sequence_ >= layer_->limits().update_after; }

 private:
  void encrypt(uint8_t* record, ContentType type, std::span<const uint8_t> header,
               const packet::Chain& payload, uint32_t length) const;

  RecordLayer* layer_ = nullptr;
  DirectionKeys* keys_ = nullptr;
  uint64_t sequence_ = 0;
  uint16_t max_plaintext_ = kMaxPlaintext;
};

}  // namespace isthmus::tls
