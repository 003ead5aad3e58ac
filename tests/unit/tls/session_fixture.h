// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Sessions in pairs, with OpenSSL at the other end or with forged records.
#pragma once

#include <gtest/gtest.h>
#include <memory>
#include <random>

#include "fixtures.h"
#include "support/pools.h"

namespace isthmus::tls::test {

// Records as a peer could make them that does as it pleases: any content type, padding, tag.
class Forger {
 public:
  Forger(Cipher cipher, const TrafficSecret& secret);
  ~Forger();
  // inner is a whole TLSInnerPlaintext.
  Bytes record(std::span<const uint8_t> inner);
  Bytes record(ContentType type, std::span<const uint8_t> content, size_t padding = 0);
  void advance();
  uint64_t sequence = 0;
  uint8_t version_minor = 3;

 private:
  IMB_MGR* mgr_;
  std::unique_ptr<DirectionKeys> keys_;
};

class SessionTest : public testing::Test {
 protected:
  void SetUp() override { in_use_ = isthmus::test::mbufs_in_use(); }
  void TearDown() override {
    ours_.stop();
    theirs_.stop();
    out_.clear();
    plain_.clear();
    EXPECT_EQ(isthmus::test::mbufs_in_use(), in_use_) << "mbufs leaked";
    EXPECT_EQ(layer_.keys().in_use(), 0u) << "key slots leaked";
  }

  static SessionSecrets secrets(Role role, Cipher cipher = Cipher::aes_256_gcm_sha384);
  // ours_ as client, theirs_ as server.
  void start_pair(Cipher cipher = Cipher::aes_256_gcm_sha384);
  // ours_ against OpenSSL after a real handshake.
  void start_with_openssl(Role role, Cipher cipher = Cipher::aes_256_gcm_sha384);
  // A forger of what ours_ receives.
  Forger forge(Cipher cipher = Cipher::aes_256_gcm_sha384) {
    return Forger(cipher, secrets(Role::client, cipher).server);
  }

  OpenStatus open(std::span<const uint8_t> ciphertext) {
    return ours_.open(to_chain(ciphertext), plain_);
  }
  OpenStatus open(std::span<const uint8_t> ciphertext, size_t most) {
    return ours_.open(to_chain(ciphertext, random_, most), plain_);
  }
  // What was opened since the last call.
  Bytes take_plain() {
    Bytes bytes = to_bytes(plain_);
    plain_.clear();
    return bytes;
  }
  Bytes take_out() {
    Bytes bytes = to_bytes(out_);
    out_.clear();
    return bytes;
  }

  std::mt19937_64 random_{20260601};
  RecordLimits limits_;
  Keys memory_{8};
  RecordLayer layer_{memory_.memory(), isthmus::test::pools(), limits_};
  Session ours_;
  Session theirs_;
  std::unique_ptr<OpensslPeer> peer_;
  packet::Chain out_;
  packet::Chain plain_;

 private:
  unsigned in_use_ = 0;
};

}  // namespace isthmus::tls::test
