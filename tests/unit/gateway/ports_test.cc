// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/ports.h"

#include <set>

#include "bench.h"

namespace isthmus::gateway {
namespace {

class PortsTest : public Bench {
 protected:
  // The room's context, as the worker has it.
  Context context(unsigned worker) { return gateway_->worker(worker).context(); }

  packet::IpAddress from_ = test::ip(kPodAddress);
  packet::Endpoint to_ = test::at("10.3.0.1:15008");
};

TEST_F(PortsTest, RepliesComeHomeToTheWorkerThatDials) {
  make({.workers = 4});
  for (unsigned worker = 0; worker < 4; ++worker) {
    Context mine = context(worker);
    Ports ports(mine);
    for (int i = 0; i < 100; ++i) {
      const uint16_t port = ports.choose(from_, to_);
      ASSERT_GE(port, kOriginatedPorts.low);
      ASSERT_LE(port, kOriginatedPorts.high);
      EXPECT_EQ(mine.owners.owner({to_, {from_, port}}), worker);
    }
  }
}

// RFC 6056: not to be guessed from the one before.
TEST_F(PortsTest, AreSpreadOverTheRange) {
  Context mine = context(0);
  Ports ports(mine);
  std::set<uint16_t> seen;
  unsigned neighbours = 0;
  uint16_t last = 0;
  for (int i = 0; i < 200; ++i) {
    const uint16_t port = ports.choose(from_, to_);
    if (port == last + 1) ++neighbours;
    last = port;
    seen.insert(port);
  }
  EXPECT_GT(seen.size(), 190u);
  EXPECT_LT(neighbours, 5u);
}

TEST_F(PortsTest, AreNeverInUse) {
  Context mine = context(0);
  Ports ports(mine);
  std::set<packet::Endpoint> used;
  for (int i = 0; i < 400; ++i) {
    const packet::Endpoint local{from_, ports.choose(from_, to_)};
    ASSERT_TRUE(used.insert(local).second);
    ASSERT_NE(mine.tcp.connect(local, to_, nullptr, {}, now_), nullptr);
  }
}

TEST_F(PortsTest, RangeThatIsUsedUpGivesNoneAndCountsNothing) {
  Context mine = context(0);
  Ports ports(mine);
  // Connections and translations hold every candidate: the same random numbers, drawn again.
  Random replay({3, 4});
  mine.random = Random({3, 4});
  const uint32_t start = static_cast<uint32_t>(replay.next());
  uint32_t next = start;
  for (int i = 0; i < 64; ++i) {
    const auto port = packet::choose_port(from_, to_, mine.owners, 0, kOriginatedPorts, next);
    ASSERT_TRUE(port.has_value());
    ASSERT_NE(mine.tcp.connect({from_, *port}, to_, nullptr, {}, now_), nullptr);
    next = *port + 1u;
  }
  EXPECT_EQ(ports.choose(from_, to_), 0);
  EXPECT_EQ(count_all(), 0u) << "whoever asked does";
}

}  // namespace
}  // namespace isthmus::gateway
