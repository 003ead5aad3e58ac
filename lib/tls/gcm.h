// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// IPsec-MB's direct AES-GCM calls, AES-128 and AES-256 alike. Private to this room: the library's
// header is large and full of macros.
#pragma once

#define NO_COMPAT_IMB_API_053
#include <cstdint>
#include <cstring>
#include <intel-ipsec-mb.h>

#include "tls/key_memory.h"

namespace isthmus::tls {

static_assert(sizeof(gcm_key_data) == sizeof(DirectionKeys::expanded));

inline const gcm_key_data* gcm_key(const DirectionKeys& keys) {
  return reinterpret_cast<const gcm_key_data*>(keys.expanded);
}

inline void gcm_expand(IMB_MGR* mgr, DirectionKeys& keys, const uint8_t* key) {
  auto* to = reinterpret_cast<gcm_key_data*>(keys.expanded);
  if (keys.cipher == Cipher::aes_256_gcm_sha384) {
    IMB_AES256_GCM_PRE(mgr, key, to);
  } else {
    IMB_AES128_GCM_PRE(mgr, key, to);
  }
}

// Per-record nonce (RFC 8446 section 5.3).
struct Nonce {
  uint8_t bytes[kIvSize];

  Nonce(const uint8_t* iv, uint64_t sequence) {
    std::memcpy(bytes, iv, kIvSize);
    uint64_t low;
    std::memcpy(&low, bytes + 4, 8);
    low ^= __builtin_bswap64(sequence);
    std::memcpy(bytes + 4, &low, 8);
  }
};

enum class Direction { seal, open };

// One record in one piece. to may be from.
template <Direction direction>
inline void gcm_whole(IMB_MGR* mgr, const DirectionKeys& keys, const Nonce& nonce,
                      const uint8_t* aad, unsigned aad_size, const uint8_t* from, uint8_t* to,
                      uint64_t size, uint8_t* tag) {
  gcm_context_data context;
  const gcm_key_data* key = gcm_key(keys);
  const bool wide = keys.cipher == Cipher::aes_256_gcm_sha384;
  auto* run = direction == Direction::seal ? (wide ? mgr->gcm256_enc : mgr->gcm128_enc)
                                           : (wide ? mgr->gcm256_dec : mgr->gcm128_dec);
  run(key, &context, to, from, size, nonce.bytes, aad, aad_size, tag, kTagSize);
}

// One record in several pieces.
template <Direction direction>
class GcmPieces {
 public:
  GcmPieces(IMB_MGR* mgr, const DirectionKeys& keys, const Nonce& nonce, const uint8_t* aad,
            unsigned aad_size)
      : mgr_(mgr), key_(gcm_key(keys)), wide_(keys.cipher == Cipher::aes_256_gcm_sha384) {
    (wide_ ? mgr->gcm256_init : mgr->gcm128_init)(key_, &context_, nonce.bytes, aad, aad_size);
  }
  void update(const uint8_t* from, uint8_t* to, uint64_t size) {
    auto* run = direction == Direction::seal
                    ? (wide_ ? mgr_->gcm256_enc_update : mgr_->gcm128_enc_update)
                    : (wide_ ? mgr_->gcm256_dec_update : mgr_->gcm128_dec_update);
    run(key_, &context_, to, from, size);
  }
  void finish(uint8_t* tag) {
    auto* run = direction == Direction::seal
                    ? (wide_ ? mgr_->gcm256_enc_finalize : mgr_->gcm128_enc_finalize)
                    : (wide_ ? mgr_->gcm256_dec_finalize : mgr_->gcm128_dec_finalize);
    run(key_, &context_, tag, kTagSize);
  }

 private:
  IMB_MGR* mgr_;
  const gcm_key_data* key_;
  bool wide_;
  gcm_context_data context_;
};

// Constant time.
inline bool same_tag(const uint8_t* a, const uint8_t* b) {
  uint64_t x[2];
  uint64_t y[2];
  std::memcpy(x, a, sizeof x);
  std::memcpy(y, b, sizeof y);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

}  // namespace isthmus::tls
