// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The known floods: each is cut off with ENHANCE_YOUR_CALM and its own reason, and what it may use
// until then is bounded.
#include <functional>
#include <gtest/gtest.h>
#include <set>

#include "peers.h"

namespace isthmus::h2::test {
namespace {

class Abuse : public testing::Test {
 protected:
  void SetUp() override { peer.open(); }
  // Sends pieces until the connection closes; how many that took.
  unsigned flood(const std::function<Bytes(uint32_t)>& piece, unsigned most) {
    for (unsigned i = 0; i < most; ++i) {
      const ReceiveStatus status = peer.send(piece(i));
      if (status == ReceiveStatus::closed) return i + 1;
      last_ = peer.receive();
    }
    return 0;
  }
  void expect_calm(stats::Reason reason) {
    expect_connection_error(end, peer, ErrorCode::enhance_your_calm);
    EXPECT_EQ(end->reason(), reason);
    EXPECT_EQ(end.count(reason), 1u);
  }

  End end{server_options()};
  Peer peer{end};
  std::vector<Frame> last_;
};

TEST_F(Abuse, RapidResetCve202344487) {
  end.answer = 0;
  const unsigned n = flood(
      [&](uint32_t i) {
        const uint32_t id = 2 * i + 1;
        if (end.streams.count(id - 2) != 0) end->release(*end.seen(id - 2).stream);
        return peer.connect(id) + frame(FrameType::rst_stream, 0, id, number(8));
      },
      1000);
  EXPECT_EQ(n, kEarlyResets.burst + 1u);
  expect_calm(stats::Reason::h2_rapid_reset);
}

TEST_F(Abuse, ResetsOfAnsweredStreamsAreNoRapidReset) {
  const unsigned n = flood(
      [&](uint32_t i) {
        const uint32_t id = 2 * i + 1;
        if (end.streams.count(id - 2) != 0) end->release(*end.seen(id - 2).stream);
        return peer.connect(id) + frame(FrameType::rst_stream, 0, id, number(8));
      },
      1000);
  EXPECT_EQ(n, 0u);
}

TEST_F(Abuse, MadeYouResetCve20258671) {
  const unsigned n = flood(
      [&](uint32_t i) {
        const uint32_t id = 2 * i + 1;
        if (end.streams.count(id - 2) != 0) end->release(*end.seen(id - 2).stream);
        return peer.connect(id) + frame(FrameType::window_update, 0, id, number(0));
      },
      1000);
  EXPECT_EQ(n, kForcedResets.burst + 1u);
  expect_calm(stats::Reason::h2_forced_resets);
}

TEST_F(Abuse, ContinuationFloodCve202427316IsCutBeforeEndHeaders) {
  peer.send(frame(FrameType::headers, 0, 1, Peer::connect_block()));
  const unsigned n = flood([](uint32_t) { return frame(FrameType::continuation, 0, 1, {}); }, 100);
  EXPECT_EQ(n, kMaxContinuations + 1);
  expect_calm(stats::Reason::h2_continuation_flood);
}

TEST_F(Abuse, AHeaderBlockIsBoundedBeforeItEnds) {
  peer.send(frame(FrameType::headers, 0, 1, Bytes(16'384)));
  peer.send(frame(FrameType::continuation, 0, 1, Bytes(16'384)));
  EXPECT_FALSE(end->closed());
  peer.send(frame(FrameType::continuation, 0, 1, Bytes(1)));
  expect_calm(stats::Reason::h2_header_list);
}

TEST_F(Abuse, PingFloodCve20199512) {
  const unsigned n = flood([](uint32_t) { return frame(FrameType::ping, 0, 0, Bytes(8)); }, 1000);
  EXPECT_EQ(n, kPings.burst + 1u);
  expect_calm(stats::Reason::h2_ping_flood);
}

TEST_F(Abuse, APeerThatDoesNotReadItsAnswersIsNotReadEither) {
  ReceiveStatus status = ReceiveStatus::ok;
  unsigned taken = 0;
  while (status == ReceiveStatus::ok && taken < 100) {
    status = peer.send(frame(FrameType::ping, 0, 0, Bytes(8)));
    ++taken;
  }
  EXPECT_EQ(status, ReceiveStatus::blocked);
  EXPECT_LT(taken, 40u);
  EXPECT_FALSE(peer.receive().empty());
  EXPECT_EQ(end.input({}), ReceiveStatus::ok);
}

TEST_F(Abuse, SettingsFloodCve20199515) {
  const unsigned n = flood([](uint32_t) { return frame(FrameType::settings, 0, 0); }, 1000);
  EXPECT_EQ(n, kSettings.burst + 0u) << "one was spent at the start";
  expect_calm(stats::Reason::h2_settings_flood);
}

TEST_F(Abuse, AnAckThatNothingAskedForIsOfNoEffectAndBounded) {
  const unsigned n = flood(
      [](uint32_t i) {
        return i % 2 == 0 ? frame(FrameType::settings, kAck, 0)
                          : frame(FrameType::ping, kAck, 0, Bytes(8));
      },
      2000);
  EXPECT_EQ(n, kIgnoredFrames.burst + 1u);
  expect_calm(stats::Reason::h2_ignored_frames);
}

TEST_F(Abuse, GoawayOnceMoreThanEnough) {
  const unsigned n = flood([](uint32_t) { return frame(FrameType::goaway, 0, 0, Bytes(8)); }, 2000);
  EXPECT_EQ(n, kIgnoredFrames.burst + 2u);
  expect_calm(stats::Reason::h2_ignored_frames);
}

TEST_F(Abuse, OneSettingsFrameDoesNotMakeEveryStreamsWindowAThousandTimes) {
  Bytes entries;
  for (unsigned i = 0; i < kMaxSettings; ++i) entries = entries + Bytes{0, 4} + number(100 + i);
  peer.send(frame(FrameType::settings, 0, 0, entries));
  EXPECT_FALSE(end->closed());
  peer.send(frame(FrameType::settings, 0, 0, entries + Bytes{0, 4} + number(1)));
  expect_calm(stats::Reason::h2_settings_flood);
}

// A connection that is over frees its streams while they are on its lists; the slots are others'
// then.
TEST(Slots, OfAConnectionThatIsOverAreHandedOutOnceEach) {
  ContextOptions shared;
  shared.streams = 8;
  End end{server_options(), shared};
  Peer peer{end};
  peer.open();
  for (uint32_t id = 1; id <= 15; id += 2) peer.send(peer.connect(id));
  peer.receive();  // nothing is pending for any of them
  peer.send(frame(FrameType::data, 0, 99));
  ASSERT_TRUE(end->closed());
  for (uint32_t id = 1; id <= 15; id += 2) end->release(*end.seen(id).stream);
  EXPECT_EQ(end.context.usage().streams, 0u);
  Connection next(end.context, client_options(), end);
  ASSERT_TRUE(next.start(end.now));
  std::set<const Stream*> slots;
  for (unsigned i = 0; i < shared.streams; ++i) slots.insert(next.open("10.0.0.1:80", {}));
  EXPECT_EQ(slots.size(), shared.streams);
  EXPECT_EQ(slots.count(nullptr), 0u);
  EXPECT_EQ(next.open("10.0.0.1:80", {}), nullptr);
}

TEST(SlowLoris, AClientThatSaysNothingIsClosedInTime) {
  for (const size_t said : {size_t{0}, size_t{1}, kPreface.size() - 1}) {
    End end{server_options()};
    end.input(Bytes(kPreface.begin(), kPreface.begin() + static_cast<ptrdiff_t>(said)));
    EXPECT_EQ(end->deadline(), end.now + std::chrono::seconds(10));
    end.now += std::chrono::seconds(10);
    end->advance(end.now);
    EXPECT_TRUE(end->closed());
    EXPECT_EQ(end.count(stats::Reason::h2_bad_preface), 1u);
  }
}

TEST_F(Abuse, EmptyDataCve20199518) {
  peer.send(peer.connect(1));
  const unsigned n = flood([](uint32_t) { return frame(FrameType::data, 0, 1); }, 1000);
  EXPECT_EQ(n, kEmptyFrames.burst + 1u);
  expect_calm(stats::Reason::h2_empty_frames);
}

TEST_F(Abuse, DataOfNothingButPaddingCountsAsEmpty) {
  peer.send(peer.connect(1));
  const unsigned n = flood(
      [](uint32_t) {
        return frame(FrameType::data, kPadded, 1, {1, 0});
      },
      1000);
  EXPECT_EQ(n, kEmptyFrames.burst + 1u);
}

TEST_F(Abuse, WindowUpdateFlood) {
  peer.send(peer.connect(1));
  const unsigned n =
      flood([](uint32_t i) { return frame(FrameType::window_update, 0, i % 2, number(1)); }, 5000);
  EXPECT_EQ(n, kWindowUpdateBurst + 1);
  expect_calm(stats::Reason::h2_window_update_flood);
}

TEST_F(Abuse, PriorityFloodCve20199513AndUnknownFrames) {
  const unsigned n = flood(
      [](uint32_t i) {
        return i % 2 == 0 ? frame(FrameType::priority, 0, 1, number(3) + Bytes{1})
                          : frame(static_cast<FrameType>(0x77), 0, 0);
      },
      5000);
  EXPECT_EQ(n, kIgnoredFrames.burst + 1u);
  expect_calm(stats::Reason::h2_ignored_frames);
}

TEST_F(Abuse, RatesRefillWithTime) {
  for (unsigned i = 0; i < 10 * kPings.burst; ++i) {
    ASSERT_EQ(peer.send(frame(FrameType::ping, 0, 0, Bytes(8))), ReceiveStatus::ok);
    peer.receive();
    end.now += std::chrono::milliseconds(1000 / kPings.per_second + 1);
  }
}

TEST_F(Abuse, HpackBombCve20166581) {
  // One field of 4,000 bytes goes into the table; then a byte for each time it is named again.
  const std::string value(3900, 'x');
  Bytes bomb = {0x40, 1, 'a', 127};
  for (size_t rest = value.size() - 127;; rest /= 128) {
    if (rest < 128) {
      bomb.push_back(static_cast<uint8_t>(rest));
      break;
    }
    bomb.push_back(static_cast<uint8_t>(rest % 128 + 128));
  }
  bomb = std::move(bomb) + bytes_of(value) + Bytes(10'000, 0x80 | 62);
  peer.send(frame(FrameType::headers, kEndHeaders, 1, bomb));
  expect_calm(stats::Reason::h2_header_list);
}

TEST_F(Abuse, AListAboveTheLimitIsAStreamErrorAndHpackGoesOn) {
  FieldList fields = {{":method", "CONNECT"}, {":authority", "a:1"}};
  for (int i = 0; i < 5; ++i) fields.emplace_back("x", std::string(3'000, 'y'));
  for (int i = 0; i < 100; ++i) fields.emplace_back("z", "");
  Bytes block = Peer::block(fields);
  const auto middle = block.begin() + 10'000;
  peer.send(frame(FrameType::headers, 0, 1, Bytes(block.begin(), middle)) +
            frame(FrameType::continuation, kEndHeaders, 1, Bytes(middle, block.end())));
  expect_stream_error(end, peer, 1, ErrorCode::enhance_your_calm);
  peer.send(peer.connect(3));
  EXPECT_EQ(end.seen(3).authority, "10.0.0.1:80");
}

TEST_F(Abuse, TooManyFieldsAreTooLongAList) {
  FieldList fields = {{":method", "CONNECT"}, {":authority", "a:1"}};
  for (unsigned i = 0; i < kMaxFields; ++i) fields.emplace_back("cookie", "c");
  peer.send(frame(FrameType::headers, kEndHeaders, 1, Peer::block(fields)));
  expect_stream_error(end, peer, 1, ErrorCode::enhance_your_calm);
}

TEST_F(Abuse, ABlockThatIsNeverFinishedTimesOut) {
  peer.send(frame(FrameType::headers, 0, 1, Peer::connect_block()));
  end.now += std::chrono::seconds(10);
  end->advance(end.now);
  expect_calm(stats::Reason::h2_slow_headers);
}

TEST_F(Abuse, FullPoolsRefuseStreamsAndHarmNobody) {
  ContextOptions shared;
  shared.streams = 2;
  End small(server_options(), shared);
  Peer from(small);
  from.open();
  from.send(from.connect(1) + from.connect(3) + from.connect(5));
  EXPECT_EQ(small.seen(3).authority, "10.0.0.1:80");
  EXPECT_EQ(small.count(stats::Reason::h2_streams_full), 1u);
  EXPECT_FALSE(small->closed());
}

TEST_F(Abuse, SmallDataDoesNotHoldLargeBuffers) {
  peer.send(peer.connect(1));
  const unsigned before = isthmus::test::mbufs_in_use();
  for (int i = 0; i < 1000; ++i) peer.send(frame(FrameType::data, 0, 1, Bytes(10)));
  EXPECT_EQ(end.seen(1).stream->readable(), 10'000u);
  EXPECT_LT(isthmus::test::mbufs_in_use() - before, 10u);
}

// A record of one byte comes in a buffer of its own. Nobody may make us keep a buffer for a byte.
TEST_F(Abuse, AHeaderBlockByTheByteHoldsFewBuffers) {
  const unsigned before = isthmus::test::mbufs_in_use();
  peer.send(frame(FrameType::headers, 0, 1, Bytes(500)));
  const FrameHeader header = {500, static_cast<uint8_t>(FrameType::continuation), 0, 1};
  Bytes bytes(kFrameHeaderSize);
  header.write(std::span<uint8_t, kFrameHeaderSize>(bytes.data(), kFrameHeaderSize));
  peer.send(bytes);
  for (int i = 0; i < 400; ++i) peer.send(Bytes(1));
  EXPECT_FALSE(end->closed());
  EXPECT_LT(isthmus::test::mbufs_in_use() - before, 10u);
}

TEST_F(Abuse, WhatIsWrittenByTheByteToAStalledStreamHoldsFewBuffers) {
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 0)) +
            peer.connect(1));
  peer.receive();
  const unsigned before = isthmus::test::mbufs_in_use();
  Bytes wrote;
  for (int i = 0; i < 400; ++i) {
    wrote.push_back(static_cast<uint8_t>(i));
    end.write(*end.seen(1).stream, {wrote.back()});
  }
  EXPECT_LT(isthmus::test::mbufs_in_use() - before, 10u);
  peer.send(frame(FrameType::window_update, 0, 1, number(1000)));
  EXPECT_EQ(peer.expect(FrameType::data).payload, wrote);
}

// A client opens streams before it has heard of our limit: that is no attack.
TEST(Refusals, BeforeOurSettingsAreKnownEndNoConnection) {
  End end{server_options()};
  Peer peer{end};
  peer.send(bytes_of(kPreface) + frame(FrameType::settings, 0, 0));
  unsigned refused = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    peer.send(peer.connect(2 * i + 1));
    for (const Frame& each : peer.receive()) {
      if (!each.is(FrameType::rst_stream)) continue;
      EXPECT_EQ(each.number(), static_cast<uint32_t>(ErrorCode::refused_stream));
      ++refused;
    }
  }
  EXPECT_FALSE(end->closed());
  EXPECT_EQ(refused, 900u);
  EXPECT_EQ(end->streams().size(), 100u);
}

TEST_F(Abuse, StreamsBeyondALimitThatIsKnownAreBounded) {
  const unsigned n = flood([&](uint32_t i) { return peer.connect(2 * i + 1); }, 1000);
  EXPECT_EQ(n, 100u + kForcedResets.burst + 1u);
  expect_calm(stats::Reason::h2_forced_resets);
}

// Somebody else has used up the worker's slots: no fault of this peer.
TEST_F(Abuse, RefusalsForWantOfSlotsEndNoConnection) {
  ContextOptions shared;
  shared.streams = 2;
  End small(server_options(), shared);
  Peer from(small);
  from.open();
  for (uint32_t i = 0; i < 1000; ++i) {
    from.send(from.connect(2 * i + 1));
    from.receive();
  }
  EXPECT_FALSE(small->closed());
  EXPECT_EQ(small.count(stats::Reason::h2_streams_full), 998u);
}

// Both ends have ended the stream, so that to the peer it is over; its owner has not heard yet.
TEST_F(Abuse, AStreamThatHasEndedTakesNoPlaceFromThePeersNext) {
  for (uint32_t i = 0; i < 100; ++i) peer.send(peer.connect(2 * i + 1));
  end->end(*end.seen(1).stream);
  peer.receive();
  peer.send(frame(FrameType::data, kEndStream, 1, {}) + peer.connect(201));
  EXPECT_EQ(end.seen(201).authority, "10.0.0.1:80");
  peer.send(peer.connect(203));
  expect_stream_error(end, peer, 203, ErrorCode::refused_stream);
}

// The connection's window is a slow stream's affair; streams that are over leave whatever it is.
TEST_F(Abuse, AStreamThatIsOverLeavesWhileTheConnectionsWindowIsShut) {
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 1 << 20)) +
            peer.connect(1) + peer.connect(3) + peer.connect(5));
  peer.receive();
  end.write(*end.seen(1).stream, Bytes(kDefaultWindow));
  peer.receive();
  for (const uint32_t id : {1u, 3u, 5u}) end.write(*end.seen(id).stream, Bytes(100));
  EXPECT_TRUE(peer.receive().empty()) << "the window is shut";
  peer.send(frame(FrameType::rst_stream, 0, 3, number(8)));
  end->release(*end.seen(3).stream);
  end->reset(*end.seen(5).stream, ErrorCode::connect_error);
  end->release(*end.seen(5).stream);
  EXPECT_EQ(peer.expect(FrameType::rst_stream).stream, 5u);
  EXPECT_EQ(end->streams().size(), 1u);
  peer.send(frame(FrameType::window_update, 0, 0, number(1000)));
  const Frame data = peer.expect(FrameType::data);
  EXPECT_EQ(data.stream, 1u);
  EXPECT_EQ(data.payload.size(), 100u);
}

TEST(Arena, GivesBackEverythingAndServesItsLargestBlockAgain) {
  Arena arena(200'000);
  std::vector<void*> taken;
  for (size_t size = 1;; size = size * 3 % 5000 + 1) {
    void* memory = arena.allocate(size);
    if (memory == nullptr) break;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 16, 0u);
    std::fill_n(static_cast<uint8_t*>(memory), size, 0xa5);
    taken.push_back(memory);
  }
  EXPECT_EQ(arena.allocate(60'000), nullptr);
  for (size_t i = 0; i < taken.size(); i += 2) arena.release(taken[i]);
  for (size_t i = 1; i < taken.size(); i += 2) arena.release(taken[i]);
  EXPECT_EQ(arena.in_use(), 0u);
  void* large = arena.allocate(60'000);
  EXPECT_NE(large, nullptr);
  arena.release(large);
  EXPECT_EQ(arena.allocate(Arena::kMaxBlock), nullptr);
}

TEST(Arena, ReallocateKeepsTheContents) {
  Arena arena(1 << 16);
  auto* memory = static_cast<uint8_t*>(arena.reallocate(nullptr, 40));
  std::fill_n(memory, 40, 7);
  memory = static_cast<uint8_t*>(arena.reallocate(memory, 4000));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(memory[i], 7);
  arena.release(memory);
  EXPECT_EQ(arena.in_use(), 0u);
}

}  // namespace
}  // namespace isthmus::h2::test
