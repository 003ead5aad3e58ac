// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/chain.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "packet/buffer.h"
#include "support/packets.h"
#include "support/pools.h"

namespace isthmus::packet {
namespace {

using test::Bytes;
using test::mbufs_in_use;
using test::pattern;
using test::pools;
using test::slice;
using test::to_bytes;
using test::to_mbuf;

Bytes content(const Chain& chain) {
  Bytes bytes(chain.size());
  chain.copy_out(0, bytes);
  return bytes;
}

class ChainTest : public testing::Test {
 protected:
  void SetUp() override { before_ = mbufs_in_use(); }
  void TearDown() override { EXPECT_EQ(mbufs_in_use(), before_) << "mbufs leaked"; }

 private:
  unsigned before_ = 0;
};

// A pool that is always empty.
rte_mempool* empty_pool() {
  static rte_mempool* pool = [] {
    rte_mempool* made = rte_pktmbuf_pool_create("nothing", 1, 0, 0, 0, SOCKET_ID_ANY);
    rte_pktmbuf_alloc(made);
    return made;
  }();
  return pool;
}

TEST_F(ChainTest, TakesListsAndGivesThemBackWellFormed) {
  Chain chain(to_mbuf(pattern(1000), 300));
  chain.append(to_mbuf(pattern(10, 7)));
  EXPECT_EQ(chain.size(), 1010u);
  rte_mbuf* list = chain.release();
  EXPECT_TRUE(chain.empty());
  EXPECT_EQ(list->nb_segs, 5);
  EXPECT_EQ(to_bytes(list).size(), 1010u);
  rte_pktmbuf_free(list);
}

TEST_F(ChainTest, EmptySegmentsAreFreed) {
  Chain chain(to_mbuf({}));
  EXPECT_TRUE(chain.empty());
  EXPECT_EQ(chain.head(), nullptr);
  EXPECT_EQ(chain.release(), nullptr);
}

TEST_F(ChainTest, SplitSharesTheSegmentThatTheCutDivides) {
  Chain chain(to_mbuf(pattern(1000), 400));
  Chain front = chain.split_front(500, pools().clones);
  EXPECT_EQ(content(front), slice(pattern(1000), 0, 500));
  EXPECT_EQ(content(chain), slice(pattern(1000), 500, 1000));
  EXPECT_FALSE(RTE_MBUF_DIRECT(front.tail()));
}

TEST_F(ChainTest, SplitBetweenSegmentsNeedsNoClone) {
  Chain chain(to_mbuf(pattern(900), 300));
  const Chain front = chain.split_front(600, empty_pool());
  EXPECT_EQ(front.size(), 600u);
  EXPECT_EQ(chain.size(), 300u);
}

TEST_F(ChainTest, SplitWithoutClonesChangesNothing) {
  Chain chain(to_mbuf(pattern(900), 300));
  EXPECT_TRUE(chain.split_front(450, empty_pool()).empty());
  EXPECT_EQ(content(chain), pattern(900));
  EXPECT_TRUE(chain.share(10, 800, empty_pool()).empty());
}

TEST_F(ChainTest, SharedBytesOutliveTheChain) {
  Chain chain(to_mbuf(pattern(900), 300));
  const Chain shared = chain.share(250, 400, pools().clones);
  chain.clear();
  EXPECT_EQ(content(shared), slice(pattern(900), 250, 650));
}

TEST_F(ChainTest, SharesOfSharesReferToTheSameBuffer) {
  Chain chain(to_mbuf(pattern(900)));
  Chain shared = chain.share(100, 700, pools().clones);
  const Chain again = shared.share(100, 10, pools().clones);
  chain.clear();
  shared.clear();
  EXPECT_EQ(content(again), slice(pattern(900), 200, 210));
}

TEST_F(ChainTest, SlicesCarryNoOffloadFlags) {
  rte_mbuf* packet = to_mbuf(pattern(100));
  packet->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO;
  Chain chain(packet);
  const Chain shared = chain.share(0, 100, pools().clones);
  EXPECT_EQ(shared.head()->ol_flags, RTE_MBUF_F_INDIRECT);
}

TEST_F(ChainTest, CopiesFillTheTailsRoomUnlessSomebodySharesIt) {
  Chain chain;
  ASSERT_TRUE(chain.append_copy(pattern(100), pools().small));
  ASSERT_TRUE(chain.append_copy(pattern(100), pools().small));
  EXPECT_EQ(chain.head(), chain.tail());
  const Chain shared = chain.share(0, 200, pools().clones);
  ASSERT_TRUE(chain.append_copy(pattern(100), pools().small));
  EXPECT_NE(chain.head(), chain.tail());
  EXPECT_EQ(chain.size(), 300u);
}

TEST_F(ChainTest, CopyWithoutBuffersChangesNothing) {
  Chain chain;
  ASSERT_TRUE(chain.append_copy(pattern(100), pools().small));
  EXPECT_FALSE(chain.append_copy(pattern(5000), empty_pool()));
  EXPECT_EQ(content(chain), pattern(100));
}

// Random operations on a chain and on a vector of bytes.
TEST_F(ChainTest, AgreesWithAByteVector) {
  std::mt19937 random(1);
  Chain chain;
  Bytes model;
  std::vector<Chain> kept;  // so that segments are shared
  for (int step = 0; step < 20'000; ++step) {
    const auto upto = [&](size_t n) { return static_cast<uint32_t>(random() % (n + 1)); };
    switch (random() % 7) {
      case 0:
      case 1: {
        const Bytes bytes = pattern(upto(3000), static_cast<uint8_t>(random()));
        if (model.size() > 50'000) break;
        ASSERT_TRUE(chain.append_copy(bytes, pools().small));
        model.insert(model.end(), bytes.begin(), bytes.end());
        break;
      }
      case 2: {
        const uint32_t n = upto(model.size());
        Chain front = chain.split_front(n, pools().clones);
        ASSERT_EQ(content(front), Bytes(model.begin(), model.begin() + n));
        model.erase(model.begin(), model.begin() + n);
        if (kept.size() < 10) kept.push_back(std::move(front));
        break;
      }
      case 3: {
        const uint32_t n = upto(model.size() / 4);
        chain.drop_front(n);
        model.erase(model.begin(), model.begin() + n);
        break;
      }
      case 4: {
        const uint32_t n = upto(model.size() / 4);
        chain.drop_back(n);
        model.erase(model.end() - n, model.end());
        break;
      }
      case 5: {
        const uint32_t offset = upto(model.size());
        const uint32_t n = upto(model.size() - offset);
        kept.push_back(chain.share(offset, n, pools().clones));
        ASSERT_EQ(content(kept.back()), Bytes(model.begin() + offset, model.begin() + offset + n));
        break;
      }
      default:
        if (!kept.empty()) kept.erase(kept.begin());
        if (kept.size() > 20) kept.clear();
    }
    ASSERT_EQ(chain.size(), model.size());
    ASSERT_EQ(chain.head() == nullptr, chain.tail() == nullptr);
    if (step % 16 == 0) {
      ASSERT_EQ(content(chain), model);
    }
  }
}

class BufferTest : public ChainTest {};

TEST_F(BufferTest, HeadersBecomeContiguousWhateverTheSegments) {
  for (const size_t segment : {1u, 7u, 39u, 60u}) {
    rte_mbuf* packet = to_mbuf(pattern(200), segment);
    ASSERT_TRUE(make_contiguous(packet, 100));
    EXPECT_GE(packet->data_len, 100);
    EXPECT_EQ(to_bytes(packet), pattern(200));
    rte_pktmbuf_free(packet);
  }
}

TEST_F(BufferTest, HeadroomServesWhenTheTailHasNoRoom) {
  rte_mbuf* packet = to_mbuf(pattern(2048 + 200), 2048);
  ASSERT_TRUE(make_contiguous(packet, 2048 + kHeadroom));
  EXPECT_EQ(to_bytes(packet), pattern(2048 + 200));
  EXPECT_FALSE(make_contiguous(packet, 2048 + kHeadroom + 1));
  EXPECT_EQ(to_bytes(packet), pattern(2048 + 200));
  rte_pktmbuf_free(packet);
}

TEST_F(BufferTest, SharedFirstSegmentIsNotWritten) {
  rte_mbuf* packet = to_mbuf(pattern(200), 50);
  rte_mbuf* other = share_slice(packet, 0, 50, pools().clones);
  EXPECT_FALSE(make_contiguous(packet, 60));
  EXPECT_TRUE(make_contiguous(packet, 50));
  rte_pktmbuf_free(other);
  rte_pktmbuf_free(packet);
}

TEST_F(BufferTest, TrimKeepsTheListWellFormed) {
  for (const uint32_t n : {1u, 49u, 50u, 51u, 100u, 199u, 200u}) {
    rte_mbuf* packet = to_mbuf(pattern(200), 50);
    trim_to(packet, n);
    EXPECT_EQ(to_bytes(packet), slice(pattern(200), 0, n));
    rte_pktmbuf_free(packet);
    packet = to_mbuf(pattern(200), 50);
    trim_front(packet, n);
    EXPECT_EQ(to_bytes(packet), slice(pattern(200), n, 200));
    rte_pktmbuf_free(packet);
  }
}

}  // namespace
}  // namespace isthmus::packet
