// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/neighbours.h"

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "ip/arp.h"
#include "ip/nd.h"
#include "packet/ethernet.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::ip {
namespace {

using packet::Arp;
using packet::be32;
using packet::Ethernet;
using packet::IpAddress;
using packet::MacAddress;
using stats::Reason;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using test::address;
using test::Bytes;
using timer::Instant;

const MacAddress kPort = *MacAddress::parse("02:00:00:00:00:01");
const MacAddress kPeer = *MacAddress::parse("02:00:00:00:00:99");
const MacAddress kMoved = *MacAddress::parse("02:00:00:00:00:98");

class NeighboursTest : public testing::Test, public NeighbourOutput {
 protected:
  NeighboursTest() : before_(test::mbufs_in_use()) { make(16); }
  ~NeighboursTest() override {
    neighbours_.reset();
    EXPECT_EQ(test::mbufs_in_use(), before_);
  }

  void make(uint32_t capacity) {
    NeighbourConfig config;
    config.mac = kPort;
    config.addresses = {address("10.0.0.1"), address("fd00::1")};
    config.capacity = capacity;
    neighbours_ =
        std::make_unique<Neighbours>(config, test::pools(), packet::SipKey{1, 2}, *this, now_);
  }
  void transmit_frame(rte_mbuf* frame) override {
    frames_.push_back(test::to_bytes(frame));
    rte_pktmbuf_free(frame);
  }
  void drop(rte_mbuf* packet, Reason reason) override {
    drops_.push_back(reason);
    rte_pktmbuf_free(packet);
  }

  void send(const char* next_hop) {
    const IpAddress hop = address(next_hop);
    const IpAddress from = hop.is_v4() ? address("10.0.0.1") : address("fd00::1");
    neighbours_->send(test::to_mbuf(test::udp_packet({{from, 1}, {hop, 2}})), hop, now_);
  }
  stats::Refusal arp(Arp::Operation operation, const MacAddress& mac, const char* sender,
                     const char* target) {
    rte_mbuf* message = operation == Arp::kRequest
                            ? make_arp_request(mac, address(sender).v4_wire(),
                                               address(target).v4_wire(), test::pools().small)
                            : make_arp_reply({{},
                                              {},
                                              0,
                                              0,
                                              {},
                                              kPort,
                                              address(target).v4_wire(),
                                              {},
                                              address(sender).v4_wire()},
                                             mac, test::pools().small);
    const auto reason = neighbours_->input_arp(message, now_);
    rte_pktmbuf_free(message);
    return reason;
  }
  stats::Refusal nd(const NeighbourMessage& message, const char* source, const char* destination) {
    rte_mbuf* packet =
        make_neighbour_message(message, address(source), address(destination), test::pools().small);
    packet::Parsed parsed;
    EXPECT_FALSE(packet::parse(packet, parsed));
    EXPECT_TRUE(is_neighbour_message(parsed));
    const auto reason = neighbours_->input_nd(parsed, now_);
    rte_pktmbuf_free(packet);
    return reason;
  }
  void pass(timer::Duration time) {
    const Instant end = now_ + time;
    while (neighbours_->next_deadline() <= end) {
      now_ = std::max(now_, neighbours_->next_deadline());
      neighbours_->advance(now_);
    }
    now_ = end;
    neighbours_->advance(now_);
  }
  // The ARP message in a frame that was sent; its Ethernet header in `ethernet`.
  Arp sent_arp(size_t i, Ethernet& ethernet) const {
    Arp message;
    EXPECT_EQ(frames_.at(i).size(), sizeof(Ethernet) + sizeof(Arp));
    std::memcpy(&ethernet, frames_[i].data(), sizeof ethernet);
    std::memcpy(&message, frames_[i].data() + sizeof ethernet, sizeof message);
    return message;
  }
  MacAddress sent_to(size_t i) const {
    MacAddress mac;
    std::memcpy(mac.bytes.data(), frames_.at(i).data(), 6);
    return mac;
  }
  uint16_t sent_type(size_t i) const {
    return packet::load_be<uint16_t>(frames_.at(i).data() + 12);
  }
  Neighbours::State state(const char* of) const {
    Neighbours::State result = Neighbours::State::permanent;
    bool found = false;
    neighbours_->for_each([&](const Neighbours::Info& info) {
      if (info.address != address(of)) return;
      result = info.state;
      found = true;
    });
    EXPECT_TRUE(found);
    return result;
  }

  unsigned before_;
  Instant now_{seconds(1000)};
  std::unique_ptr<Neighbours> neighbours_;
  std::vector<Bytes> frames_;
  std::vector<Reason> drops_;
};

TEST_F(NeighboursTest, Rfc826AnswersForItsOwnAddressesOnly) {
  EXPECT_FALSE(arp(Arp::kRequest, kPeer, "10.0.0.9", "10.0.0.1"));
  ASSERT_EQ(frames_.size(), 1u);
  Ethernet ethernet;
  const Arp reply = sent_arp(0, ethernet);
  EXPECT_EQ(ethernet.destination, kPeer);
  EXPECT_EQ(ethernet.source, kPort);
  EXPECT_EQ(ethernet.type.get(), Ethernet::kArp);
  EXPECT_EQ(reply.operation.get(), Arp::kReply);
  EXPECT_EQ(reply.sender_mac, kPort);
  EXPECT_EQ(IpAddress::v4(reply.sender_ip), address("10.0.0.1"));
  EXPECT_EQ(reply.target_mac, kPeer);
  EXPECT_EQ(IpAddress::v4(reply.target_ip), address("10.0.0.9"));
  EXPECT_FALSE(arp(Arp::kRequest, kPeer, "10.0.0.9", "10.0.0.7"));
  EXPECT_EQ(frames_.size(), 1u);
}

TEST_F(NeighboursTest, PacketsWaitForTheAnswerAndGoInOrder) {
  send("10.0.0.9");
  send("10.0.0.9");
  ASSERT_EQ(frames_.size(), 1u);  // one request for both
  Ethernet ethernet;
  const Arp request = sent_arp(0, ethernet);
  EXPECT_EQ(ethernet.destination, MacAddress::broadcast());
  EXPECT_EQ(request.operation.get(), Arp::kRequest);
  EXPECT_EQ(IpAddress::v4(request.sender_ip), address("10.0.0.1"));
  EXPECT_EQ(IpAddress::v4(request.target_ip), address("10.0.0.9"));
  EXPECT_FALSE(arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1"));
  ASSERT_EQ(frames_.size(), 3u);
  EXPECT_EQ(sent_to(1), kPeer);
  EXPECT_EQ(sent_type(1), Ethernet::kIpv4);
  EXPECT_EQ(state("10.0.0.9"), Neighbours::State::reachable);
  send("10.0.0.9");
  EXPECT_EQ(frames_.size(), 4u);
}

TEST_F(NeighboursTest, SilenceDropsWhatWaitsAfterThreeRequests) {
  send("10.0.0.9");
  pass(milliseconds(2999));
  EXPECT_EQ(frames_.size(), 3u);
  EXPECT_TRUE(drops_.empty());
  pass(milliseconds(2));
  EXPECT_EQ(frames_.size(), 3u);
  EXPECT_EQ(drops_, std::vector{Reason::ip_neighbour_unresolved});
  EXPECT_EQ(neighbours_->size(), 0u);
}

TEST_F(NeighboursTest, QueueOfOneNeighbourIsBounded) {
  for (unsigned i = 0; i < Neighbours::kQueue + 2; ++i) send("10.0.0.9");
  EXPECT_EQ(drops_,
            (std::vector{Reason::ip_neighbour_queue_full, Reason::ip_neighbour_queue_full}));
}

TEST_F(NeighboursTest, TableIsBoundedAndStaleEntriesMakeRoom) {
  make(2);
  send("10.0.0.8");
  send("10.0.0.9");
  send("10.0.0.10");
  EXPECT_EQ(drops_, std::vector{Reason::ip_neighbour_table_full});
  arp(Arp::kReply, kPeer, "10.0.0.8", "10.0.0.1");
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  pass(seconds(31));
  EXPECT_EQ(state("10.0.0.8"), Neighbours::State::stale);
  send("10.0.0.10");
  EXPECT_EQ(drops_.size(), 1u);
  EXPECT_EQ(neighbours_->size(), 2u);
}

TEST_F(NeighboursTest, Rfc4861StaleNeighbourIsUsedAndProbed) {
  send("10.0.0.9");
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  pass(seconds(31));
  frames_.clear();
  send("10.0.0.9");
  ASSERT_EQ(frames_.size(), 2u);  // a unicast request, and the packet
  EXPECT_EQ(sent_type(0), Ethernet::kArp);
  EXPECT_EQ(sent_to(0), kPeer);
  EXPECT_EQ(sent_type(1), Ethernet::kIpv4);
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  EXPECT_EQ(state("10.0.0.9"), Neighbours::State::reachable);
}

TEST_F(NeighboursTest, Rfc4861SilentProbeForgetsTheNeighbour) {
  send("10.0.0.9");
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  pass(seconds(31));
  send("10.0.0.9");
  pass(seconds(4));
  EXPECT_EQ(neighbours_->size(), 0u);
  EXPECT_TRUE(drops_.empty());
}

TEST_F(NeighboursTest, UnusedNeighbourIsForgotten) {
  send("10.0.0.9");
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  pass(seconds(31) + minutes(10));
  EXPECT_EQ(neighbours_->size(), 0u);
}

TEST_F(NeighboursTest, GratuitousArpUpdatesButNeverCreates) {
  arp(Arp::kRequest, kPeer, "10.0.0.9", "10.0.0.9");
  EXPECT_EQ(neighbours_->size(), 0u);
  send("10.0.0.9");
  arp(Arp::kReply, kPeer, "10.0.0.9", "10.0.0.1");
  arp(Arp::kRequest, kMoved, "10.0.0.9", "10.0.0.9");
  EXPECT_EQ(state("10.0.0.9"), Neighbours::State::stale);
  frames_.clear();
  send("10.0.0.9");
  EXPECT_EQ(sent_to(1), kMoved);
}

TEST_F(NeighboursTest, Rfc5227ProbeIsAnsweredAndNotLearnt) {
  arp(Arp::kRequest, kPeer, "0.0.0.0", "10.0.0.1");
  EXPECT_EQ(frames_.size(), 1u);
  EXPECT_EQ(neighbours_->size(), 0u);
}

TEST_F(NeighboursTest, PermanentNeighbourCannotBeMoved) {
  ASSERT_TRUE(neighbours_->add_permanent(address("10.0.0.9"), kPeer));
  arp(Arp::kRequest, kMoved, "10.0.0.9", "10.0.0.1");
  frames_.clear();
  send("10.0.0.9");
  ASSERT_EQ(frames_.size(), 1u);
  EXPECT_EQ(sent_to(0), kPeer);
  pass(minutes(60));
  EXPECT_EQ(neighbours_->size(), 1u);
}

TEST_F(NeighboursTest, MalformedArpIsRefused) {
  const Bytes good = test::hex("0001 0800 06 04 0001 020000000099 0a000009 000000000000 0a000001");
  for (const auto& [at, value] :
       std::vector<std::pair<size_t, uint8_t>>{{1, 2}, {3, 1}, {4, 5}, {5, 16}, {7, 3}, {8, 1}}) {
    Bytes bad = good;
    bad[at] = value;
    rte_mbuf* message = test::to_mbuf(bad);
    EXPECT_EQ(neighbours_->input_arp(message, now_), Reason::ip_bad_arp) << at;
    rte_pktmbuf_free(message);
  }
  for (size_t n = 0; n < good.size(); ++n) {
    rte_mbuf* message = test::to_mbuf(test::slice(good, 0, n));
    EXPECT_EQ(neighbours_->input_arp(message, now_), Reason::packet_truncated);
    rte_pktmbuf_free(message);
  }
  EXPECT_TRUE(frames_.empty());
}

TEST_F(NeighboursTest, Rfc4861SolicitationForUsIsAdvertised) {
  NeighbourMessage ask;
  ask.target = address("fd00::1");
  ask.link_address = kPeer;
  EXPECT_FALSE(nd(ask, "fd00::9", "ff02::1:ff00:1"));
  ASSERT_EQ(frames_.size(), 1u);
  EXPECT_EQ(sent_to(0), kPeer);
  const Bytes answer = test::slice(frames_[0], 14, frames_[0].size());
  EXPECT_TRUE(test::checksums_right(answer));
  EXPECT_EQ(answer[7], 255);                                  // hop limit
  EXPECT_EQ(test::slice(answer, 40, 42), test::hex("8800"));  // advertisement
  EXPECT_EQ(answer[44], 0xe0);                                // router, solicited, override
  EXPECT_EQ(test::slice(answer, 64, 72), test::hex("0201 020000000001"));
  ask.target = address("fd00::7");
  EXPECT_FALSE(nd(ask, "fd00::9", "ff02::1:ff00:7"));
  EXPECT_EQ(frames_.size(), 1u);
}

TEST_F(NeighboursTest, Rfc4861ResolvesIpv6NextHops) {
  send("fd00::9");
  ASSERT_EQ(frames_.size(), 1u);
  EXPECT_EQ(sent_to(0).to_string(), "33:33:ff:00:00:09");
  EXPECT_EQ(sent_type(0), Ethernet::kIpv6);
  NeighbourMessage answer;
  answer.kind = NeighbourMessage::kAdvertisement;
  answer.flags = NeighbourMessage::kSolicited | NeighbourMessage::kOverride;
  answer.target = address("fd00::9");
  answer.link_address = kPeer;
  EXPECT_FALSE(nd(answer, "fd00::9", "fd00::1"));
  ASSERT_EQ(frames_.size(), 2u);
  EXPECT_EQ(sent_to(1), kPeer);
  EXPECT_EQ(state("fd00::9"), Neighbours::State::reachable);
  // Without the override flag another address is not taken over.
  answer.flags = 0;
  answer.link_address = kMoved;
  EXPECT_FALSE(nd(answer, "fd00::9", "fd00::1"));
  send("fd00::9");
  EXPECT_EQ(sent_to(2), kPeer);
}

TEST_F(NeighboursTest, Rfc4861MessageThatPassedARouterIsRefused) {
  NeighbourMessage ask;
  ask.target = address("fd00::1");
  rte_mbuf* packet =
      make_neighbour_message(ask, address("fd00::9"), address("fd00::1"), test::pools().small);
  rte_pktmbuf_mtod(packet, packet::Ipv6*)->hop_limit = 254;
  packet::Parsed parsed;
  ASSERT_FALSE(packet::parse(packet, parsed));
  EXPECT_EQ(neighbours_->input_nd(parsed, now_), Reason::ip_bad_arp);
  rte_pktmbuf_free(packet);
}

TEST_F(NeighboursTest, Rfc4861LyingOptionsAreRefused) {
  for (const auto* option :
       {"01 00 0200 0000 0099", "01 02 0200 0000 0099", "01 01 0300 0000 0099"}) {
    Bytes bytes = test::icmp_packet(
        address("fd00::9"), address("fd00::1"), 135, 0, 0,
        test::hex(std::string("fd00 0000 0000 0000 0000 0000 0000 0001") + option));
    bytes[7] = 255;
    rte_mbuf* packet = test::to_mbuf(bytes);
    packet::Parsed parsed;
    ASSERT_FALSE(packet::parse(packet, parsed));
    EXPECT_EQ(neighbours_->input_nd(parsed, now_), Reason::ip_bad_arp) << option;
    rte_pktmbuf_free(packet);
  }
}

TEST_F(NeighboursTest, Ipv6GroupsNeedNoResolution) {
  send("ff02::5");
  ASSERT_EQ(frames_.size(), 1u);
  EXPECT_EQ(sent_to(0).to_string(), "33:33:00:00:00:05");
}

}  // namespace
}  // namespace isthmus::ip
