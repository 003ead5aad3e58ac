// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two connections back to back: tunnels, credits, ends, drains; cut at random by seed.
#include <array>
#include <gtest/gtest.h>
#include <numeric>

#include "peers.h"

namespace isthmus::h2::test {
namespace {

Bytes pattern(size_t size, uint8_t start = 0) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), start);
  return bytes;
}

// So many times what each has to say to the other.
void exchange(End& client, End& server, int times) {
  for (int i = 0; i < times; ++i) {
    server.input(client.output());
    client.input(server.output());
  }
}

class Seeded : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { before_ = isthmus::test::mbufs_in_use(); }
  void TearDown() override { EXPECT_EQ(isthmus::test::mbufs_in_use(), before_); }

 private:
  unsigned before_ = 0;
};

TEST_P(Seeded, ConnectCarriesBytesBothWaysAndEndsByEndStreamAlone) {
  Loop loop(GetParam());
  Stream* stream = loop.connect("10.1.2.3:8080");
  ASSERT_NE(stream, nullptr);
  Seen& far = loop.server.seen(1);
  EXPECT_EQ(far.authority, "10.1.2.3:8080");
  EXPECT_EQ(loop.client.seen(1).status, 200);

  const Bytes up = pattern(100'000);
  const Bytes down = pattern(70'000, 7);
  loop.client.write(*stream, up);
  loop.server.write(*far.stream, down);
  loop.run();
  EXPECT_EQ(loop.server.read(*far.stream), up);
  EXPECT_EQ(loop.client.read(*stream), down);

  loop.client->end(*stream);
  loop.run();
  EXPECT_TRUE(far.end_received);
  EXPECT_FALSE(loop.client.seen(1).end_received);
  // The other direction stays open.
  loop.server.write(*far.stream, up);
  loop.server->end(*far.stream);
  loop.run();
  EXPECT_EQ(loop.client.read(*stream), up);
  EXPECT_TRUE(loop.client.seen(1).end_received);
  EXPECT_FALSE(loop.client.seen(1).was_reset);
  EXPECT_FALSE(far.was_reset);
  loop.client->release(*stream);
  loop.server->release(*far.stream);
  EXPECT_EQ(loop.client.context.usage().streams, 0u);
  EXPECT_EQ(loop.server.context.usage().streams, 0u);
}

TEST_P(Seeded, BulkThroughSmallWindowsArrivesWholeWithASlowReader) {
  std::mt19937_64 random(GetParam());
  Options small = server_options();
  small.stream_window = kDefaultWindow;
  small.connection_window = kDefaultWindow + random() % 100'000;
  Loop loop(GetParam(), client_options(), small);
  Stream* stream = loop.connect();
  Stream& far = *loop.server.seen(1).stream;
  const Bytes sent = pattern(600'000);
  Bytes got;
  size_t at = 0;
  while (got.size() < sent.size()) {
    const size_t n = std::min<size_t>(loop.client->send_room(*stream), sent.size() - at);
    if (n != 0) loop.client.write(*stream, Bytes(sent.begin() + at, sent.begin() + at + n));
    at += n;
    loop.run();
    const Bytes piece = loop.server.read(far, 1 + random() % 50'000);
    ASSERT_FALSE(piece.empty()) << "stalled at " << got.size();
    got = std::move(got) + piece;
  }
  EXPECT_EQ(got, sent);
}

TEST_P(Seeded, ManyStreamsShareAConnectionWithoutMixingBytes) {
  Loop loop(GetParam());
  std::vector<Stream*> streams;
  for (uint8_t i = 0; i < 100; ++i) streams.push_back(loop.client->open("10.0.0.1:80", {}));
  EXPECT_EQ(loop.client->open("10.0.0.1:80", {}), nullptr) << "our own limit is 100";
  for (uint8_t i = 0; i < 100; ++i) loop.client.write(*streams[i], pattern(3000 + 10 * i, i));
  loop.run();
  for (uint8_t i = 0; i < 100; ++i) {
    Stream& far = *loop.server.seen(streams[i]->id()).stream;
    EXPECT_EQ(loop.server.read(far), pattern(3000 + 10 * i, i));
    loop.client->reset(*streams[i], ErrorCode::connect_error);
  }
  loop.run();
  for (Stream* stream : streams) {
    Seen& far = loop.server.seen(stream->id());
    EXPECT_EQ(far.code, ErrorCode::connect_error);
    loop.server->release(*far.stream);
    loop.client->release(*stream);
  }
  EXPECT_EQ(loop.server.context.usage().streams, 0u);
  EXPECT_TRUE(loop.client->can_open());
}

INSTANTIATE_TEST_SUITE_P(Seeds, Seeded, testing::Range<uint64_t>(1, 21));

TEST(Tunnel, ASlowReaderStallsOnlyItsStream) {
  Loop loop(1);
  Stream* slow = loop.connect();
  Stream* quick = loop.connect();
  const Bytes piece = pattern(200'000);
  // The slow one fills its window (1 MiB, as large as the connection's) and is never read.
  for (int i = 0; i < 8; ++i) {
    if (loop.client->send_room(*slow) >= piece.size()) loop.client.write(*slow, piece);
    loop.run();
  }
  EXPECT_EQ(loop.server.seen(slow->id()).stream->readable(), 1u << 20);
  for (int i = 0; i < 10; ++i) {
    loop.client.write(*quick, piece);
    loop.run();
    EXPECT_EQ(loop.server.read(*loop.server.seen(quick->id()).stream), piece);
  }
}

// A frame of 600 bytes is cut out of a buffer of 16 KB, which it keeps.
TEST(Tunnel, TheBudgetCountsWhatBuffersTakeNotWhatIsInThem) {
  ContextOptions shared;
  shared.receive_budget = 200'000;
  End client(client_options());
  End server(server_options(), shared);
  const auto run = [&] { exchange(client, server, 10); };
  run();
  Stream* stream = client->open("10.0.0.1:80", {});
  run();
  size_t sent = 0;
  for (; !server->overfull() && sent < 1u << 20; sent += 600) {
    client.write(*stream, pattern(600));
    run();
  }
  EXPECT_GE(server.context.usage().received, 400'000u);
  EXPECT_LT(server.context.usage().received, 450'000u);
  EXPECT_LT(sent, 400'000u);
  Stream& far = *server.seen(1).stream;
  EXPECT_EQ(server.read(far, 1000).size(), 1000u) << "cuts a buffer in two";
  server.read(far, UINT32_MAX);
  EXPECT_EQ(server.context.usage().received, 0u);
  EXPECT_FALSE(server->overfull());
}

// Peers that stand still hold a part of the worker's buffers, and never all of them.
TEST(Tunnel, QueuesOfStalledStreamsShareABudget) {
  ContextOptions shared;
  shared.send_budget = 400'000;
  End end(server_options(), shared);
  Peer peer(end);
  peer.open();
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 0)));
  constexpr uint32_t kStreams = 50;
  constexpr uint32_t kPiece = 600;  // each in a buffer of its own
  const auto id = [](uint32_t i) { return 2 * i + 1; };
  uint64_t memory = 0;
  for (uint32_t i = 0; i < kStreams; ++i) {
    peer.send(peer.connect(id(i)));
    const unsigned before = isthmus::test::mbufs_in_use();
    Stream& stream = *end.seen(id(i)).stream;
    uint32_t own = 0;
    while (const uint32_t room = end->send_room(stream)) {
      packet::Chain piece;
      ASSERT_TRUE(piece.append_copy(pattern(std::min(room, kPiece)), isthmus::test::pools().small));
      own += piece.size();
      end->write(stream, std::move(piece));
    }
    EXPECT_GE(own, kPiece) << "everybody goes on";
    memory += uint64_t{packet::kSmallRoom} * (isthmus::test::mbufs_in_use() - before);
  }
  EXPECT_GE(memory, shared.send_budget * 3 / 4);
  EXPECT_LE(memory, shared.send_budget + uint64_t{kStreams} * 8192);
  EXPECT_GE(end.context.usage().queued, memory);
  peer.receive();
  peer.send(frame(FrameType::rst_stream, 0, 1, number(8)));
  peer.send(frame(FrameType::window_update, 0, 0, number(1 << 20)));
  for (uint32_t i = 1; i < kStreams; ++i) {
    peer.send(frame(FrameType::window_update, 0, id(i), number(1 << 20)));
    peer.receive();
    EXPECT_EQ(end.seen(id(i)).writable, 1u) << i;
  }
  EXPECT_EQ(end.context.usage().queued, 0u);
  EXPECT_EQ(end->send_room(*end.seen(3).stream), 100'000u);
}

// Whoever does not listen can't tell whether the other end is silent.
TEST(Tunnel, APeerIsNotTakenForDeadWhileItsBytesAreNotTaken) {
  ContextOptions shared;
  shared.receive_budget = 50'000;
  End client(client_options());
  End server(server_options(), shared);
  const auto run = [&] { exchange(client, server, 10); };
  run();
  Stream* stream = client->open("10.0.0.1:80", {});
  run();
  for (int i = 0; i < 20; ++i) {
    client.write(*stream, pattern(10'000));
    run();
  }
  ASSERT_TRUE(server->overfull());
  for (int i = 0; i < 12; ++i) {
    server.now += std::chrono::seconds(10);
    server->advance(server.now);
    server.output();
    ASSERT_FALSE(server->closed()) << i;
    EXPECT_GT(server->deadline(), server.now);
  }
  server.read(*server.seen(1).stream);
  ASSERT_FALSE(server->overfull());
  for (int i = 0; i < 4; ++i) {
    server.now += std::chrono::seconds(10);
    server->advance(server.now);
  }
  EXPECT_EQ(server->reason(), stats::Reason::h2_ping_timeout);
}

TEST(Tunnel, AboveTheBudgetCreditIsWithheldAndComesBackWhenRead) {
  Options options = server_options();
  ContextOptions shared;
  shared.receive_budget = 100'000;
  End client(client_options());
  End server(options, shared);
  const auto run = [&] { exchange(client, server, 50); };
  run();
  Stream* stream = client->open("10.0.0.1:80", {});
  run();
  Stream& far = *server.seen(1).stream;
  size_t sent = 0;
  for (int i = 0; i < 20; ++i) {
    const uint32_t room = client->send_room(*stream);
    if (room != 0) client.write(*stream, pattern(room));
    sent += room;
    run();
  }
  EXPECT_EQ(far.readable(), 1u << 20) << "the window bounds what an unread stream holds";
  size_t got = 0;
  while (got < sent) {
    const Bytes piece = server.read(far, 64 * 1024);
    ASSERT_FALSE(piece.empty());
    got += piece.size();
    run();
  }
  EXPECT_EQ(server.context.usage().received, 0u);
}

TEST(Tunnel, OneDataFrameFillsOneRecord) {
  Loop loop(1);
  Stream* stream = loop.connect();
  loop.client.largest_piece = 0;
  loop.client.write(*stream, pattern(200'000));
  unsigned pieces = 0;
  while (loop.client->prepare(16384)) {
    const size_t size = loop.client->head().size() + loop.client->payload().size();
    EXPECT_LE(size, 16384u);
    ++pieces;
    loop.client->head_sent();
    loop.client->payload().clear();
  }
  EXPECT_EQ(pieces, (200'000 + kRecordPayload - 1) / kRecordPayload);
}

TEST(Tunnel, AShortMessageWaitsForAtMostOneFrameOfEachBulkStream) {
  Loop loop(1);
  std::array<Stream*, 10> bulk;
  for (Stream*& stream : bulk) stream = loop.connect();
  Stream* quick = loop.connect();
  for (Stream* stream : bulk) loop.client.write(*stream, pattern(200'000));
  // Every bulk stream has had its turn; then the short message comes.
  for (int i = 0; i < 40 && loop.client->prepare(16384); ++i) {
    loop.client->head_sent();
    loop.client->payload().clear();
  }
  loop.client.write(*quick, {42});
  loop.client->end(*quick);
  unsigned before = 0;
  while (loop.client->prepare(16384) && !quick->end_sent()) {
    ++before;
    loop.client->head_sent();
    loop.client->payload().clear();
  }
  EXPECT_LE(before, 2u);
}

TEST(Tunnel, WritableIsToldWhenTheQueueHasDrained) {
  Loop loop(1);
  Stream* stream = loop.connect();
  const uint32_t room = loop.client->send_room(*stream);
  loop.client.write(*stream, pattern(room));
  EXPECT_EQ(loop.client->send_room(*stream), 0u);
  EXPECT_EQ(loop.client.seen(1).writable, 0u);
  loop.run();
  EXPECT_EQ(loop.client.seen(1).writable, 1u);
  EXPECT_EQ(loop.client->send_room(*stream), room);
}

TEST(Tunnel, ThePeersConcurrencyLimitIsObeyed) {
  Options two = server_options();
  two.max_streams = 2;
  Loop loop(1, client_options(), two);
  ASSERT_NE(loop.connect(), nullptr);
  ASSERT_NE(loop.connect(), nullptr);
  EXPECT_FALSE(loop.client->can_open());
  EXPECT_EQ(loop.connect(), nullptr);
}

TEST(Tunnel, Rfc9113Section68DrainInTwoStepsFinishesWhatIsOpen) {
  Loop loop(1);
  Stream* old = loop.connect();
  loop.server->drain(loop.server.now);
  loop.run();
  EXPECT_TRUE(loop.client.goaway);
  EXPECT_FALSE(loop.client->can_open());
  EXPECT_FALSE(loop.client->reusable());
  EXPECT_FALSE(loop.client.seen(1).was_reset);
  loop.server.now = loop.server->deadline();
  loop.server->advance(loop.server.now);
  loop.run();
  EXPECT_FALSE(loop.server->drained());
  loop.client.write(*old, pattern(1000));
  loop.client->end(*old);
  loop.run();
  Seen& far = loop.server.seen(1);
  EXPECT_EQ(loop.server.read(*far.stream), pattern(1000));
  loop.server->end(*far.stream);
  loop.run();
  loop.server->release(*far.stream);
  loop.client->release(*old);
  EXPECT_TRUE(loop.server->drained());
  EXPECT_TRUE(loop.client->drained());
}

// RFC 9113 section 6.8: what a client sent before it heard of the last GOAWAY is ignored, and the
// last stream that a GOAWAY names never grows.
TEST(Tunnel, Rfc9113Section68FramesAboveTheLastStreamAreIgnored) {
  End end{server_options()};
  Peer peer{end};
  peer.open();
  peer.send(peer.connect(1));
  end->drain(end.now);
  end.now = end->deadline();
  end->advance(end.now);
  peer.receive();
  for (uint32_t id = 3; id < 2003; id += 2) {
    peer.send(peer.connect(id) + frame(FrameType::data, 0, id, {1}));
    EXPECT_TRUE(peer.receive().empty());
  }
  ASSERT_FALSE(end->closed());
  peer.send(frame(FrameType::data, 0, 0));
  EXPECT_EQ(peer.expect(FrameType::goaway).number(), 1u);
}

TEST(Tunnel, ABodilessRefusalEndsTheStreamAndFreesBothSlots) {
  Loop loop(1);
  loop.server.answer = 503;
  Stream* stream = loop.connect();
  EXPECT_EQ(loop.client.seen(1).status, 503);
  EXPECT_TRUE(loop.client.seen(1).end_received);
  loop.server->release(*loop.server.seen(1).stream);
  loop.run();
  loop.client->release(*stream);
  loop.run();
  EXPECT_EQ(loop.server.context.usage().streams, 0u);
  EXPECT_EQ(loop.client.context.usage().streams, 0u);
}

TEST(Tunnel, AHeaderBlockLongerThanARecordGoesOutWhole) {
  Loop loop(1);
  const std::string baggage(3000, 'x');
  const Field fields[] = {{"baggage", baggage}};
  ASSERT_NE(loop.client->open("10.0.0.1:80", fields), nullptr);
  loop.run();
  EXPECT_EQ(loop.server.seen(1).baggage, baggage);
}

}  // namespace
}  // namespace isthmus::h2::test
