// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/key_schedule.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "fixtures.h"
#include "support/pools.h"

namespace isthmus::tls::test {
namespace {

Bytes hex(std::string_view text) {
  Bytes bytes;
  unsigned value = 0;
  int digits = 0;
  for (const char c : text) {
    if (c == ' ') continue;
    value = value << 4 | static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (++digits % 2 == 0) {
      bytes.push_back(static_cast<uint8_t>(value));
      value = 0;
    }
  }
  return bytes;
}

TrafficSecret secret_of(const Bytes& bytes) {
  TrafficSecret secret;
  std::copy(bytes.begin(), bytes.end(), secret.bytes.begin());
  return secret;
}

// RFC 8448 section 3, simple 1-RTT handshake.
const char* const kClientSecret =
    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const char* const kServerSecret =
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

class Layer : public testing::Test {
 protected:
  Keys memory_{4};
  RecordLayer layer_{memory_.memory(), isthmus::test::pools()};

  Bytes expand(Cipher cipher, const Bytes& secret, std::string_view label, size_t size) {
    Bytes out(size);
    expand_label(layer_.mgr(), cipher, secret.data(), label, out);
    return out;
  }
};

using KeySchedule = Layer;

TEST_F(KeySchedule, Rfc8448TrafficKeys) {
  const auto cipher = Cipher::aes_128_gcm_sha256;
  EXPECT_EQ(expand(cipher, hex(kServerSecret), "key", 16), hex("9f02283b6c9c07efc26bb9f2ac92e356"));
  EXPECT_EQ(expand(cipher, hex(kServerSecret), "iv", 12), hex("cf782b88dd83549aadf1e984"));
  EXPECT_EQ(expand(cipher, hex(kClientSecret), "key", 16), hex("17422dda596ed5d9acd890e3c63f5051"));
  EXPECT_EQ(expand(cipher, hex(kClientSecret), "iv", 12), hex("5b78923dee08579033e523d9"));
}

TEST_F(KeySchedule, Rfc8448ClientRecordIsReproduced) {
  SessionSecrets secrets;
  secrets.role = Role::client;
  secrets.cipher = Cipher::aes_128_gcm_sha256;
  secrets.client = secret_of(hex(kClientSecret));
  secrets.server = secret_of(hex(kServerSecret));
  Session session;
  ASSERT_TRUE(session.start(layer_, secrets));
  Bytes payload(50);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i);
  packet::Chain out;
  ASSERT_EQ(session.seal(payload, out), SealStatus::ok);
  EXPECT_EQ(to_bytes(out),
            hex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 "
                "aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 "
                "92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4"));
}

Bytes openssl_expand(const char* digest, const Bytes& secret, std::string_view label, size_t size) {
  Bytes info = {static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size),
                static_cast<uint8_t>(label.size() + 6)};
  for (const char c : std::string("tls13 ") + std::string(label)) {
    info.push_back(static_cast<uint8_t>(c));
  }
  info.push_back(0);
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string("digest", const_cast<char*>(digest), 0),
      OSSL_PARAM_construct_octet_string("key", const_cast<uint8_t*>(secret.data()), secret.size()),
      OSSL_PARAM_construct_octet_string("info", info.data(), info.size()),
      OSSL_PARAM_construct_int("mode", &mode), OSSL_PARAM_construct_end()};
  Bytes out(size);
  EXPECT_EQ(EVP_KDF_derive(context, out.data(), out.size(), parameters), 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return out;
}

TEST_F(KeySchedule, AgreesWithOpensslForBothHashes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) {
    const Bytes a = random_bytes(random, 32);
    const Bytes b = random_bytes(random, 48);
    for (const char* label : {"key", "iv", "traffic upd"}) {
      for (const size_t size : {12u, 16u, 32u}) {
        EXPECT_EQ(expand(Cipher::aes_128_gcm_sha256, a, label, size),
                  openssl_expand("SHA256", a, label, size));
        EXPECT_EQ(expand(Cipher::aes_256_gcm_sha384, b, label, size),
                  openssl_expand("SHA384", b, label, size));
      }
    }
    EXPECT_EQ(expand(Cipher::aes_256_gcm_sha384, b, "traffic upd", 48),
              openssl_expand("SHA384", b, "traffic upd", 48));
  }
}

TEST_F(KeySchedule, AdvancingReplacesSecretKeyAndIv) {
  DirectionKeys* keys = layer_.keys().take();
  const Bytes first = hex(kServerSecret);
  derive_keys(layer_.mgr(), Cipher::aes_128_gcm_sha256, secret_of(first), *keys);
  advance_keys(layer_.mgr(), *keys);
  const Bytes next = openssl_expand("SHA256", first, "traffic upd", 32);
  EXPECT_TRUE(std::equal(next.begin(), next.end(), keys->secret.bytes.begin()));
  const Bytes iv = openssl_expand("SHA256", next, "iv", 12);
  EXPECT_TRUE(std::equal(iv.begin(), iv.end(), keys->iv));
  layer_.keys().give_back(keys);
}

TEST_F(KeySchedule, KeySlotsAreBoundedReusedAndWiped) {
  KeyStore& keys = layer_.keys();
  EXPECT_EQ(keys.capacity(), 8u);
  std::vector<DirectionKeys*> taken;
  while (DirectionKeys* slot = keys.take()) {
    derive_keys(layer_.mgr(), Cipher::aes_256_gcm_sha384, secret_of(Bytes(48, 7)), *slot);
    taken.push_back(slot);
  }
  EXPECT_EQ(taken.size(), 8u);
  EXPECT_EQ(keys.in_use(), 8u);
  for (DirectionKeys* slot : taken) keys.give_back(slot);
  EXPECT_EQ(keys.in_use(), 0u);
  for (DirectionKeys* slot : taken) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(slot);
    EXPECT_TRUE(std::all_of(bytes, bytes + offsetof(DirectionKeys, next_free),
                            [](uint8_t byte) { return byte == 0; }));
  }
}

}  // namespace
}  // namespace isthmus::tls::test
