// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Ports over the devices that need no privileges.
#include "drivers/port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "drivers/copybreak.h"
#include "drivers/pools.h"
#include "drivers/virtio_user.h"
#include "drivers/vtap/vtap.h"
#include "frames.h"

namespace isthmus::drivers {
namespace {

using testing::HasSubstr;

PortConfig config(const std::string& device) {
  PortConfig out;
  out.device = device;
  out.pools = {test::pools()};
  return out;
}

std::unique_ptr<Port> open(const PortConfig& config) {
  std::string error;
  auto port = Port::open(config, error);
  EXPECT_NE(port, nullptr) << error;
  return port;
}

std::string refusal(const PortConfig& config) {
  std::string error;
  EXPECT_EQ(Port::open(config, error), nullptr);
  return error;
}

TEST(Port, NullPortSendsAndCounts) {
  const unsigned before = test::mbufs_in_use();
  auto port = open(config("net_null0,no-rx=1"));
  ASSERT_NE(port, nullptr);
  std::string error;
  ASSERT_TRUE(port->start(error)) << error;
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->info().driver, "net_null");

  rte_mbuf* frames[4];
  EXPECT_EQ(port->rx_burst(0, frames, 4), 0);
  for (auto& frame : frames) frame = test::to_mbuf(test::tcp_frame(100));
  EXPECT_EQ(port->tx_burst(0, frames, 4), 4);
  EXPECT_EQ(port->stats().tx_packets, 4u);
  port->clear_stats();
  EXPECT_EQ(port->stats().tx_packets, 0u);
  ASSERT_TRUE(port->stop(error)) << error;
  port.reset();
  EXPECT_EQ(test::mbufs_in_use(), before);
}

TEST(Port, OffloadsAreWhatTheDeviceHasAndNoMore) {
  auto port = open(config("net_ring1"));
  ASSERT_NE(port, nullptr);
  EXPECT_FALSE(port->info().tx_tso);
  EXPECT_FALSE(port->info().tx_tcp_checksum);
  EXPECT_FALSE(port->info().rx_lro);
  EXPECT_TRUE(port->info().tx_segments) << "a ring passes chains on";
}

TEST(Port, ClosingRemovesTheDeviceThatOpeningMade) {
  uint16_t id = 0;
  open(config("net_null1,no-rx=1")).reset();
  EXPECT_NE(rte_eth_dev_get_port_by_name("net_null1", &id), 0);
  ASSERT_NE(open(config("net_null1,no-rx=1")), nullptr) << "and the name is free again";
}

TEST(Port, DeviceThatExistsIsUsedAsItIs) {
  auto first = open(config("net_null2,no-rx=1"));
  EXPECT_THAT(refusal(config("net_null2,no-rx=1")), HasSubstr("exists already"));
}

TEST(Port, RefusalsSayWhy) {
  EXPECT_THAT(refusal(config("net_nothing0")), HasSubstr("no such device"));
  EXPECT_THAT(refusal(PortConfig{.device = "net_null3"}), HasSubstr("no mempools"));
  PortConfig queues = config("net_ring2");
  queues.rx_queues = 5000;
  EXPECT_THAT(refusal(queues), HasSubstr("5000 receive queues"));
  queues.rx_queues = 0;
  EXPECT_THAT(refusal(queues), HasSubstr("0 receive queues"));
  queues.rx_queues = 1;
  queues.descriptors = 16000;
  EXPECT_THAT(refusal(queues), HasSubstr("fewer buffers left than its 16000"));
  uint16_t id = 0;
  EXPECT_NE(rte_eth_dev_get_port_by_name("net_ring2", &id), 0) << "nothing stays behind";
}

TEST(Port, EachQueueTakesItsWorkersPools) {
  std::string error;
  auto second = WorkerPools::create("w1", {255, 15, 255}, SOCKET_ID_ANY, error);
  ASSERT_NE(second, nullptr) << error;
  PortConfig two = config("net_null4");
  two.rx_queues = 2;
  two.pools.push_back(second->pools());
  auto port = open(two);
  ASSERT_NE(port, nullptr);
  ASSERT_TRUE(port->start(error)) << error;
  rte_mbuf* frame = nullptr;
  ASSERT_EQ(port->rx_burst(0, &frame, 1), 1) << "net_null invents frames";
  EXPECT_EQ(frame->pool, test::pools().small);
  rte_pktmbuf_free(frame);
  ASSERT_EQ(port->rx_burst(1, &frame, 1), 1);
  EXPECT_EQ(frame->pool, second->pools().small);
  EXPECT_EQ(second->in_use(), 1u);
  rte_pktmbuf_free(frame);
  port.reset();
  EXPECT_EQ(second->in_use(), 0u);
}

TEST(Port, RingPortHandsBackWhatItWasGiven) {
  auto port = open(config("net_ring3"));
  ASSERT_NE(port, nullptr);
  std::string error;
  ASSERT_TRUE(port->start(error)) << error;
  const test::Bytes bytes = test::tcp_frame(5000);
  rte_mbuf* frame = test::to_mbuf(bytes);
  ASSERT_EQ(port->tx_burst(0, &frame, 1), 1);
  rte_mbuf* back = nullptr;
  ASSERT_EQ(port->rx_burst(0, &back, 1), 1);
  EXPECT_EQ(test::to_bytes(back), bytes);
  rte_pktmbuf_free(back);
}

TEST(Port, CopybreakMovesShortFramesOutOfLargeBuffers) {
  auto port = open(config("net_ring4"));
  ASSERT_NE(port, nullptr);
  std::string error;
  ASSERT_TRUE(add_copybreak(port->id(), 0, test::pools().small));
  ASSERT_TRUE(port->start(error)) << error;
  const test::Bytes small = test::tcp_frame(60);
  const test::Bytes large = test::tcp_frame(9000);
  rte_mbuf* frames[2] = {test::to_mbuf(small, 16000, test::pools().large),
                         test::to_mbuf(large, 16000, test::pools().large)};
  frames[0]->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  ASSERT_EQ(port->tx_burst(0, frames, 2), 2);
  ASSERT_EQ(port->rx_burst(0, frames, 2), 2);
  EXPECT_EQ(frames[0]->pool, test::pools().small);
  EXPECT_EQ(frames[0]->ol_flags, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  EXPECT_EQ(test::to_bytes(frames[0]), small);
  EXPECT_EQ(frames[1]->pool, test::pools().large);
  EXPECT_EQ(test::to_bytes(frames[1]), large);
  for (rte_mbuf* frame : frames) rte_pktmbuf_free(frame);
}

TEST(Port, StatsReadAsTestpmdWritesThem) {
  auto port = open(config("net_null5,no-rx=1"));
  ASSERT_NE(port, nullptr);
  std::string error;
  ASSERT_TRUE(port->start(error)) << error;
  port->show_stats(1'000'000'000);
  rte_mbuf* frames[8];
  for (auto& frame : frames) frame = test::to_mbuf(test::tcp_frame(1));
  ASSERT_EQ(port->tx_burst(0, frames, 8), 8);
  const std::string shown = port->show_stats(3'000'000'000);
  EXPECT_THAT(shown, HasSubstr("NIC statistics for port"));
  EXPECT_THAT(shown, HasSubstr("  TX-packets: 8          TX-errors: 0          TX-bytes:"));
  EXPECT_THAT(shown, HasSubstr("  Tx-pps:            4 ")) << "8 packets in 2 s";
}

TEST(Port, PoolsThatDontFitAreRefused) {
  std::string error;
  EXPECT_EQ(WorkerPools::create("w2", {255, 1 << 20, 255}, SOCKET_ID_ANY, error), nullptr);
  EXPECT_THAT(error, HasSubstr("mempool w2_large of 1048576"));
}

TEST(VirtioUser, RefusesWhatCannotBeASocket) {
  std::string error;
  EXPECT_EQ(open_virtio_user({.socket = ""}, config(""), error), nullptr);
  EXPECT_THAT(error, HasSubstr("path"));
  EXPECT_EQ(open_virtio_user({.socket = "/tmp/a,b"}, config(""), error), nullptr);
  EXPECT_THAT(error, HasSubstr("comma"));
  EXPECT_EQ(open_virtio_user({.socket = "/nonexistent/vhost.sock"}, config(""), error), nullptr);
  EXPECT_EQ(virtio_user_ports(), 0u);
}

TEST(VtapArguments, AreRefusedByName) {
  for (const char* bad :
       {"net_vtap0", "net_vtap0,iface=x,bogus=1", "net_vtap0,iface=x,queues=0",
        "net_vtap0,iface=x,queues=many", "net_vtap0,iface=x,mac=01:00:00:00:00:01",
        "net_vtap0,iface=x,offload=2", "net_vtap0,iface=x,mtu=60", "net_vtap0,pods=0",
        "net_vtap0,pods=4,iface=x", "net_vtap0,iface=a_name_of_16_char"}) {
    EXPECT_THAT(refusal(config(bad)), HasSubstr("refused its arguments")) << bad;
  }
}

TEST(VtapPods, OtherDriversPortsAreNotItsOwn) {
  auto port = open(config("net_null6,no-rx=1"));
  std::string error;
  EXPECT_FALSE(vtap::attach(port->id(), 0, {.ifname = "x"}, error));
  EXPECT_THAT(error, HasSubstr("isn't a net_vtap port"));
  EXPECT_EQ(vtap::Poller::create(port->id(), error), nullptr);
  EXPECT_EQ(vtap::rx_fd(port->id(), 0), -1);
}

}  // namespace
}  // namespace isthmus::drivers
