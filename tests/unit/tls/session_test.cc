// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a session does with every kind of record that a peer may send (RFC 8446 sections 4.6, 5, 6).
#include "tls/session.h"

#include <cstring>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "packet/endian.h"
#include "session_fixture.h"

namespace isthmus::tls::test {
namespace {

const Bytes kHello = {'h', 'e', 'l', 'l', 'o'};

TEST_F(SessionTest, PaddingIsStripped) {  // RFC 8446 5.4
  start_pair();
  Forger forger = forge();
  for (const size_t padding : {1u, 15u, 16u, 255u, 2000u, 16384u - 5}) {
    for (const size_t most : {8u, 100u, 16000u}) {
      ASSERT_EQ(open(forger.record(ContentType::application_data, kHello, padding), most),
                OpenStatus::need_more);
      EXPECT_EQ(take_plain(), kHello);
    }
  }
}

TEST_F(SessionTest, LargestInnerPlaintextPassesAndOneMoreOverflows) {  // RFC 8446 5.4
  start_pair();
  Forger forger = forge();
  const Bytes largest = random_bytes(random_, kMaxPlaintext);
  ASSERT_EQ(open(forger.record(ContentType::application_data, largest), 1448),
            OpenStatus::need_more);
  EXPECT_EQ(take_plain(), largest);
  EXPECT_EQ(open(forger.record(ContentType::application_data, largest, 1)), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::record_overflow);
  EXPECT_TRUE(take_plain().empty());
}

TEST_F(SessionTest, LengthAboveTheLimitIsRefusedByItsHeader) {  // RFC 8446 5.2
  start_pair();
  EXPECT_EQ(open(Bytes{23, 3, 3, 0x41, 0x01}), OpenStatus::error);
  EXPECT_EQ(ours_.failure().alert, Alert::record_overflow);
}

TEST_F(SessionTest, OuterTypesOtherThanApplicationDataAreUnexpected) {  // RFC 8446 5, 5.2
  for (const uint8_t type : {20, 21, 22, 24, 0, 255}) {
    start_pair();
    EXPECT_EQ(open(Bytes{type, 3, 3, 0, 1, 1}), OpenStatus::error);
    EXPECT_EQ(ours_.failure().alert, Alert::unexpected_message) << int{type};
  }
}

TEST_F(SessionTest, LegacyVersionIsAuthenticatedAndOtherwiseIgnored) {  // RFC 8446 5.1, 5.2
  start_pair();
  Forger forger = forge();
  forger.version_minor = 9;
  ASSERT_EQ(open(forger.record(ContentType::application_data, kHello)), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), kHello);
  Bytes record = forger.record(ContentType::application_data, kHello);
  record[2] = 3;
  EXPECT_EQ(open(record), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::bad_record_mac);
}

TEST_F(SessionTest, RecordWithoutContentTypeIsUnexpected) {  // RFC 8446 5.4
  for (const size_t zeros : {0u, 1u, 16u, 5000u}) {
    start_pair();
    EXPECT_EQ(open(forge().record(Bytes(zeros)), 1000), OpenStatus::error);
    EXPECT_EQ(ours_.failure().failure, Failure::bad_record);
    EXPECT_EQ(ours_.failure().alert, Alert::unexpected_message);
  }
}

TEST_F(SessionTest, AnyFlippedBitIsBadRecordMacAndReleasesNothing) {
  const Bytes payload = random_bytes(random_, 300);
  Bytes good;
  {
    start_pair();
    good = forge().record(ContentType::application_data, payload);
  }
  for (size_t bit = 0; bit < good.size() * 8; bit += 1 + random_() % 7) {
    const size_t byte = bit / 8;
    if (byte == 0 || byte == 3 || byte == 4) continue;  // type and length: other errors
    Bytes bad = good;
    bad[byte] ^= static_cast<uint8_t>(1 << bit % 8);
    start_pair();
    ASSERT_EQ(open(bad, 1 + random_() % 400), OpenStatus::error) << "bit " << bit;
    ASSERT_EQ(ours_.failure().failure, Failure::bad_record_mac);
    ASSERT_TRUE(plain_.empty());
  }
}

TEST_F(SessionTest, RecordsBeforeABadOneAreDeliveredAndNothingAfter) {
  start_pair();
  Forger forger = forge();
  Bytes wire = forger.record(ContentType::application_data, kHello);
  Bytes bad = forger.record(ContentType::application_data, kHello);
  bad.back() ^= 1;
  wire.insert(wire.end(), bad.begin(), bad.end());
  const Bytes after = forger.record(ContentType::application_data, kHello);
  wire.insert(wire.end(), after.begin(), after.end());
  EXPECT_EQ(open(wire), OpenStatus::error);
  EXPECT_EQ(take_plain(), kHello);
  EXPECT_EQ(open(after), OpenStatus::error);
  EXPECT_TRUE(plain_.empty());
  EXPECT_EQ(ours_.pending(), 0u);
}

TEST_F(SessionTest, ReplayedAndReorderedRecordsFail) {  // RFC 8446 5.3
  start_pair();
  Forger forger = forge();
  const Bytes record = forger.record(ContentType::application_data, kHello);
  ASSERT_EQ(open(record), OpenStatus::need_more);
  EXPECT_EQ(open(record), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::bad_record_mac);
}

TEST_F(SessionTest, EmptyDataRecordsAreBounded) {  // RFC 8446 5.1
  start_pair();
  Forger forger = forge();
  for (int i = 0; i < 3; ++i) {
    for (unsigned n = 0; n < limits_.records_without_data; ++n) {
      ASSERT_EQ(open(forger.record(ContentType::application_data, {}, size_t{n} * 100)),
                OpenStatus::need_more);
    }
    ASSERT_EQ(open(forger.record(ContentType::application_data, kHello)), OpenStatus::need_more);
  }
  for (unsigned n = 0; n < limits_.records_without_data; ++n) {
    ASSERT_EQ(open(forger.record(ContentType::application_data, {})), OpenStatus::need_more);
  }
  EXPECT_EQ(open(forger.record(ContentType::application_data, {})), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::empty_records);
}

TEST_F(SessionTest, KeyUpdatesInARowAreBounded) {  // RFC 8446 4.6.3
  start_pair();
  Forger forger = forge();
  const Bytes update = {24, 0, 0, 1, 1};
  for (unsigned n = 0; n < limits_.records_without_data; ++n) {
    ASSERT_EQ(open(forger.record(ContentType::handshake, update)), OpenStatus::need_more);
    forger.advance();
  }
  EXPECT_TRUE(ours_.wants_flush());
  ASSERT_EQ(ours_.flush(out_), SealStatus::ok);
  EXPECT_FALSE(ours_.wants_flush());
  EXPECT_EQ(layer_.counters().key_updates_sent, 1u) << "one answer serves them all";
  EXPECT_EQ(open(forger.record(ContentType::handshake, update)), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::empty_records);
}

TEST_F(SessionTest, MalformedKeyUpdates) {  // RFC 8446 4.6.3, 5.1
  struct Case {
    Bytes message;
    Alert alert;
  };
  for (const Case& c :
       {Case{{24, 0, 0, 1, 2}, Alert::illegal_parameter}, Case{{24, 0, 0, 0}, Alert::decode_error},
        Case{{24, 0, 0, 2, 0, 0}, Alert::decode_error},
        Case{{24, 0, 0, 1, 0, 24, 0, 0, 1, 0}, Alert::unexpected_message},
        Case{{24, 0, 0, 1, 0, 4}, Alert::unexpected_message}}) {
    start_pair();
    EXPECT_EQ(open(forge().record(ContentType::handshake, c.message)), OpenStatus::error);
    EXPECT_STREQ(name_of(ours_.failure().alert), name_of(c.alert));
  }
}

TEST_F(SessionTest, KeyUpdateMaySpanRecords) {  // RFC 8446 5.1
  start_pair();
  Forger forger = forge();
  for (const uint8_t byte : {24, 0, 0, 1, 0}) {
    ASSERT_EQ(open(forger.record(ContentType::handshake, Bytes{byte})), OpenStatus::need_more);
  }
  forger.advance();
  ASSERT_EQ(open(forger.record(ContentType::application_data, kHello)), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), kHello);
}

TEST_F(SessionTest, DataAndAlertsInsideAHandshakeMessageAreUnexpected) {  // RFC 8446 5.1
  for (const ContentType type : {ContentType::application_data, ContentType::alert}) {
    start_pair();
    Forger forger = forge();
    ASSERT_EQ(open(forger.record(ContentType::handshake, Bytes{24, 0})), OpenStatus::need_more);
    EXPECT_EQ(open(forger.record(type, Bytes{1, 0})), OpenStatus::error);
    EXPECT_EQ(ours_.failure().alert, Alert::unexpected_message);
  }
}

TEST_F(SessionTest, OtherPostHandshakeMessagesAreUnexpected) {  // RFC 8446 4.6
  for (const uint8_t type : {0, 1, 2, 5, 8, 11, 13 /* CertificateRequest */, 15, 20, 254}) {
    start_pair();
    EXPECT_EQ(open(forge().record(ContentType::handshake, Bytes{type, 0, 0, 0})),
              OpenStatus::error);
    EXPECT_EQ(ours_.failure().alert, Alert::unexpected_message);
  }
}

TEST_F(SessionTest, TicketsAreForClientsOnly) {  // RFC 8446 4.6.1
  const Bytes ticket = {4, 0, 0, 3, 1, 2, 3};
  start_pair();
  ASSERT_EQ(open(forge().record(ContentType::handshake, ticket)), OpenStatus::need_more);
  EXPECT_EQ(layer_.counters().tickets_ignored, 1u);
  Forger client(Cipher::aes_256_gcm_sha384, secrets(Role::server).client);
  EXPECT_EQ(theirs_.open(to_chain(client.record(ContentType::handshake, ticket)), plain_),
            OpenStatus::error);
  EXPECT_EQ(theirs_.failure().alert, Alert::unexpected_message);
}

TEST_F(SessionTest, SeveralTicketsMayShareARecordAndOneMaySpanMany) {
  start_pair();
  Forger forger = forge();
  const Bytes two = {4, 0, 0, 1, 9, 4, 0, 0, 2, 9, 9};
  ASSERT_EQ(open(forger.record(ContentType::handshake, two), 3), OpenStatus::need_more);
  EXPECT_EQ(layer_.counters().tickets_ignored, 2u);
  Bytes large(4 + 60000, 7);
  large[0] = 4;
  packet::store_be<uint32_t>(large.data(), 4u << 24 | 60000u);
  for (size_t at = 0; at < large.size(); at += 16000) {
    const size_t size = std::min<size_t>(16000, large.size() - at);
    ASSERT_EQ(open(forger.record(ContentType::handshake, std::span(large).subspan(at, size))),
              OpenStatus::need_more);
  }
  EXPECT_EQ(layer_.counters().tickets_ignored, 3u);
}

TEST_F(SessionTest, OversizeTicketIsRefusedByItsHeader) {
  start_pair();
  EXPECT_EQ(open(forge().record(ContentType::handshake, Bytes{4, 1, 0, 1})), OpenStatus::error);
  EXPECT_EQ(ours_.failure().failure, Failure::ticket_flood);
}

TEST_F(SessionTest, ZeroLengthHandshakeAndAlertAreUnexpected) {  // RFC 8446 5.1
  for (const ContentType type : {ContentType::handshake, ContentType::alert}) {
    start_pair();
    EXPECT_EQ(open(forge().record(type, {})), OpenStatus::error);
    EXPECT_EQ(ours_.failure().alert, Alert::unexpected_message);
  }
}

TEST_F(SessionTest, AlertsHaveTwoBytes) {  // RFC 8446 5.1
  for (const Bytes& alert : {Bytes{2}, Bytes{2, 20, 2}, Bytes{1, 0, 1, 0}}) {
    start_pair();
    EXPECT_EQ(open(forge().record(ContentType::alert, alert)), OpenStatus::error);
    EXPECT_EQ(ours_.failure().failure, Failure::bad_alert);
  }
}

TEST_F(SessionTest, PeersAlertEndsTheConnectionWhateverItsLevel) {  // RFC 8446 6
  for (const uint8_t level : {1, 2, 77}) {
    start_pair();
    EXPECT_EQ(open(forge().record(ContentType::alert, Bytes{level, 46})), OpenStatus::error);
    EXPECT_EQ(ours_.failure().failure, Failure::peer_alert);
    EXPECT_EQ(ours_.failure().alert, Alert::certificate_unknown);
    EXPECT_FALSE(ours_.closed_cleanly());
  }
}

TEST_F(SessionTest, UserCanceledIsFollowedByCloseNotify) {  // RFC 8446 6.1
  start_pair();
  Forger forger = forge();
  EXPECT_EQ(open(forger.record(ContentType::alert, Bytes{1, 90})), OpenStatus::need_more);
  EXPECT_EQ(open(forger.record(ContentType::alert, Bytes{1, 0})), OpenStatus::closed);
}

TEST_F(SessionTest, DataAfterCloseNotifyIsIgnored) {  // RFC 8446 6.1
  start_pair();
  Forger forger = forge();
  Bytes wire = forger.record(ContentType::alert, Bytes{2, 0});
  const Bytes after = forger.record(ContentType::application_data, kHello);
  wire.insert(wire.end(), after.begin(), after.end());
  EXPECT_EQ(open(wire), OpenStatus::closed);
  EXPECT_EQ(open(after), OpenStatus::closed);
  EXPECT_TRUE(plain_.empty());
}

TEST_F(SessionTest, TruncationIsVisible) {  // RFC 8446 6.1
  start_pair();
  ASSERT_EQ(open(forge().record(ContentType::application_data, kHello)), OpenStatus::need_more);
  EXPECT_FALSE(ours_.closed_cleanly());
}

TEST_F(SessionTest, EverySplitOfTwoRecordsGivesTheSamePlaintext) {
  const Bytes first = random_bytes(random_, 40);
  const Bytes second = random_bytes(random_, 40);
  start_pair();
  Forger forger = forge();
  Bytes wire = forger.record(ContentType::application_data, first);
  const Bytes more = forger.record(ContentType::application_data, second);
  wire.insert(wire.end(), more.begin(), more.end());
  Bytes sent = first;
  sent.insert(sent.end(), second.begin(), second.end());
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    start_pair();
    ASSERT_EQ(open(std::span(wire).first(cut), 7), OpenStatus::need_more);
    ASSERT_EQ(open(std::span(wire).subspan(cut), 7), OpenStatus::need_more);
    ASSERT_EQ(take_plain(), sent) << cut;
  }
}

// Bytes that come one at a time come in a buffer each. Nobody may make us keep all of those.
TEST_F(SessionTest, ARecordByTheByteHoldsFewBuffers) {
  start_pair();
  Forger forger = forge();
  const Bytes content = random_bytes(random_, 3000);
  const Bytes record = forger.record(ContentType::application_data, content);
  const unsigned before = isthmus::test::mbufs_in_use();
  for (const uint8_t& byte : record) {
    ASSERT_EQ(open({&byte, 1}), OpenStatus::need_more);
    ASSERT_LT(isthmus::test::mbufs_in_use() - before, 10u);
  }
  EXPECT_EQ(take_plain(), content);
}

TEST_F(SessionTest, PlaintextOfManySmallRecordsHoldsFewBuffers) {
  start_pair();
  Forger forger = forge();
  Bytes records;
  Bytes content;
  for (int i = 0; i < 700; ++i) {
    content.push_back(static_cast<uint8_t>(i));
    const Bytes record = forger.record(ContentType::application_data, {&content.back(), 1});
    records.insert(records.end(), record.begin(), record.end());
  }
  const unsigned before = isthmus::test::mbufs_in_use();
  ASSERT_EQ(open(records), OpenStatus::need_more);
  EXPECT_LT(isthmus::test::mbufs_in_use() - before, 10u);
  EXPECT_EQ(take_plain(), content);
}

TEST_F(SessionTest, RecordsThatShareABufferAreOpenedInPlace) {
  start_pair();
  Forger forger = forge();
  const Bytes payload = random_bytes(random_, 4000);
  Bytes wire;
  Bytes sent;
  for (int i = 0; i < 10; ++i) {
    const Bytes record = forger.record(ContentType::application_data, payload);
    wire.insert(wire.end(), record.begin(), record.end());
    sent.insert(sent.end(), payload.begin(), payload.end());
  }
  ASSERT_EQ(open(std::span(wire).first(15000), 15000), OpenStatus::need_more);
  ASSERT_EQ(open(std::span(wire).subspan(15000)), OpenStatus::need_more);
  EXPECT_EQ(take_plain(), sent);
  EXPECT_EQ(layer_.counters().records_copied, 0u);
}

TEST_F(SessionTest, SharedBuffersAreNotWritten) {  // a capture holds a reference
  start_pair();
  Forger forger = forge();
  for (const size_t size : {100u, 4000u, 16000u}) {
    for (const bool indirect : {false, true}) {
      const Bytes payload = random_bytes(random_, size);
      const Bytes wire = forger.record(ContentType::application_data, payload);
      packet::Chain received = to_chain(wire, random_, 9000);
      packet::Chain capture = received.share(0, received.size(), isthmus::test::pools().clones);
      if (indirect) std::swap(received, capture);
      ASSERT_EQ(ours_.open(std::move(received), plain_), OpenStatus::need_more);
      EXPECT_EQ(take_plain(), payload);
      EXPECT_EQ(to_bytes(capture), wire);
    }
  }
  EXPECT_EQ(layer_.counters().records_copied, 6u);
}

TEST_F(SessionTest, EmptyPoolsLoseNothing) {
  start_pair();
  Forger forger = forge();
  const Bytes payload = random_bytes(random_, 3000);
  Bytes wire;
  for (int i = 0; i < 3; ++i) {
    const Bytes record = forger.record(ContentType::application_data, payload);
    wire.insert(wire.end(), record.begin(), record.end());
  }
  packet::Chain received = to_chain(wire);
  packet::Chain payload_chain = to_chain(payload);
  std::vector<rte_mbuf*> taken;
  for (rte_mempool* pool : {isthmus::test::pools().clones, isthmus::test::pools().small,
                            isthmus::test::pools().large}) {
    while (rte_mbuf* mbuf = rte_pktmbuf_alloc(pool)) taken.push_back(mbuf);
  }
  EXPECT_EQ(ours_.open(std::move(received), plain_), OpenStatus::no_buffer);
  EXPECT_EQ(ours_.open({}, plain_), OpenStatus::no_buffer);
  EXPECT_EQ(ours_.seal({}, payload_chain, 3000, out_), SealStatus::no_buffer);
  EXPECT_EQ(payload_chain.size(), 3000u);
  EXPECT_TRUE(out_.empty());
  for (rte_mbuf* mbuf : taken) rte_pktmbuf_free(mbuf);
  EXPECT_EQ(ours_.open({}, plain_), OpenStatus::need_more);
  EXPECT_EQ(plain_.size(), 9000u);
  EXPECT_EQ(ours_.seal({}, payload_chain, 3000, out_), SealStatus::ok);
  EXPECT_EQ(ours_.send_sequence(), 1u);
}

TEST_F(SessionTest, SealTakesOnlyTheAskedPartOfThePayload) {
  start_pair();
  const Bytes payload = random_bytes(random_, 5000);
  packet::Chain chain = to_chain(payload, random_, 700);
  const Bytes header = {1, 2, 3};
  ASSERT_EQ(ours_.seal(header, chain, 1234, out_), SealStatus::ok);
  EXPECT_EQ(chain.size(), 5000u - 1234);
  ASSERT_EQ(theirs_.open(std::move(out_), plain_), OpenStatus::need_more);
  Bytes expected = header;
  expected.insert(expected.end(), payload.begin(), payload.begin() + 1234);
  EXPECT_EQ(take_plain(), expected);
}

TEST_F(SessionTest, KeyIsUpdatedAtTheLimitAndBothSidesFollow) {  // RFC 8446 5.5
  RecordLimits limits;
  limits.update_after = 10;
  limits.stop_after = 20;
  Keys memory(2);
  RecordLayer layer(memory.memory(), isthmus::test::pools(), limits);
  Session client;
  Session server;
  ASSERT_TRUE(client.start(layer, secrets(Role::client)));
  ASSERT_TRUE(server.start(layer, secrets(Role::server)));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(client.seal(kHello, out_), SealStatus::ok);
    ASSERT_EQ(server.open(std::move(out_), plain_), OpenStatus::need_more);
    EXPECT_EQ(take_plain(), kHello);
    EXPECT_LE(client.send_sequence(), 10u);
  }
  EXPECT_EQ(layer.counters().key_updates_sent, layer.counters().key_updates_received);
  EXPECT_EQ(layer.counters().key_updates_sent, 9u);
}

TEST_F(SessionTest, PeerThatNeverUpdatesIsAskedOnce) {
  RecordLimits limits;
  limits.update_after = 10;
  Keys memory(1);
  RecordLayer layer(memory.memory(), isthmus::test::pools(), limits);
  Session client;
  ASSERT_TRUE(client.start(layer, secrets(Role::client)));
  Forger forger = forge();
  for (int i = 0; i < 30; ++i) {
    ASSERT_EQ(client.open(to_chain(forger.record(ContentType::application_data, kHello)), plain_),
              OpenStatus::need_more);
    EXPECT_EQ(client.wants_flush(), i == 9);
    if (client.wants_flush()) {
      ASSERT_EQ(client.flush(out_), SealStatus::ok);
    }
  }
  Forger peer(Cipher::aes_256_gcm_sha384, secrets(Role::client).client);
  EXPECT_EQ(take_out(), peer.record(ContentType::handshake, Bytes{24, 0, 0, 1, 1}));
}

TEST_F(SessionTest, NothingIsSealedBeyondTheHardLimit) {  // RFC 8446 5.5
  RecordLimits limits;
  limits.update_after = UINT64_MAX;
  limits.stop_after = 5;
  Keys memory(1);
  RecordLayer layer(memory.memory(), isthmus::test::pools(), limits);
  Session client;
  ASSERT_TRUE(client.start(layer, secrets(Role::client)));
  for (int i = 0; i < 5; ++i) ASSERT_EQ(client.seal(kHello, out_), SealStatus::ok);
  EXPECT_EQ(client.seal(kHello, out_), SealStatus::key_exhausted);
  EXPECT_EQ(client.update_key(false, out_), SealStatus::key_exhausted);
}

TEST_F(SessionTest, WithoutKeySlotsItDoesNotStart) {
  Keys memory(1);
  RecordLayer layer(memory.memory(), isthmus::test::pools());
  Session a;
  Session b;
  ASSERT_TRUE(a.start(layer, secrets(Role::client)));
  EXPECT_FALSE(b.start(layer, secrets(Role::client)));
  EXPECT_FALSE(b.started());
  Session moved = std::move(a);
  EXPECT_EQ(moved.seal(kHello, out_), SealStatus::ok);
  EXPECT_EQ(layer.keys().in_use(), 2u);
  moved.stop();
  EXPECT_EQ(layer.keys().in_use(), 0u);
  EXPECT_TRUE(b.start(layer, secrets(Role::client)));
}

}  // namespace
}  // namespace isthmus::tls::test
