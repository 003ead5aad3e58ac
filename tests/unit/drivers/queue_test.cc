// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The data path over a socket pair in place of a TAP: no privileges needed.
#include "drivers/vtap/queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"

namespace isthmus::drivers::vtap {
namespace {

using test::Bytes;

class VtapQueue : public testing::Test {
 protected:
  void SetUp() override {
    in_use_ = test::mbufs_in_use();
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    ASSERT_TRUE(endpoint_.attach(pair[0]));
    kernel_ = pair[1];
    rx_.setup(&endpoint_, 7, test::pools().small, test::pools().large);
    tx_.setup(&endpoint_);
  }
  void TearDown() override {
    close(kernel_);
    rx_.close();
    EXPECT_EQ(test::mbufs_in_use(), in_use_)
        << "a driver owns nothing that it was not asked to keep";
  }

  void kernel_sends(const VnetHeader& vnet, const Bytes& frame) {
    Bytes message(kVnetHeader);
    memcpy(message.data(), &vnet, kVnetHeader);
    message.insert(message.end(), frame.begin(), frame.end());
    ASSERT_EQ(write(kernel_, message.data(), message.size()), static_cast<ssize_t>(message.size()));
  }
  Bytes kernel_receives() {
    Bytes message(100000);
    const ssize_t got = read(kernel_, message.data(), message.size());
    message.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return message;
  }
  rte_mbuf* receive_one() {
    rte_mbuf* frame = nullptr;
    return rx_.receive(&frame, 1) == 1 ? frame : nullptr;
  }
  // A descriptor that refuses like an unattached TAP.
  static int refusing() { return ::open("/dev/null", O_PATH | O_CLOEXEC); }

  Endpoint endpoint_;
  RxQueue rx_;
  TxQueue tx_;
  int kernel_ = -1;
  unsigned in_use_ = 0;
};

TEST_F(VtapQueue, ShortFrameTakesOneSmallBuffer) {
  const Bytes sent = test::tcp_frame(1446);
  kernel_sends({}, sent);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->nb_segs, 1);
  EXPECT_EQ(frame->pool, test::pools().small);
  EXPECT_EQ(frame->port, 7);
  EXPECT_EQ(frame->ol_flags, 0u);
  EXPECT_EQ(test::to_bytes(frame), sent);
  rte_pktmbuf_free(frame);
  EXPECT_EQ(rx_.counters().packets, 1u);
  EXPECT_EQ(rx_.counters().bytes, sent.size());
}

TEST_F(VtapQueue, LargestCoalescedFrameIsOneChain) {
  Bytes sent = test::tcp_frame(65535 - 40);
  kernel_sends(
      {.flags = VnetHeader::kNeedsChecksum, .gso_type = VnetHeader::kGsoTcp4, .gso_size = 1448},
      sent);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->pkt_len, sent.size());
  EXPECT_EQ(frame->nb_segs, 5) << "one small buffer, then large ones";
  EXPECT_EQ(frame->next->pool, test::pools().large);
  EXPECT_EQ(frame->ol_flags, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE);
  EXPECT_EQ(frame->tso_segsz, 1448);
  EXPECT_EQ(rte_mbuf_check(frame, 1, nullptr), 0);
  EXPECT_EQ(test::to_bytes(frame), sent);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueue, FramesOfEverySizeArriveWhole) {
  for (const uint32_t payload : {0u, 1u, 1994u, 1995u, 2000u, 18890u, 18891u, 40000u, 65495u}) {
    const Bytes sent = test::tcp_frame(payload);
    kernel_sends({}, sent);
    rte_mbuf* frame = receive_one();
    ASSERT_NE(frame, nullptr) << payload;
    EXPECT_EQ(rte_mbuf_check(frame, 1, nullptr), 0) << payload;
    EXPECT_EQ(test::to_bytes(frame), sent) << payload;
    rte_pktmbuf_free(frame);
  }
}

TEST_F(VtapQueue, OnePoolOfSmallBuffersHoldsTheLargestFrame) {
  RxQueue rx;
  rx.setup(&endpoint_, 0, test::pools().small, test::pools().small);
  const Bytes sent = test::tcp_frame(65495);
  kernel_sends({}, sent);
  rte_mbuf* frame = nullptr;
  ASSERT_EQ(rx.receive(&frame, 1), 1);
  EXPECT_EQ(frame->nb_segs, 32 + 1);
  EXPECT_EQ(test::to_bytes(frame), sent);
  rte_pktmbuf_free(frame);
}

// Pools of a test's own, which it empties.
class VtapQueueWithoutBuffers : public VtapQueue {
 protected:
  static constexpr unsigned kSmall = 16;
  static constexpr unsigned kLarge = 4;

  void SetUp() override {
    VtapQueue::SetUp();
    small_ = rte_pktmbuf_pool_create("vtap_small", kSmall, 0, 0, 2176, SOCKET_ID_ANY);
    large_ = rte_pktmbuf_pool_create("vtap_large", kLarge, 0, 0, 17024, SOCKET_ID_ANY);
    ASSERT_TRUE(small_ != nullptr && large_ != nullptr);
    rx_.setup(&endpoint_, 0, small_, large_);
  }
  void TearDown() override {
    give_back();
    rx_.close();
    EXPECT_EQ(rte_mempool_avail_count(small_), kSmall);
    EXPECT_EQ(rte_mempool_avail_count(large_), kLarge);
    rte_mempool_free(small_);
    rte_mempool_free(large_);
    VtapQueue::TearDown();
  }
  void take_all(rte_mempool* pool, unsigned but = 0) {
    while (rte_mempool_avail_count(pool) > but) taken_.push_back(rte_pktmbuf_alloc(pool));
  }
  void give_back() {
    for (rte_mbuf* each : taken_) rte_pktmbuf_free(each);
    taken_.clear();
  }

  rte_mempool* small_ = nullptr;
  rte_mempool* large_ = nullptr;
  std::vector<rte_mbuf*> taken_;
};

TEST_F(VtapQueueWithoutBuffers, ShortFrameIsReadWithoutLargeBuffers) {
  take_all(large_);
  const Bytes sent = test::tcp_frame(1446);
  kernel_sends({}, sent);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(rte_mbuf_check(frame, 1, nullptr), 0);
  EXPECT_EQ(frame->port, 0);
  EXPECT_EQ(test::to_bytes(frame), sent);
  EXPECT_EQ(rx_.counters().no_mbuf, 1u);
  EXPECT_EQ(rx_.counters().missed, 0u);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueueWithoutBuffers, LongFrameIsLostAndCountedAndTheAckBehindItArrives) {
  take_all(large_);
  const Bytes ack = test::tcp_frame(0);
  kernel_sends({}, test::tcp_frame(40000));
  kernel_sends({}, test::tcp_frame(2048 - test::kTcpHeaders + 1));
  kernel_sends({}, ack);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(test::to_bytes(frame), ack);
  EXPECT_EQ(rx_.counters().missed, 2u);
  EXPECT_EQ(rx_.counters().packets, 1u);
  EXPECT_EQ(rx_.counters().errors, 0u);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueueWithoutBuffers, FrameThatFillsTheSmallBufferIsWhole) {
  take_all(large_);
  const Bytes sent = test::tcp_frame(2048 - test::kTcpHeaders);
  kernel_sends({}, sent);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(test::to_bytes(frame), sent);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueueWithoutBuffers, PartOfAChainPinsNothing) {
  take_all(large_, 3);
  kernel_sends({}, test::tcp_frame(0));
  rte_pktmbuf_free(receive_one());
  EXPECT_EQ(rte_mempool_avail_count(large_), 3u) << "three of the four that a chain needs";
}

TEST_F(VtapQueueWithoutBuffers, ReserveReadsAcknowledgmentsWithoutAnyBuffer) {
  EXPECT_EQ(receive_one(), nullptr);  // takes the reserve
  rx_.release_buffers();
  take_all(large_);
  take_all(small_);
  const Bytes ack = test::tcp_frame(0);
  for (unsigned i = 0; i < RxQueue::kReserve + 2; ++i) {
    kernel_sends({}, test::tcp_frame(1446));
    kernel_sends({}, ack);
    rte_mbuf* frame = receive_one();
    ASSERT_NE(frame, nullptr) << "an acknowledgment that was read and freed serves the next one";
    EXPECT_EQ(test::to_bytes(frame), ack);
    rte_pktmbuf_free(frame);
    EXPECT_EQ(rx_.counters().missed, i + 1) << "payload takes nothing of the reserve";
  }
}

TEST_F(VtapQueueWithoutBuffers, WithoutAnythingFramesAreLostAndNoneStays) {
  EXPECT_EQ(receive_one(), nullptr);
  rx_.release_buffers();
  take_all(large_);
  take_all(small_);
  std::vector<rte_mbuf*> held;
  for (unsigned i = 0; i < RxQueue::kReserve; ++i) {
    kernel_sends({}, test::tcp_frame(0));
    held.push_back(receive_one());
    ASSERT_NE(held.back(), nullptr);
  }
  kernel_sends({}, test::tcp_frame(0));
  EXPECT_EQ(receive_one(), nullptr);
  EXPECT_EQ(rx_.counters().missed, 1u);
  EXPECT_EQ(rx_.empty_reads(), 1u) << "it found the queue empty in the end";

  for (rte_mbuf* frame : held) rte_pktmbuf_free(frame);
  give_back();
  const Bytes sent = test::tcp_frame(40000);
  kernel_sends({}, sent);
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr) << "memory came back";
  EXPECT_EQ(test::to_bytes(frame), sent);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueue, BurstEndsWhenTheCacheIsFull) {
  RxQueue& rx = rx_;
  int room = 4 << 20;
  setsockopt(kernel_, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
  const Bytes sent = test::tcp_frame(30000);
  int queued = 0;
  Bytes message(kVnetHeader);
  message.insert(message.end(), sent.begin(), sent.end());
  while (queued < 12 && write(kernel_, message.data(), message.size()) > 0) ++queued;
  if (queued < 12) GTEST_SKIP() << "socket buffers too small to fill a burst without privileges";
  rte_mbuf* frames[32];
  const uint16_t got = rx.receive(frames, 32);
  EXPECT_EQ(got, RxQueue::kBurstBytes / sent.size() + 1);
  for (uint16_t i = 0; i < got; ++i) rte_pktmbuf_free(frames[i]);
}

TEST_F(VtapQueue, UnusableHeaderIsAnErrorAndTheNextFrameArrives) {
  kernel_sends({.gso_type = 3, .gso_size = 8}, test::tcp_frame(10));
  kernel_sends({}, test::tcp_frame(20));
  rte_mbuf* frame = receive_one();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->pkt_len, test::kTcpHeaders + 20);
  EXPECT_EQ(rx_.counters().errors, 1u);
  EXPECT_EQ(rx_.counters().packets, 1u);
  rte_pktmbuf_free(frame);
}

TEST_F(VtapQueue, EmptyReadsAreCountedInARow) {
  EXPECT_EQ(receive_one(), nullptr);
  EXPECT_EQ(receive_one(), nullptr);
  EXPECT_EQ(rx_.empty_reads(), 2u);
  EXPECT_EQ(rx_.counters().errors, 0u);
  kernel_sends({}, test::tcp_frame(1));
  rte_pktmbuf_free(receive_one());
  EXPECT_EQ(rx_.empty_reads(), 0u);
}

TEST_F(VtapQueue, SegmentsAndIndirectMbufsAreSentInOrder) {
  const Bytes bytes = test::tcp_frame(20000);
  rte_mbuf* direct = test::to_mbuf(bytes, 999, test::pools().small);
  rte_mbuf* clone = rte_pktmbuf_clone(direct, test::pools().clones);
  ASSERT_NE(clone, nullptr);
  test::ask_tso(clone, 1448);
  ASSERT_EQ(tx_.send(&clone, 1), 1);
  const Bytes got = kernel_receives();
  ASSERT_EQ(got.size(), kVnetHeader + bytes.size());
  EXPECT_TRUE(std::equal(got.begin() + kVnetHeader + test::kTcpHeaders, got.end(),
                         bytes.begin() + test::kTcpHeaders));
  EXPECT_EQ(test::to_bytes(direct), bytes) << "the shared data is as it was";
  rte_pktmbuf_free(direct);
  EXPECT_EQ(tx_.counters().packets, 1u);
  EXPECT_EQ(tx_.counters().bytes, bytes.size());
}

TEST_F(VtapQueue, MoreSegmentsThanAnIoVectorAreRefused) {
  rte_mbuf* frame =
      test::to_mbuf(test::tcp_frame(1100 - test::kTcpHeaders), 1, test::pools().small);
  ASSERT_EQ(frame->nb_segs, 1100);
  ASSERT_EQ(tx_.send(&frame, 1), 1);
  EXPECT_EQ(tx_.counters().errors, 1u);
  EXPECT_TRUE(kernel_receives().empty());
}

TEST_F(VtapQueue, FullKernelQueueLeavesTheRestToTheCaller) {
  const Bytes bytes = test::tcp_frame(1400);
  std::vector<rte_mbuf*> frames(2000);
  for (auto& frame : frames) frame = test::to_mbuf(bytes);
  uint16_t sent = tx_.send(frames.data(), 2000);
  ASSERT_GT(sent, 0);
  ASSERT_LT(sent, 2000) << "the socket pair took two megabytes";
  EXPECT_EQ(tx_.counters().full, 1u);
  EXPECT_EQ(tx_.counters().packets, sent);
  EXPECT_EQ(tx_.counters().errors, 0u);
  EXPECT_EQ(tx_.send(frames.data() + sent, 1), 0) << "one attempt per call, no waiting";
  kernel_receives();
  EXPECT_EQ(tx_.send(frames.data() + sent, 1), 1);
  for (++sent; sent < 2000; ++sent) rte_pktmbuf_free(frames[sent]);
}

TEST_F(VtapQueue, FrameThatContradictsItselfIsDroppedAndTheNextOneSent) {
  rte_mbuf* frames[2] = {test::to_mbuf(test::tcp_frame(5000)), test::to_mbuf(test::tcp_frame(5))};
  test::ask_tso(frames[0], 0);
  ASSERT_EQ(tx_.send(frames, 2), 2);
  EXPECT_EQ(tx_.counters().errors, 1u);
  EXPECT_EQ(tx_.counters().packets, 1u);
  EXPECT_EQ(kernel_receives().size(), kVnetHeader + test::kTcpHeaders + 5);
}

TEST_F(VtapQueue, DetachKeepsTheDescriptorNumberAndRefusesFrames) {
  const int number = endpoint_.fd();
  const int refuse = refusing();
  endpoint_.detach(refuse);
  EXPECT_EQ(endpoint_.fd(), -1);
  EXPECT_EQ(endpoint_.number(), number);
  EXPECT_GE(fcntl(number, F_GETFD), 0) << "the number is never free for somebody else's file";
  EXPECT_LT(write(number, "x", 1), 0) << "a worker that is late reaches a file that refuses";

  EXPECT_EQ(receive_one(), nullptr);
  rte_mbuf* frame = test::to_mbuf(test::tcp_frame(5));
  EXPECT_EQ(tx_.send(&frame, 1), 1);
  EXPECT_EQ(tx_.counters().errors, 1u);

  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
  close(kernel_);
  kernel_ = pair[1];
  ASSERT_TRUE(endpoint_.attach(pair[0]));
  EXPECT_EQ(endpoint_.fd(), number);
  kernel_sends({}, test::tcp_frame(5));
  frame = receive_one();
  ASSERT_NE(frame, nullptr);
  rte_pktmbuf_free(frame);
  close(refuse);
}

}  // namespace
}  // namespace isthmus::drivers::vtap
