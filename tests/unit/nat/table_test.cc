// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "nat/table.h"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "packet/offload.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::nat {
namespace {

using packet::Endpoint;
using packet::Parsed;
using packet::Tcp;
using packet::Tuple;
using stats::Reason;
using std::chrono::minutes;
using std::chrono::seconds;
using test::address;
using test::Bytes;
using test::endpoint;
using test::pattern;
using test::slice;
using test::tuple;

// A pod calls a service outside the mesh; its connection leaves by a fresh port.
const Tuple kClient = tuple("10.244.1.5:40000", "10.96.0.10:80");
const Endpoint kUpstream = endpoint("192.0.2.7:8080");
const Tuple kClient6 = tuple("[fd00::5]:40000", "[fd96::10]:80");
const Endpoint kUpstream6 = endpoint("[2001:db8::7]:8080");

class NatTest : public testing::Test {
 protected:
  NatTest() : mbufs_(test::mbufs_in_use()) { make(16); }
  ~NatTest() override {
    table_.reset();
    EXPECT_EQ(test::mbufs_in_use(), mbufs_);
  }

  void make(uint32_t capacity) {
    Config config;
    config.capacity = capacity;
    config.key = {1, 2};
    table_ = std::make_unique<Table>(config, now_);
  }
  PortChoice fresh() {
    PortChoice choice;
    choice.owners = &owners_;
    choice.worker = 1;
    choice.range = {1024, 65535};
    choice.start = start_ += 7919;
    return choice;
  }
  Entry* open(const Tuple& client, const Endpoint& upstream) {
    Entry* entry = nullptr;
    EXPECT_FALSE(table_->create(client, client.source.address, upstream, fresh(), 7, now_, entry));
    return entry;
  }

  // Sends a packet through and gives what comes out; empty when nothing does.
  Bytes pass(const Bytes& packet, uint64_t flags = 0) {
    rte_mbuf* mbuf = test::to_mbuf(packet, 700);
    mbuf->ol_flags |= flags;
    Parsed parsed;
    EXPECT_FALSE(packet::parse(mbuf, parsed));
    const Found found = table_->find(parsed.tuple);
    Bytes out;
    if (found) {
      reason_ = table_->translate(found, parsed, now_);
      if (!reason_) packet::prepare_forward(parsed);
      packet::complete_checksums(mbuf);
      if (!reason_) out = test::to_bytes(mbuf);
    }
    rte_pktmbuf_free(mbuf);
    return out;
  }
  // One segment of a connection, by flags and numbers.
  Bytes segment(const Tuple& flow, uint8_t flags, uint32_t sequence = 1000,
                uint32_t acknowledgment = 0, size_t payload = 0) {
    test::TcpFields fields;
    fields.flags = flags;
    fields.sequence = sequence;
    fields.acknowledgment = acknowledgment;
    return test::tcp_packet(flow, pattern(payload), fields);
  }
  void establish(const Entry& entry) {
    pass(segment(entry.client, Tcp::kSyn, 1000));
    pass(segment(entry.upstream.reversed(), Tcp::kSyn | Tcp::kAck, 5000, 1001));
    pass(segment(entry.client, Tcp::kAck, 1001, 5001));
    EXPECT_EQ(entry.state, State::established);
  }
  bool reopens(const Tuple& flow, uint8_t flags, uint32_t sequence = 1000) {
    rte_mbuf* mbuf = test::to_mbuf(segment(flow, flags, sequence));
    Parsed parsed;
    EXPECT_FALSE(packet::parse(mbuf, parsed));
    const bool result = Table::reopens(table_->find(parsed.tuple), parsed);
    rte_pktmbuf_free(mbuf);
    return result;
  }
  unsigned expire() {
    unsigned gone = 0;
    table_->advance(now_, 1000, [&](const Entry&) { ++gone; });
    return gone;
  }

  unsigned mbufs_;
  timer::Instant now_{seconds(1000)};
  uint32_t start_ = 0;
  packet::IndirectionTable owners_{2};
  std::unique_ptr<Table> table_;
  stats::Refusal reason_;
};

// What a packet must look like after its addresses, ports and TTL have changed.
Bytes expected(const Bytes& original, const Tuple& to) {
  const bool v4 = original[0] >> 4 == 4;
  Bytes result = original;
  const size_t width = v4 ? 4 : 16;
  const size_t at = v4 ? 12 : 8;
  std::memcpy(result.data() + at, to.source.address.bytes().data() + 16 - width, width);
  std::memcpy(result.data() + at + width, to.destination.address.bytes().data() + 16 - width,
              width);
  packet::store_be<uint16_t>(result.data() + (v4 ? 20 : 40), to.source.port);
  packet::store_be<uint16_t>(result.data() + (v4 ? 22 : 42), to.destination.port);
  --result[v4 ? 8 : 7];
  test::fix_checksums(result);
  return result;
}

TEST_F(NatTest, BothDirectionsAreTranslatedAndNothingElseChanges) {
  for (const auto& [client, upstream] :
       {std::pair{kClient, kUpstream}, std::pair{kClient6, kUpstream6}}) {
    const Entry* entry = open(client, upstream);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->upstream.source.address, client.source.address) << "the source stays";
    EXPECT_EQ(entry->upstream.destination, upstream);
    const Bytes forth = test::tcp_packet(client, pattern(1000));
    EXPECT_EQ(pass(forth), expected(forth, entry->upstream));
    const Bytes back = test::tcp_packet(entry->upstream.reversed(), pattern(999));
    EXPECT_EQ(pass(back), expected(back, client.reversed()));
    EXPECT_EQ(entry->half(Side::client).packets, 1u);
    EXPECT_EQ(entry->half(Side::client).bytes, forth.size());
    EXPECT_EQ(entry->half(Side::upstream).bytes, back.size());
    EXPECT_EQ(entry->cookie, 7u);
  }
}

TEST_F(NatTest, PartialChecksumIsCompletedWithTheNewAddresses) {
  for (const auto& [client, upstream] :
       {std::pair{kClient, kUpstream}, std::pair{kClient6, kUpstream6}}) {
    const Entry* entry = open(client, upstream);
    const Bytes whole = test::tcp_packet(client, pattern(500));
    Bytes partial = whole;  // whatever stands there, the driver vouches for the data
    partial[(whole[0] >> 4 == 4 ? 20 : 40) + 16] ^= 0x5a;
    EXPECT_EQ(pass(partial, RTE_MBUF_F_RX_L4_CKSUM_NONE), expected(whole, entry->upstream));
  }
}

TEST_F(NatTest, UnknownPacketsAreNotTouched) {
  open(kClient, kUpstream);
  EXPECT_TRUE(pass(test::tcp_packet(kClient.reversed())).empty());
  EXPECT_TRUE(pass(test::tcp_packet(tuple("10.244.1.5:40001", "10.96.0.10:80"))).empty());
}

TEST_F(NatTest, Rfc1812TtlThatRunsOutIsToldAndNothingIsCounted) {
  const Entry* entry = open(kClient, kUpstream);
  Bytes packet = test::tcp_packet(kClient);
  packet[8] = 1;
  test::fix_checksums(packet);
  EXPECT_TRUE(pass(packet).empty());
  EXPECT_EQ(reason_, Reason::nat_ttl_exceeded);
  EXPECT_EQ(entry->half(Side::client).packets, 0u);
}

// On a node port the host's connection tracking knows the client's port, so a fresh one is taken;
// and replies to it reach the worker that has the entry.
TEST_F(NatTest, FreshPortIsNotTheClientsAndComesHome) {
  make(1000);
  std::set<uint16_t> ports;
  for (uint16_t i = 0; i < 500; ++i) {
    Tuple client = kClient;
    client.source.port = static_cast<uint16_t>(1024 + 7919 * (i + 1));
    const Entry* entry = open(client, kUpstream);
    ASSERT_NE(entry, nullptr);
    EXPECT_NE(entry->upstream.source.port, client.source.port);
    EXPECT_TRUE(ports.insert(entry->upstream.source.port).second) << "used twice";
    EXPECT_EQ(owners_.owner(entry->upstream.reversed()), 1);
  }
}

TEST_F(NatTest, PortOfTheWorkersOwnConnectionsIsAvoided) {
  struct Taken final : PortsInUse {
    bool in_use(const Tuple& upstream) const override { return upstream.source.port < 60000; }
  } taken;
  PortChoice choice = fresh();
  choice.range = {59900, 60010};
  choice.others = &taken;
  Entry* entry = nullptr;
  ASSERT_FALSE(table_->create(kClient, kClient.source.address, kUpstream, choice, 0, now_, entry));
  EXPECT_GE(entry->upstream.source.port, 60000);
}

TEST_F(NatTest, ExhaustedRangeIsRefused) {
  make(1000);
  PortChoice choice = fresh();
  choice.range = {2000, 2009};
  unsigned made = 0;
  stats::Refusal reason;
  for (uint16_t i = 0; i < 20 && !reason; ++i) {
    Tuple client = kClient;
    client.source.port = static_cast<uint16_t>(30000 + i);
    Entry* entry = nullptr;
    reason = table_->create(client, client.source.address, kUpstream, choice, 0, now_, entry);
    made += entry != nullptr;
  }
  EXPECT_EQ(made, 5u);  // half of the ten ports belong to this worker
  EXPECT_EQ(reason, Reason::nat_no_port);
}

TEST_F(NatTest, KeptPortIsRefusedWhenItIsTaken) {
  PortChoice keep;
  keep.keep = true;
  Entry* entry = nullptr;
  ASSERT_FALSE(table_->create(kClient, kClient.source.address, kUpstream, keep, 0, now_, entry));
  EXPECT_EQ(entry->upstream.source, kClient.source);
  const Tuple other = tuple("10.244.1.5:40000", "10.96.0.11:80");  // another service, same endpoint
  EXPECT_EQ(table_->create(other, other.source.address, kUpstream, keep, 0, now_, entry),
            Reason::nat_no_port);
  EXPECT_EQ(entry, nullptr);
}

TEST_F(NatTest, FullTableRefusesAndHarmsNobody) {
  make(2);
  const Entry* first = open(kClient, kUpstream);
  open(kClient6, kUpstream6);
  const Tuple third = tuple("10.244.1.6:1", "10.96.0.10:80");
  Entry* entry = nullptr;
  EXPECT_EQ(table_->create(third, third.source.address, kUpstream, fresh(), 0, now_, entry),
            Reason::nat_table_full);
  EXPECT_FALSE(pass(test::tcp_packet(kClient)).empty());
  EXPECT_FALSE(pass(test::tcp_packet(first->upstream.reversed())).empty());
}

TEST_F(NatTest, Rfc5382Req5TransitoryConnectionsAreForgottenAfterFourMinutes) {
  const Entry* entry = open(kClient, kUpstream);
  pass(segment(kClient, Tcp::kSyn));
  pass(segment(entry->upstream.reversed(), Tcp::kSyn | Tcp::kAck, 5000, 1001));
  EXPECT_EQ(entry->state, State::opening) << "the client has not answered yet";
  now_ += minutes(4) - seconds(1);
  EXPECT_EQ(expire(), 0u);
  now_ += seconds(2);
  EXPECT_EQ(expire(), 1u);
  EXPECT_EQ(table_->size(), 0u);
  EXPECT_FALSE(table_->find(kClient));
}

TEST_F(NatTest, Rfc5382Req5EstablishedConnectionsLiveTwoHoursFourMinutes) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  now_ += minutes(124) - seconds(1);
  EXPECT_EQ(expire(), 0u);
  pass(segment(entry->upstream.reversed(), Tcp::kAck, 5001, 1001, 1));
  now_ += minutes(124) - seconds(1);
  EXPECT_EQ(expire(), 0u) << "every packet starts the time again";
  now_ += seconds(2);
  EXPECT_EQ(expire(), 1u);
}

TEST_F(NatTest, Rfc7857ClosingNeedsFinsOfBothSidesOrAReset) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  pass(segment(kClient, Tcp::kFin | Tcp::kAck, 1001, 5001));
  EXPECT_EQ(entry->state, State::established) << "half closed";
  pass(segment(entry->upstream.reversed(), Tcp::kFin | Tcp::kAck, 5001, 1002));
  EXPECT_EQ(entry->state, State::closing);
  EXPECT_FALSE(pass(segment(kClient, Tcp::kAck, 1002, 5002)).empty()) << "the last ACK passes";
  now_ += minutes(4) + seconds(1);
  EXPECT_EQ(expire(), 1u);

  entry = open(kClient6, kUpstream6);
  establish(*entry);
  pass(segment(entry->upstream.reversed(), Tcp::kRst, 5001));
  EXPECT_EQ(entry->state, State::closing);
}

TEST_F(NatTest, NewConnectionOnTheSamePortsIsANewFlow) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  EXPECT_FALSE(reopens(kClient, Tcp::kSyn)) << "not while the old one lives";
  pass(segment(kClient, Tcp::kRst, 1001));
  EXPECT_TRUE(reopens(kClient, Tcp::kSyn));
  EXPECT_TRUE(reopens(kClient, Tcp::kSyn | Tcp::kEce | Tcp::kCwr));
  EXPECT_FALSE(reopens(kClient, Tcp::kSyn | Tcp::kAck));
  EXPECT_FALSE(reopens(entry->upstream.reversed(), Tcp::kSyn));
  EXPECT_FALSE(reopens(kClient, Tcp::kAck));
  table_->remove(*table_->find(kClient).entry);
  EXPECT_NE(open(kClient, kUpstream), nullptr);
}

TEST_F(NatTest, ClientThatGivesUpAnUnansweredSynOpensANewFlow) {
  open(kClient, kUpstream);
  EXPECT_FALSE(pass(segment(kClient, Tcp::kSyn, 1000)).empty());
  EXPECT_FALSE(reopens(kClient, Tcp::kSyn, 1000)) << "the same SYN again";
  EXPECT_FALSE(pass(segment(kClient, Tcp::kSyn, 1000)).empty());
  EXPECT_TRUE(reopens(kClient, Tcp::kSyn, 77'000));
}

// An upstream that has forgotten the connection would accept the SYN, under the old verdict.
TEST_F(NatTest, Rfc5961SynInALiveConnectionIsChallengedAndNotPassedOn) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  EXPECT_FALSE(reopens(kClient, Tcp::kSyn, 77'000)) << "whoever forges it must not end the flow";
  for (const uint32_t sequence : {1000u, 1001u, 77'000u}) {
    EXPECT_TRUE(pass(segment(kClient, Tcp::kSyn, sequence)).empty()) << sequence;
    EXPECT_EQ(reason_, Reason::nat_unexpected_syn);
    EXPECT_EQ(entry->state, State::established);
  }
  const Found found = table_->find(kClient);
  rte_mbuf* challenge = table_->make_challenge(found, test::pools().small, now_);
  ASSERT_NE(challenge, nullptr);
  EXPECT_TRUE(test::checksums_right(test::to_bytes(challenge)));
  Parsed parsed;
  ASSERT_FALSE(packet::parse(challenge, parsed));
  EXPECT_EQ(parsed.tuple, kClient.reversed());
  EXPECT_EQ(parsed.tcp()->flags, Tcp::kAck);
  EXPECT_EQ(parsed.tcp()->sequence.get(), 5001u);
  const uint32_t acknowledged = parsed.tcp()->acknowledgment.get();
  rte_pktmbuf_free(challenge);
  EXPECT_EQ(table_->make_challenge(found, test::pools().small, now_), nullptr) << "not in a row";
  now_ += seconds(1);
  challenge = table_->make_challenge(found, test::pools().small, now_);
  EXPECT_NE(challenge, nullptr);
  rte_pktmbuf_free(challenge);

  // A client that is new says so (RFC 9293 section 3.10.7.3), and its next SYN is a new flow.
  EXPECT_FALSE(pass(segment(kClient, Tcp::kRst, acknowledged)).empty());
  EXPECT_EQ(entry->state, State::closing);
  EXPECT_TRUE(reopens(kClient, Tcp::kSyn, 77'000));
}

TEST_F(NatTest, SynOfTheUpstreamOpensNothingInALiveConnection) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  EXPECT_TRUE(pass(segment(entry->upstream.reversed(), Tcp::kSyn, 9)).empty());
  EXPECT_EQ(reason_, Reason::nat_unexpected_syn);
  EXPECT_EQ(
      table_->make_challenge(table_->find(entry->upstream.reversed()), test::pools().small, now_),
      nullptr);
}

TEST_F(NatTest, Rfc5382Req2SimultaneousOpenPasses) {
  const Entry* entry = open(kClient, kUpstream);
  pass(segment(kClient, Tcp::kSyn, 1000));
  EXPECT_FALSE(pass(segment(entry->upstream.reversed(), Tcp::kSyn, 5000)).empty());
  EXPECT_FALSE(pass(segment(kClient, Tcp::kSyn | Tcp::kAck, 1000, 5001)).empty());
  EXPECT_FALSE(
      pass(segment(entry->upstream.reversed(), Tcp::kSyn | Tcp::kAck, 5000, 1001)).empty());
  EXPECT_EQ(entry->half(Side::client).initial, 1000u);
}

TEST_F(NatTest, Rfc5961ResetThatNobodyExpectsPassesAndEndsNothing) {
  const Entry* entry = open(kClient, kUpstream);
  const auto back = [&] { return entry->upstream.reversed(); };
  pass(segment(kClient, Tcp::kSyn, 1000));
  for (const auto& [flags, number] : {std::pair<int, uint32_t>{Tcp::kRst, 1001},
                                      {Tcp::kRst | Tcp::kAck, 1000},
                                      {Tcp::kRst | Tcp::kAck, 1002}}) {
    EXPECT_FALSE(pass(segment(back(), static_cast<uint8_t>(flags), 0, number)).empty());
    EXPECT_EQ(entry->state, State::opening) << flags << " " << number;
  }
  pass(segment(back(), Tcp::kSyn | Tcp::kAck, 5000, 1001));
  pass(segment(kClient, Tcp::kAck, 1001, 5001));
  pass(segment(kClient, Tcp::kAck, 1001, 5001, 100));  // in flight
  for (const uint32_t sequence : {0u, 1000u, 1102u, 0x8000'0000u}) {
    EXPECT_FALSE(pass(segment(kClient, Tcp::kRst, sequence)).empty()) << sequence;
    EXPECT_EQ(entry->state, State::established) << sequence;
  }
  for (const uint32_t sequence : {5000u, 5002u}) {
    pass(segment(back(), Tcp::kRst | Tcp::kAck, sequence, 1101));
    EXPECT_EQ(entry->state, State::established) << sequence;
  }
  EXPECT_EQ(entry->half(Side::upstream).acknowledged, 1001u) << "it is not heard at all";
  pass(segment(kClient, Tcp::kRst, 1101));
  EXPECT_EQ(entry->state, State::closing);
}

TEST_F(NatTest, Rfc9293RefusedSynClosesTheEntry) {
  const Entry* entry = open(kClient, kUpstream);
  pass(segment(kClient, Tcp::kSyn, 1000));
  pass(segment(entry->upstream.reversed(), Tcp::kRst | Tcp::kAck, 0, 1001));
  EXPECT_EQ(entry->state, State::closing);
}

TEST_F(NatTest, FinsThatCannotBeEndNothing) {
  const Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  pass(segment(kClient, Tcp::kFin | Tcp::kAck, 500, 5001));
  pass(segment(entry->upstream.reversed(), Tcp::kFin | Tcp::kAck, 0x4000'0000, 1001));
  EXPECT_EQ(entry->state, State::established);
}

// Reads a RST and gives it back; checks that it is one and well formed.
packet::Parsed check_reset(rte_mbuf* packet, const Tuple& flow) {
  Parsed parsed;
  EXPECT_NE(packet, nullptr);
  EXPECT_TRUE(test::checksums_right(test::to_bytes(packet)));
  EXPECT_FALSE(packet::parse(packet, parsed));
  EXPECT_EQ(parsed.tuple, flow);
  EXPECT_NE(parsed.tcp()->flags & Tcp::kRst, 0);
  return parsed;
}

TEST_F(NatTest, Rfc5961ResetHasTheSequenceNumberThatEachSideExpects) {
  for (const auto& [client, upstream] :
       {std::pair{kClient, kUpstream}, std::pair{kClient6, kUpstream6}}) {
    Entry* entry = open(client, upstream);
    establish(*entry);
    pass(segment(client, Tcp::kAck, 1001, 5001, 100));
    pass(segment(entry->upstream.reversed(), Tcp::kAck, 5001, 1101, 500));
    pass(segment(client, Tcp::kAck, 1101, 5501));
    const auto resets = table_->reset(*entry, test::pools().small, now_);
    EXPECT_EQ(check_reset(resets.to_client, client.reversed()).tcp()->sequence.get(), 5501u);
    EXPECT_EQ(check_reset(resets.to_upstream, entry->upstream).tcp()->sequence.get(), 1101u);
    rte_pktmbuf_free(resets.to_client);
    rte_pktmbuf_free(resets.to_upstream);
  }
}

TEST_F(NatTest, Rfc9293ResetOfAnUnansweredSynIsARefusal) {
  Entry* entry = open(kClient, kUpstream);
  pass(segment(kClient, Tcp::kSyn, 1000));
  const auto resets = table_->reset(*entry, test::pools().small, now_);
  const Parsed refusal = check_reset(resets.to_client, kClient.reversed());
  EXPECT_EQ(refusal.tcp()->flags, Tcp::kRst | Tcp::kAck);
  EXPECT_EQ(refusal.tcp()->acknowledgment.get(), 1001u);
  EXPECT_EQ(check_reset(resets.to_upstream, entry->upstream).tcp()->sequence.get(), 1001u);
  rte_pktmbuf_free(resets.to_client);
  rte_pktmbuf_free(resets.to_upstream);
}

TEST_F(NatTest, DeniedFlowPassesNothingAndAnswersWithReset) {
  Entry* entry = open(kClient, kUpstream);
  establish(*entry);
  const auto resets = table_->reset(*entry, test::pools().small, now_);
  rte_pktmbuf_free(resets.to_client);
  rte_pktmbuf_free(resets.to_upstream);
  EXPECT_TRUE(pass(segment(kClient, Tcp::kAck, 1001, 5001, 10)).empty());
  EXPECT_EQ(reason_, Reason::nat_denied);
  // A challenge ACK (RFC 5961) is answered with the number that it asks for.
  rte_mbuf* challenge = test::to_mbuf(segment(kClient, Tcp::kAck, 1001, 6001));
  Parsed parsed;
  ASSERT_FALSE(packet::parse(challenge, parsed));
  rte_mbuf* answer = make_reset_reply(parsed, test::pools().small);
  EXPECT_EQ(check_reset(answer, kClient.reversed()).tcp()->sequence.get(), 6001u);
  rte_pktmbuf_free(answer);
  rte_pktmbuf_free(challenge);
  now_ += minutes(1) + seconds(1);
  EXPECT_EQ(expire(), 1u);
}

TEST_F(NatTest, Rfc9293ResetIsNotAnsweredWithReset) {
  rte_mbuf* rst = test::to_mbuf(segment(kClient, Tcp::kRst));
  Parsed parsed;
  ASSERT_FALSE(packet::parse(rst, parsed));
  EXPECT_EQ(make_reset_reply(parsed, test::pools().small), nullptr);
  rte_pktmbuf_free(rst);
}

// An error about a packet on the upstream leg reaches the client as one about its own packet.
TEST_F(NatTest, Rfc5508ErrorFromTheUpstreamSideIsTranslated) {
  for (const auto& [client, upstream] :
       {std::pair{kClient, kUpstream}, std::pair{kClient6, kUpstream6}}) {
    const Entry* entry = open(client, upstream);
    const bool v4 = client.source.address.is_v4();
    const auto router = v4 ? address("203.0.113.1") : address("2001:db8:f::1");
    // From a router on the way, quoting little or all; and from the upstream itself.
    for (const auto& [reporter, seen_as] :
         {std::pair{router, router}, std::pair{upstream.address, client.destination.address}}) {
      for (const size_t quoted : {v4 ? 28u : 48u, v4 ? 140u : 160u}) {
        const Bytes sent = test::tcp_packet(entry->upstream, pattern(100));
        const Bytes original = test::tcp_packet(client, pattern(100));
        rte_mbuf* mbuf = test::to_mbuf(test::icmp_packet(
            reporter, client.source.address, v4 ? 3 : 2, v4 ? 4 : 0, 1400, slice(sent, 0, quoted)));
        Parsed parsed;
        ASSERT_FALSE(packet::parse(mbuf, parsed));
        const Found found = table_->find(entry->upstream.reversed());
        ASSERT_TRUE(found);
        ASSERT_FALSE(table_->translate_error(found, parsed));
        Bytes wanted = test::icmp_packet(seen_as, client.source.address, v4 ? 3 : 2, v4 ? 4 : 0,
                                         1400, slice(original, 0, quoted));
        --wanted[v4 ? 8 : 7];
        test::fix_checksums(wanted);
        EXPECT_EQ(test::to_bytes(mbuf), wanted);
        rte_pktmbuf_free(mbuf);
      }
    }
  }
}

TEST_F(NatTest, Rfc5508ErrorFromTheClientSideIsTranslated) {
  const Entry* entry = open(kClient, kUpstream);
  const Bytes sent = test::tcp_packet(kClient.reversed(), pattern(40));
  const Bytes original = test::tcp_packet(entry->upstream.reversed(), pattern(40));
  rte_mbuf* mbuf = test::to_mbuf(test::icmp_packet(
      kClient.source.address, kClient.destination.address, 3, 3, 0, slice(sent, 0, 28)));
  Parsed parsed;
  ASSERT_FALSE(packet::parse(mbuf, parsed));
  const Found found = table_->find(kClient);
  ASSERT_FALSE(table_->translate_error(found, parsed));
  Bytes wanted =
      test::icmp_packet(kClient.source.address, kUpstream.address, 3, 3, 0, slice(original, 0, 28));
  --wanted[8];
  test::fix_checksums(wanted);
  EXPECT_EQ(test::to_bytes(mbuf), wanted);
  rte_pktmbuf_free(mbuf);
}

TEST_F(NatTest, ErrorForSomebodyElseThanTheQuotedSenderIsRefused) {
  const Entry* entry = open(kClient, kUpstream);
  const Bytes error = test::icmp_packet(address("203.0.113.1"), address("10.244.1.6"), 3, 3, 0,
                                        slice(test::tcp_packet(entry->upstream), 0, 28));
  rte_mbuf* mbuf = test::to_mbuf(error);
  Parsed parsed;
  ASSERT_FALSE(packet::parse(mbuf, parsed));
  EXPECT_EQ(table_->translate_error(table_->find(entry->upstream.reversed()), parsed),
            Reason::ip_bad_icmp);
  EXPECT_EQ(test::to_bytes(mbuf), error);
  rte_pktmbuf_free(mbuf);
}

TEST_F(NatTest, ManyFlowsComeAndGoWithoutALeak) {
  make(512);
  std::mt19937 random(11);
  std::vector<Entry*> live;
  for (int step = 0; step < 50'000; ++step) {
    if (live.size() < 512 && random() % 2 == 0) {
      Tuple client = kClient;
      client.source.port = static_cast<uint16_t>(1024 + random() % 2000);
      if (table_->find(client)) continue;
      live.push_back(open(client, kUpstream));
      ASSERT_NE(live.back(), nullptr);
    } else if (!live.empty()) {
      const size_t at = random() % live.size();
      table_->remove(*live[at]);
      live[at] = live.back();
      live.pop_back();
    }
    ASSERT_EQ(table_->size(), live.size());
    if (live.empty()) continue;
    const Entry* probe = live[random() % live.size()];
    ASSERT_EQ(table_->find(probe->client).entry, probe);
    ASSERT_EQ(table_->find(probe->upstream.reversed()).entry, probe);
  }
}

}  // namespace
}  // namespace isthmus::nat
