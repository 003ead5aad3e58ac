// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// SYN cookies (RFC 4987 section 3.6): what a handshake must remember travels in the SYN-ACK's
// sequence number and timestamp and comes back in the ACK, so that a SYN costs no memory.
//
//   sequence number   26 bits of a keyed hash | 1 bit of the secret's age | 2 bits of the caller's
//                     tag | 3 bits of an MSS table
//   timestamp         its six low bits: window scale (15: none) | SACK permitted | ECN
//
// The hash covers both endpoints, the peer's sequence number and the bits beside it. The secret
// changes every 32 seconds, and the one before it is still believed: a cookie lives 32 to 64
// seconds. Guessing one takes 2^25 tries on average.
#pragma once

#include <cstdint>
#include <optional>

#include "packet/address.h"
#include "packet/siphash.h"
#include "packet/tuple_hash.h"
#include "tcp/options.h"
#include "tcp/sequence.h"

namespace isthmus::tcp {

// What the sequence number carries.
struct Cookie {
  uint16_t mss = 0;  // the largest of the table that is not above the peer's
  uint8_t tag = 0;   // 0 to 3
};

class CookieMaker {
 public:
  static constexpr uint32_t kEpoch = 32;  // seconds

  explicit CookieMaker(const packet::SipKey& seed) : seed_(seed) {}

  // The initial sequence number that answers a SYN of peer_sequence. now: seconds.
  Seq make(const packet::Tuple& tuple, Seq peer_sequence, const Cookie& cookie, uint32_t now);
  // What the number holds, if make() gave it for these not too long ago. Nothing is computed while
  // no cookie can be about.
  std::optional<Cookie> read(const packet::Tuple& tuple, Seq peer_sequence, Seq sequence,
                             uint32_t now);

 private:
  // Its secret is derived from the seed, so that all that share the seed read each other's cookies.
  struct Secret {
    uint32_t epoch = UINT32_MAX;
    std::optional<packet::TupleMac> mac;
  };
  void derive(Secret& secret, uint32_t epoch) const;
  uint32_t mac(uint32_t epoch, const packet::Tuple& tuple, Seq peer_sequence, uint32_t info);

  packet::SipKey seed_;
  Secret secrets_[2];
  uint32_t last_made_ = 0;
  bool ever_made_ = false;
};

// The timestamp with the options in its low bits; not later than now. Used only when the peer sent
// one.
uint32_t cookie_timestamp(uint32_t now, const SegmentOptions& syn, bool ecn);
// The options of the SYN as far as they are known again: by the echo of that timestamp, and the
// cookie. has_timestamp is the ACK's.
SegmentOptions cookie_options(const Cookie& cookie, const SegmentOptions& ack, bool& ecn);

}  // namespace isthmus::tcp
