// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/owner.h"

#include <gtest/gtest.h>
#include <random>
#include <set>

#include <rte_thash.h>

#include "support/packets.h"

namespace isthmus::packet {
namespace {

// What a NIC computes, by DPDK's software Toeplitz.
unsigned toeplitz_bucket(const Tuple& tuple) {
  uint8_t key[40];
  for (unsigned i = 0; i < sizeof key; ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
  uint32_t input[9];
  unsigned words = 0;
  for (const Endpoint* end : {&tuple.source, &tuple.destination}) {
    for (unsigned at = end->address.is_v4() ? 12 : 0; at < 16; at += 4) {
      input[words++] = load_be<uint32_t>(end->address.bytes().data() + at);
    }
  }
  input[words++] = uint32_t{tuple.source.port} << 16 | tuple.destination.port;
  return rte_softrss(input, words, key) % kOwnerBuckets;
}

TEST(Owner, IsWhatASymmetricToeplitzNicChooses) {
  std::mt19937 random(6);
  for (int i = 0; i < 2000; ++i) {
    const Tuple tuple = test::random_tuple(random, i % 2 == 0);
    ASSERT_EQ(owner_index(tuple), toeplitz_bucket(tuple)) << tuple.to_string();
  }
}

TEST(Owner, BothDirectionsHaveTheSame) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const Tuple tuple = test::random_tuple(random, i % 2 == 0);
    ASSERT_EQ(owner_index(tuple), owner_index(tuple.reversed()));
  }
}

TEST(Owner, FlowsOfOnePairOfHostsSpread) {
  std::array<unsigned, kOwnerBuckets> hits{};
  for (unsigned port = 1024; port < 1024 + 128 * 64; ++port) {
    Tuple tuple = test::tuple("10.0.0.1:1", "10.0.0.2:15008");
    tuple.source.port = static_cast<uint16_t>(port);
    ++hits[owner_index(tuple)];
  }
  for (const unsigned n : hits) EXPECT_EQ(n, 64u);
}

TEST(ChoosePort, BringsTheLegHome) {
  std::mt19937 random(8);
  for (const unsigned workers : {1u, 2u, 3u, 7u, 128u}) {
    const IndirectionTable table(workers);
    for (int i = 0; i < 200; ++i) {
      const Tuple flow = test::random_tuple(random, i % 2 == 0);
      const auto worker = static_cast<uint8_t>(random() % workers);
      const auto port = choose_port(flow.source.address, flow.destination, table, worker, {},
                                    static_cast<uint32_t>(random()));
      ASSERT_TRUE(port);
      ASSERT_GE(*port, 1024);
      const Tuple reply{flow.destination, {flow.source.address, *port}};
      ASSERT_EQ(table.owner(reply), worker);
    }
  }
}

TEST(ChoosePort, EnumeratesEveryPortOfTheRangeOnce) {
  const IndirectionTable table(2);
  const auto local = test::address("10.0.0.1");
  const auto remote = test::endpoint("10.0.0.2:80");
  const PortRange range{2000, 2099};
  std::set<uint16_t> seen;
  uint32_t start = 57;
  for (int i = 0; i < 50; ++i) {
    const auto port = choose_port(local, remote, table, 1, range, start);
    ASSERT_TRUE(port);
    ASSERT_GE(*port, range.low);
    ASSERT_LE(*port, range.high);
    ASSERT_TRUE(seen.insert(*port).second);
    start = *port - range.low + 1u;
  }
}

TEST(ChoosePort, HasNoneInAnEmptyRangeOrForAnUnknownWorker) {
  const IndirectionTable table(2);
  const auto local = test::address("10.0.0.1");
  const auto remote = test::endpoint("10.0.0.2:80");
  EXPECT_FALSE(choose_port(local, remote, table, 0, {2, 1}, 0));
  EXPECT_FALSE(choose_port(local, remote, table, 2, {}, 0));
}

}  // namespace
}  // namespace isthmus::packet
