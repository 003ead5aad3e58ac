// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Our records against OpenSSL's, both directions, both roles, both ciphers, cut anyhow.
#include <openssl/err.h>
#include <tuple>

#include "session_fixture.h"

namespace isthmus::tls::test {
namespace {

class Interop : public SessionTest, public testing::WithParamInterface<std::tuple<Role, Cipher>> {
 protected:
  void SetUp() override {
    SessionTest::SetUp();
    start_with_openssl(std::get<0>(GetParam()), std::get<1>(GetParam()));
  }
  // Everything that ours_ has sealed, as OpenSSL reads it.
  Bytes peer_reads() {
    peer_->receive(take_out());
    return peer_->read();
  }
};

TEST_P(Interop, OpensslReadsWhatWeSeal) {
  Bytes sent;
  Bytes read;
  for (int i = 0; i < 200; ++i) {
    const Bytes header = random_bytes(random_, random_() % 10);
    const Bytes payload = random_bytes(random_, random_() % (16384 - 9));
    packet::Chain chain = to_chain(payload, random_, 1 + random_() % 5000);
    ASSERT_EQ(ours_.seal(header, chain, chain.size(), out_), SealStatus::ok);
    EXPECT_TRUE(chain.empty());
    sent.insert(sent.end(), header.begin(), header.end());
    sent.insert(sent.end(), payload.begin(), payload.end());
    const Bytes got = peer_reads();
    read.insert(read.end(), got.begin(), got.end());
  }
  EXPECT_EQ(read, sent);
}

TEST_P(Interop, EverySmallSizeAndTheLargestAreSealed) {
  for (size_t size = 0; size < 700; ++size) {
    const Bytes payload = random_bytes(random_, size);
    ASSERT_EQ(ours_.seal(payload, out_), SealStatus::ok);
    ASSERT_EQ(peer_reads(), payload) << size;
  }
  const Bytes largest = random_bytes(random_, kMaxPlaintext);
  ASSERT_EQ(ours_.seal(largest, out_), SealStatus::ok);
  EXPECT_EQ(out_.size(), kMaxPlaintext + kRecordOverhead);
  EXPECT_EQ(out_.head()->next, nullptr) << "one record is one mbuf";
  EXPECT_EQ(rte_pktmbuf_headroom(out_.head()), packet::kHeadroom);
  EXPECT_EQ(peer_reads(), largest);
}

TEST_P(Interop, WeOpenWhatOpensslWritesHoweverItIsCut) {
  Bytes sent;
  Bytes wire;
  for (int i = 0; i < 100; ++i) {
    const Bytes payload = random_bytes(random_, 1 + random_() % (i % 3 == 0 ? 16384 : 300));
    peer_->write(payload);
    const Bytes records = peer_->take_output();
    wire.insert(wire.end(), records.begin(), records.end());
    sent.insert(sent.end(), payload.begin(), payload.end());
  }
  Bytes got;
  while (!wire.empty()) {
    const size_t size = std::min<size_t>(wire.size(), 1 + random_() % 40000);
    ASSERT_EQ(open(std::span(wire).first(size), 1 + random_() % packet::kLargeRoom),
              OpenStatus::need_more);
    const Bytes plain = take_plain();
    got.insert(got.end(), plain.begin(), plain.end());
    wire.erase(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(size));
  }
  EXPECT_EQ(got, sent);
  EXPECT_EQ(ours_.pending(), 0u);
}

TEST_P(Interop, OurKeyUpdateIsFollowedByOpenssl) {
  for (int i = 0; i < 5; ++i) {
    const Bytes payload = random_bytes(random_, 100);
    ASSERT_EQ(ours_.update_key(false, out_), SealStatus::ok);
    ASSERT_EQ(ours_.seal(payload, out_), SealStatus::ok);
    EXPECT_EQ(ours_.send_sequence(), 1u);
    EXPECT_EQ(peer_reads(), payload);
  }
}

TEST_P(Interop, OpensslUpdatesWhenWeAskIt) {
  ASSERT_EQ(ours_.update_key(true, out_), SealStatus::ok);
  const Bytes payload = random_bytes(random_, 100);
  ASSERT_EQ(ours_.seal(payload, out_), SealStatus::ok);
  EXPECT_EQ(peer_reads(), payload);
  peer_->write(payload);  // OpenSSL answers with its KeyUpdate in front
  ASSERT_EQ(open(peer_->take_output()), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), payload);
  EXPECT_EQ(layer_.counters().key_updates_received, 1u);
}

TEST_P(Interop, PeersKeyUpdateIsAnsweredBeforeTheNextData) {
  for (const int type : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED}) {
    ASSERT_EQ(SSL_key_update(peer_->ssl(), type), 1);
    const Bytes payload = random_bytes(random_, 1000);
    peer_->write(payload);
    ASSERT_EQ(open(peer_->take_output(), 100), OpenStatus::need_more);
    EXPECT_EQ(take_plain(), payload);
    EXPECT_EQ(ours_.wants_flush(), type == SSL_KEY_UPDATE_REQUESTED);
    const uint64_t before = layer_.counters().key_updates_sent;
    ASSERT_EQ(ours_.seal(payload, out_), SealStatus::ok);
    EXPECT_EQ(layer_.counters().key_updates_sent - before,
              type == SSL_KEY_UPDATE_REQUESTED ? 1u : 0u);
    EXPECT_FALSE(ours_.wants_flush());
    EXPECT_EQ(peer_reads(), payload);
  }
}

TEST_P(Interop, CloseNotifyClosesOneDirectionEachWay) {
  const Bytes payload = random_bytes(random_, 50);
  ASSERT_EQ(SSL_shutdown(peer_->ssl()), 0);
  EXPECT_EQ(open(peer_->take_output()), OpenStatus::closed);
  EXPECT_TRUE(ours_.closed_cleanly());
  ASSERT_EQ(ours_.seal(payload, out_), SealStatus::ok) << "half-close: we may still send";
  ASSERT_EQ(ours_.send_close_notify(out_), SealStatus::ok);
  EXPECT_EQ(ours_.seal(payload, out_), SealStatus::closed);
  EXPECT_EQ(peer_reads(), payload);
  EXPECT_EQ(peer_->last_error(), SSL_ERROR_ZERO_RETURN);
}

TEST_P(Interop, OurFatalAlertIsReadByOpenssl) {
  ASSERT_EQ(ours_.send_alert(Alert::bad_record_mac, out_), SealStatus::ok);
  EXPECT_TRUE(ours_.send_closed());
  peer_reads();
  EXPECT_EQ(peer_->last_error(), SSL_ERROR_SSL);
  EXPECT_EQ(peer_->alert_received(), Alert::bad_record_mac);
}

TEST_P(Interop, OpensslReadsPaddedRecordsLikeOurs) {
  SSL_set_block_padding(peer_->ssl(), 4096);
  Bytes sent;
  for (int i = 0; i < 20; ++i) {
    const Bytes payload = random_bytes(random_, 1 + random_() % 9000);
    sent.insert(sent.end(), payload.begin(), payload.end());
    peer_->write(payload);
  }
  ASSERT_EQ(open(peer_->take_output(), 1448), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), sent);
}

INSTANTIATE_TEST_SUITE_P(
    All, Interop,
    testing::Combine(testing::Values(Role::client, Role::server),
                     testing::Values(Cipher::aes_128_gcm_sha256, Cipher::aes_256_gcm_sha384)),
    [](const auto& info) {
      return std::string(std::get<0>(info.param) == Role::client ? "Client" : "Server") +
             (std::get<1>(info.param) == Cipher::aes_128_gcm_sha256 ? "Aes128" : "Aes256");
    });

class OpensslTickets : public SessionTest {};

TEST_F(OpensslTickets, AreCountedAndIgnored) {  // RFC 8446 4.6.1
  start_with_openssl(Role::client);
  // An OpenSSL server sends two when its handshake ends: they are the first records we open.
  const Bytes payload = random_bytes(random_, 10);
  peer_->write(payload);
  ASSERT_EQ(open(peer_->take_output()), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), payload);
  EXPECT_EQ(layer_.counters().tickets_ignored, 2u);
  EXPECT_EQ(ours_.receive_sequence(), 3u);
}

}  // namespace
}  // namespace isthmus::tls::test
