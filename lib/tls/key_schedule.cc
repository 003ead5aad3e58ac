// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/key_schedule.h"

#include <cassert>
#include <cstring>

#include "tls/gcm.h"

namespace isthmus::tls {
namespace {

constexpr unsigned kMaxBlock = 128;  // SHA-384; SHA-256 has 64
constexpr unsigned kMaxMessage = 40;

void hash(IMB_MGR* mgr, Cipher cipher, const uint8_t* bytes, size_t size, uint8_t* digest) {
  if (cipher == Cipher::aes_256_gcm_sha384) {
    IMB_SHA384(mgr, bytes, size, digest);
  } else {
    IMB_SHA256(mgr, bytes, size, digest);
  }
}

// RFC 2104. The key is a secret of the hash's size, hence shorter than a block.
void hmac(IMB_MGR* mgr, Cipher cipher, const uint8_t* key, std::span<const uint8_t> message,
          uint8_t* out) {
  assert(message.size() <= kMaxMessage);
  const unsigned size = hash_size(cipher);
  const unsigned block = cipher == Cipher::aes_256_gcm_sha384 ? 128 : 64;
  uint8_t buffer[kMaxBlock + kMaxHashSize];
  static_assert(kMaxMessage <= kMaxHashSize);
  uint8_t inner[kMaxHashSize];

  std::memset(buffer, 0x36, block);
  for (unsigned i = 0; i < size; ++i) buffer[i] ^= key[i];
  std::memcpy(buffer + block, message.data(), message.size());
  hash(mgr, cipher, buffer, block + message.size(), inner);

  std::memset(buffer, 0x5c, block);
  for (unsigned i = 0; i < size; ++i) buffer[i] ^= key[i];
  std::memcpy(buffer + block, inner, size);
  hash(mgr, cipher, buffer, block + size, out);

  explicit_bzero(buffer, sizeof buffer);
  explicit_bzero(inner, sizeof inner);
}

}  // namespace

void expand_label(IMB_MGR* mgr, Cipher cipher, const uint8_t* secret, std::string_view label,
                  std::span<uint8_t> out) {
  constexpr std::string_view kPrefix = "tls13 ";
  assert(label.size() <= 12 && out.size() <= hash_size(cipher));
  // HkdfLabel, then the counter of HKDF-Expand's only block (RFC 5869 section 2.3).
  uint8_t info[kMaxMessage];
  unsigned at = 0;
  info[at++] = 0;
  info[at++] = static_cast<uint8_t>(out.size());
  info[at++] = static_cast<uint8_t>(kPrefix.size() + label.size());
  for (const std::string_view part : {kPrefix, label}) {
    std::memcpy(info + at, part.data(), part.size());
    at += static_cast<unsigned>(part.size());
  }
  info[at++] = 0;
  info[at++] = 1;
  uint8_t block[kMaxHashSize];
  hmac(mgr, cipher, secret, {info, at}, block);
  std::memcpy(out.data(), block, out.size());
  explicit_bzero(block, sizeof block);
}

void derive_keys(IMB_MGR* mgr, Cipher cipher, const TrafficSecret& secret, DirectionKeys& keys) {
  uint8_t key[32];
  keys.cipher = cipher;
  keys.secret = secret;
  expand_label(mgr, cipher, secret.bytes.data(), "key", {key, key_size(cipher)});
  expand_label(mgr, cipher, secret.bytes.data(), "iv", keys.iv);
  gcm_expand(mgr, keys, key);
  explicit_bzero(key, sizeof key);
}

void advance_keys(IMB_MGR* mgr, DirectionKeys& keys) {
  TrafficSecret next;
  expand_label(mgr, keys.cipher, keys.secret.bytes.data(), "traffic upd",
               {next.bytes.data(), hash_size(keys.cipher)});
  derive_keys(mgr, keys.cipher, next, keys);
}

}  // namespace isthmus::tls
