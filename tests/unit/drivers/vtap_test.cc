// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// net_vtap against a real kernel, in network namespaces of the tests' own. Skipped without the
// privilege to make one.
#include "drivers/vtap/vtap.h"

#include <atomic>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <thread>
#include <unistd.h>

#include "drivers/port.h"
#include "frames.h"
#include "namespace.h"

namespace isthmus::drivers {
namespace {

using test::Bytes;
using testing::HasSubstr;
using vtap::VnetHeader;

constexpr uint32_t kKernelIp = RTE_IPV4(10, 1, 1, 1);
constexpr uint32_t kOurIp = RTE_IPV4(10, 1, 1, 2);
constexpr const char* kMacs = ",mac=02:00:00:00:00:01,peer_mac=02:00:00:00:00:02";

class Vtap : public testing::Test {
 protected:
  void SetUp() override {
    if (!space_.make()) GTEST_SKIP() << "needs CAP_SYS_ADMIN and CAP_NET_ADMIN";
    if (access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/net/tun";
    in_use_ = test::mbufs_in_use();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    port_.reset();
    EXPECT_EQ(test::mbufs_in_use(), in_use_);
  }

  // Opens and starts; the kernel's side gets its address.
  void open(const std::string& more, uint16_t rx_queues = 1) {
    PortConfig config;
    config.device = "net_vtap_t,iface=tap0,netns=" + space_.path() + more;
    config.rx_queues = rx_queues;
    config.pools = {test::pools()};
    start(config);
    space_.set_address("tap0", kKernelIp);
  }
  void open_pods(uint16_t pods) {
    PortConfig config;
    config.device = "net_vtap_t,pods=" + std::to_string(pods) + ",mac=02:00:00:00:00:01";
    config.rx_queues = pods;
    config.tx_queues = pods;
    config.pools = {test::pools()};
    start(config);
  }
  void start(const PortConfig& config) {
    std::string error;
    port_ = Port::open(config, error);
    ASSERT_NE(port_, nullptr) << error;
    ASSERT_TRUE(port_->start(error)) << error;
  }
  vtap::TapConfig pod(const std::string& ifname) {
    return {.ifname = ifname, .netns = space_.path()};
  }

  // The next frame for which wanted() holds: the kernel also sends frames of its own.
  template <typename Wanted>
  rte_mbuf* receive(Wanted wanted, uint16_t queue = 0) {
    for (int i = 0; i < 20; ++i) {
      rte_mbuf* frame = nullptr;
      while (port_->rx_burst(queue, &frame, 1) == 1) {
        if (wanted(*frame)) return frame;
        rte_pktmbuf_free(frame);
      }
      pollfd wait = {.fd = vtap::rx_fd(port_->id(), queue), .events = POLLIN, .revents = 0};
      poll(&wait, 1, 100);
    }
    return nullptr;
  }
  rte_mbuf* receive_tcp() {
    return receive([](const rte_mbuf& frame) {
      const auto* ip = rte_pktmbuf_mtod_offset(&frame, const rte_ipv4_hdr*, 14);
      return type_of(frame) == RTE_ETHER_TYPE_IPV4 && ip->next_proto_id == IPPROTO_TCP;
    });
  }
  static uint16_t type_of(const rte_mbuf& frame) {
    return rte_be_to_cpu_16(rte_pktmbuf_mtod(&frame, const rte_ether_hdr*)->ether_type);
  }
  void send(rte_mbuf* frame, uint16_t queue = 0) {
    ASSERT_EQ(port_->tx_burst(queue, &frame, 1), 1);
  }

  test::Namespace space_;
  std::unique_ptr<Port> port_;
  unsigned in_use_ = 0;
};

// A coalesced packet as the kernel's own TCP would hand it over: partial checksum, GSO.
struct Coalesced {
  Bytes frame;
  VnetHeader vnet;
};
Coalesced coalesced(uint32_t payload) {
  Coalesced out;
  out.frame = test::tcp_frame(payload);
  test::tcp_of(out.frame)->cksum = rte_ipv4_phdr_cksum(test::ip_of(out.frame), 0);
  out.vnet = {.flags = VnetHeader::kNeedsChecksum,
              .gso_type = VnetHeader::kGsoTcp4,
              .hdr_len = test::kTcpHeaders,
              .gso_size = 1448,
              .csum_start = 34,
              .csum_offset = 16};
  return out;
}

TEST_F(Vtap, PortSaysWhatItCanDo) {
  open(kMacs);
  const PortInfo& info = port_->info();
  EXPECT_EQ(info.driver, "net_vtap");
  EXPECT_TRUE(rte_is_same_ether_addr(&info.mac, &test::kOurMac));
  EXPECT_EQ(info.mtu, 1500);
  EXPECT_TRUE(info.tx_tso && info.tx_tcp_checksum && info.tx_udp_checksum && info.tx_ip_checksum);
  EXPECT_TRUE(info.rx_lro && info.rx_tcp_checksum && info.tx_lock_free && info.tx_segments);
}

TEST_F(Vtap, KernelAnswersArpAndEcho) {
  open(kMacs);
  send(test::to_mbuf(test::arp_request(kOurIp, kKernelIp)));
  rte_mbuf* reply = receive([](const rte_mbuf& f) { return type_of(f) == RTE_ETHER_TYPE_ARP; });
  ASSERT_NE(reply, nullptr);
  Bytes bytes = test::to_bytes(reply);
  EXPECT_EQ(memcmp(bytes.data() + 22, &test::kPeerMac, 6), 0) << "peer_mac is the kernel's";
  rte_pktmbuf_free(reply);

  send(test::to_mbuf(test::echo_request(kOurIp, kKernelIp)));
  reply = receive([](const rte_mbuf& f) {
    return type_of(f) == RTE_ETHER_TYPE_IPV4 && *rte_pktmbuf_mtod_offset(&f, uint8_t*, 23) == 1;
  });
  ASSERT_NE(reply, nullptr);
  bytes = test::to_bytes(reply);
  EXPECT_EQ(bytes[34], 0) << "echo reply";
  rte_pktmbuf_free(reply);
}

TEST_F(Vtap, KernelsPartialChecksumIsReportedAsNone) {
  open(kMacs);
  test::PacketSocket kernel(space_, "tap0");
  Coalesced packet = coalesced(100);
  packet.vnet.gso_type = VnetHeader::kGsoNone;
  packet.vnet.gso_size = 0;
  kernel.send(packet.vnet, packet.frame);
  rte_mbuf* frame = receive_tcp();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  EXPECT_EQ(test::to_bytes(frame), packet.frame);
  rte_pktmbuf_free(frame);
}

TEST_F(Vtap, KernelsTsoPacketArrivesAsOneChain) {
  open(kMacs);
  test::PacketSocket kernel(space_, "tap0");
  const Coalesced packet = coalesced(60000);
  kernel.send(packet.vnet, packet.frame);
  rte_mbuf* frame = receive_tcp();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->pkt_len, packet.frame.size());
  EXPECT_NE(frame->ol_flags & RTE_MBUF_F_RX_LRO, 0u);
  EXPECT_EQ(frame->tso_segsz, 1448);
  EXPECT_GT(frame->nb_segs, 1);
  EXPECT_EQ(test::to_bytes(frame), packet.frame);
  rte_pktmbuf_free(frame);
}

// The pool's buffers may be waiting for the acknowledgment that this frame stands for.
TEST_F(Vtap, ShortFramesArriveWhenLargeBuffersHaveRunOut) {
  rte_mempool* large = rte_pktmbuf_pool_create("vtap_few", 4, 0, 0, 17024, SOCKET_ID_ANY);
  ASSERT_NE(large, nullptr);
  std::vector<rte_mbuf*> held;
  while (rte_mbuf* each = rte_pktmbuf_alloc(large)) held.push_back(each);
  PortConfig config;
  config.device = "net_vtap_t,iface=tap0,netns=" + space_.path() + kMacs;
  config.pools = {packet::Pools{test::pools().small, large, test::pools().clones}};
  start(config);
  space_.set_address("tap0", kKernelIp);
  test::PacketSocket kernel(space_, "tap0");
  const Coalesced lost = coalesced(60000);
  kernel.send(lost.vnet, lost.frame);
  kernel.send({}, test::tcp_frame(1));
  rte_mbuf* frame = receive_tcp();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(test::to_bytes(frame), test::tcp_frame(1));
  rte_pktmbuf_free(frame);
  EXPECT_EQ(port_->stats().rx_missed, 1u);
  EXPECT_GE(port_->stats().rx_nombuf, 2u);
  port_->clear_stats();
  EXPECT_EQ(port_->stats().rx_missed, 0u);
  EXPECT_EQ(port_->missed(), 1u);

  for (rte_mbuf* each : held) rte_pktmbuf_free(each);
  kernel.send(lost.vnet, lost.frame);
  frame = receive_tcp();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(test::to_bytes(frame), lost.frame);
  rte_pktmbuf_free(frame);
  port_.reset();
  rte_mempool_free(large);
}

TEST_F(Vtap, OffloadOffMeansWholeChecksumsAndShortPackets) {
  open(std::string(kMacs) + ",offload=0");
  EXPECT_FALSE(port_->info().tx_tso || port_->info().tx_tcp_checksum || port_->info().rx_lro);
  test::PacketSocket kernel(space_, "tap0");
  const Coalesced packet = coalesced(10000);
  kernel.send(packet.vnet, packet.frame);
  for (uint32_t received = 0; received < 10000;) {
    rte_mbuf* frame = receive_tcp();
    ASSERT_NE(frame, nullptr);
    EXPECT_LE(frame->pkt_len, 1514u);
    EXPECT_EQ(frame->ol_flags & (RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE), 0u);
    Bytes bytes = test::to_bytes(frame);
    EXPECT_EQ(rte_ipv4_udptcp_cksum_verify(test::ip_of(bytes), test::tcp_of(bytes)), 0);
    received += frame->pkt_len - test::kTcpHeaders;
    rte_pktmbuf_free(frame);
  }
}

TEST_F(Vtap, TsoReachesTheKernelAsOnePacket) {
  open(kMacs);
  test::PacketSocket kernel(space_, "tap0");
  Bytes bytes = test::tcp_frame(60000);
  test::ip_of(bytes)->src_addr = rte_cpu_to_be_32(kOurIp);
  test::ip_of(bytes)->dst_addr = rte_cpu_to_be_32(kKernelIp);
  test::ip_of(bytes)->hdr_checksum = 0x1234;
  memcpy(bytes.data(), &test::kPeerMac, 6);
  memcpy(bytes.data() + 6, &test::kOurMac, 6);
  test::tcp_of(bytes)->cksum = rte_ipv4_phdr_cksum(test::ip_of(bytes), RTE_MBUF_F_TX_TCP_SEG);
  rte_mbuf* frame = test::to_mbuf(bytes, 1400, test::pools().small);
  test::ask_tso(frame, 1448);
  send(frame);

  VnetHeader vnet;
  Bytes got = kernel.receive_tcp(vnet);
  ASSERT_EQ(got.size(), bytes.size());
  EXPECT_EQ(vnet.gso_type, VnetHeader::kGsoTcp4);
  EXPECT_EQ(vnet.gso_size, 1448);
  EXPECT_EQ(vnet.flags, VnetHeader::kNeedsChecksum);
  EXPECT_EQ(test::tcp_of(got)->cksum, rte_ipv4_phdr_cksum(test::ip_of(got), 0));
  EXPECT_EQ(rte_ipv4_cksum(test::ip_of(got)), 0) << "filled on the way";
  EXPECT_TRUE(
      std::equal(got.begin() + test::kTcpHeaders, got.end(), bytes.begin() + test::kTcpHeaders));
  EXPECT_EQ(port_->stats().tx_packets, 1u);
  EXPECT_EQ(port_->stats().tx_bytes, bytes.size());
}

TEST_F(Vtap, MtuIsTheInterfaces) {
  open(std::string(kMacs) + ",mtu=1400");
  EXPECT_EQ(port_->info().mtu, 1400);
  std::string error;
  ASSERT_TRUE(port_->set_mtu(9000, error)) << error;
  EXPECT_EQ(space_.mtu("tap0"), 9000);
  EXPECT_FALSE(port_->set_mtu(65535, error)) << "no TAP takes it";
  EXPECT_EQ(space_.mtu("tap0"), 9000);
}

TEST_F(Vtap, LinkFollowsTheInterface) {
  open(kMacs);
  EXPECT_TRUE(port_->link_up());
  space_.set_up("tap0", false);
  EXPECT_FALSE(port_->link_up());
  rte_mbuf* frame = test::to_mbuf(test::tcp_frame(1));
  send(frame);
  EXPECT_EQ(port_->stats().tx_errors, 1u) << "the kernel refuses what it can't receive";
  EXPECT_EQ(rte_eth_dev_set_link_up(port_->id()), 0);
  EXPECT_TRUE(port_->link_up());
}

TEST_F(Vtap, StatsResetForgetsThePast) {
  open(kMacs);
  send(test::to_mbuf(test::tcp_frame(1)));
  EXPECT_EQ(port_->stats().tx_packets, 1u);
  port_->clear_stats();
  EXPECT_EQ(port_->stats().tx_packets, 0u);
  send(test::to_mbuf(test::tcp_frame(1)));
  EXPECT_EQ(port_->stats().tx_packets, 1u);
}

TEST_F(Vtap, InterfaceThatExistsIsAttachedToAndLeft) {
  ASSERT_TRUE(space_.make_persistent_tap("tap0"));
  open(kMacs);
  EXPECT_TRUE(space_.exists("tap0"));
  port_.reset();
  EXPECT_TRUE(space_.exists("tap0"));
}

TEST_F(Vtap, InterfaceThatWasCreatedGoesWithThePort) {
  open(kMacs);
  EXPECT_TRUE(space_.exists("tap0"));
  port_.reset();
  EXPECT_FALSE(space_.exists("tap0"));
}

TEST_F(Vtap, OneInterfaceHasSeveralQueues) {
  open(std::string(kMacs) + ",queues=2", 2);
  EXPECT_GE(vtap::rx_fd(port_->id(), 0), 0);
  EXPECT_GE(vtap::rx_fd(port_->id(), 1), 0);
  test::PacketSocket kernel(space_, "tap0");
  unsigned received[2] = {};
  for (uint16_t flow = 0; flow < 64; ++flow) {
    Bytes bytes = test::tcp_frame(10);
    test::tcp_of(bytes)->src_port = rte_cpu_to_be_16(static_cast<uint16_t>(2000 + flow));
    kernel.send({}, bytes);
  }
  for (uint16_t queue = 0; queue < 2; ++queue) {
    rte_mbuf* frames[64];
    for (uint16_t got; (got = port_->rx_burst(queue, frames, 64)) > 0;) {
      for (uint16_t i = 0; i < got; ++i) {
        received[queue] += type_of(*frames[i]) == RTE_ETHER_TYPE_IPV4 ? 1 : 0;
        rte_pktmbuf_free(frames[i]);
      }
    }
  }
  EXPECT_EQ(received[0] + received[1], 64u);
  EXPECT_GT(received[0], 0u) << "the kernel spreads flows";
  EXPECT_GT(received[1], 0u);
}

TEST_F(Vtap, PodsComeAndGoWhileTheWorkerRuns) {
  open_pods(4);
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> sent = 0;
  std::thread worker([&] {
    while (!stop.load()) {
      for (uint16_t queue = 0; queue < 4; ++queue) {
        rte_mbuf* frames[8];
        const uint16_t got = port_->rx_burst(queue, frames, 8);
        for (uint16_t i = 0; i < got; ++i) rte_pktmbuf_free(frames[i]);
        rte_mbuf* frame = test::to_mbuf(test::arp_request(kOurIp, kKernelIp));
        if (port_->tx_burst(queue, &frame, 1) == 0) rte_pktmbuf_free(frame);
        sent.fetch_add(1);
      }
    }
  });
  std::string error;
  for (int round = 0; round < 20; ++round) {
    const auto queue = static_cast<uint16_t>(round % 4);
    const std::string name = "pod" + std::to_string(round);
    EXPECT_TRUE(vtap::attach(port_->id(), queue, pod(name), error)) << error;
    EXPECT_TRUE(vtap::queue_link(port_->id(), queue));
    EXPECT_FALSE(vtap::attach(port_->id(), queue, pod("other"), error)) << "one at a time";
    const uint64_t before = sent.load();
    while (sent.load() < before + 50) std::this_thread::yield();
    EXPECT_TRUE(vtap::detach(port_->id(), queue, error)) << error;
    EXPECT_FALSE(vtap::queue_link(port_->id(), queue));
    EXPECT_FALSE(vtap::detach(port_->id(), queue, error));
  }
  stop.store(true);
  worker.join();
  for (uint16_t queue = 0; queue < 4; ++queue) {
    vtap::QueueStats stats;
    ASSERT_TRUE(vtap::queue_stats(port_->id(), queue, stats));
    EXPECT_GT(stats.tx_packets, 0u) << queue;
    EXPECT_GT(stats.tx_errors, 0u) << "sent to nobody is counted";
  }
}

TEST_F(Vtap, AttachRefusalsSayWhy) {
  open_pods(1);
  std::string error;
  EXPECT_FALSE(vtap::attach(port_->id(), 1, pod("pod"), error));
  EXPECT_THAT(error, HasSubstr("no pod queue 1"));
  EXPECT_FALSE(vtap::attach(port_->id(), 0, {.ifname = "pod", .netns = "isthmus-none"}, error));
  EXPECT_THAT(error, HasSubstr("/run/netns/isthmus-none"));
  EXPECT_FALSE(vtap::attach(port_->id(), 0, pod("lo"), error));
  EXPECT_THAT(error, HasSubstr("interface lo: attach"));
  EXPECT_TRUE(vtap::attach(port_->id(), 0, pod("pod"), error)) << error;
}

TEST_F(Vtap, PollerTellsWhichQueuesAreWorthARead) {
  open_pods(3);
  std::string error;
  auto poller = vtap::Poller::create(port_->id(), error);
  ASSERT_NE(poller, nullptr) << error;
  for (uint16_t queue = 0; queue < 3; ++queue) {
    const std::string name = "pod" + std::to_string(queue);
    ASSERT_TRUE(vtap::attach(port_->id(), queue, pod(name), error)) << error;
    ASSERT_TRUE(poller->watch(queue, error)) << error;
  }
  const auto drain = [&] {  // until every queue is left to epoll again
    for (int idle = 0; idle < 50; ++idle) {
      for (const uint16_t queue : poller->ready()) {
        rte_mbuf* frame = nullptr;
        while (port_->rx_burst(queue, &frame, 1) == 1) rte_pktmbuf_free(frame);
      }
    }
  };
  drain();
  EXPECT_TRUE(poller->ready().empty());
  pollfd wait = {.fd = poller->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&wait, 1, 0), 0);

  test::PacketSocket kernel(space_, "pod1");
  kernel.send({}, test::tcp_frame(10));
  EXPECT_EQ(poll(&wait, 1, 1000), 1) << "a sleeping worker wakes";
  const auto ready = poller->ready();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0], 1);
  drain();
  EXPECT_TRUE(poller->ready().empty());
  EXPECT_EQ(poll(&wait, 1, 0), 0);
  poller->unwatch(1);
  EXPECT_TRUE(vtap::detach(port_->id(), 1, error));
}

}  // namespace
}  // namespace isthmus::drivers
