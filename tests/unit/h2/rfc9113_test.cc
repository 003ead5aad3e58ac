// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// RFC 9113 by section, frame by frame against a hand-written peer.
#include <gtest/gtest.h>

#include "peers.h"

namespace isthmus::h2::test {
namespace {

class Server : public testing::Test {
 protected:
  void SetUp() override { peer.open(); }
  End end{server_options()};
  Peer peer{end};
};

class Client : public testing::Test {
 protected:
  void SetUp() override {
    peer.open();
    stream = end->open("10.0.0.1:80", {});
    end.output();
  }
  End end{client_options()};
  Peer peer{end};
  Stream* stream = nullptr;
};

TEST(Preface, Section34ClientSendsPrefaceSettingsAndWindowInItsFirstFlight) {
  End end(client_options());
  const Bytes flight = end.output();
  ASSERT_GE(flight.size(), kPreface.size());
  EXPECT_TRUE(std::equal(kPreface.begin(), kPreface.end(), flight.begin()));
  EXPECT_EQ(flight[kPreface.size() + 3], static_cast<uint8_t>(FrameType::settings));
}

TEST(Preface, Section34ServerSaysNothingBeforeThePreface) {
  End end(server_options());
  EXPECT_TRUE(end.output().empty());
  end.input(bytes_of(kPreface.substr(0, 10)));
  EXPECT_TRUE(end.output().empty());
  end.input(bytes_of(kPreface.substr(10)));
  const Bytes first = end.output();
  ASSERT_FALSE(first.empty());
  EXPECT_EQ(first[3], static_cast<uint8_t>(FrameType::settings));
}

TEST(Preface, Section34HttpOneIsRefused) {
  End end(server_options());
  EXPECT_EQ(end.input(bytes_of("GET / HTTP/1.1\r\n\r\n")), ReceiveStatus::closed);
  EXPECT_EQ(end.count(stats::Reason::h2_bad_preface), 1u);
}

TEST(Preface, Section34TheFirstFrameMustBeSettings) {
  End end(server_options());
  Peer peer(end);
  peer.send(bytes_of(kPreface) + frame(FrameType::ping, 0, 0, Bytes(8)));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST(Preface, Section653SettingsThatAreNeverAcknowledgedEndTheConnection) {
  End end(server_options());
  Peer peer(end);
  peer.send(bytes_of(kPreface) + frame(FrameType::settings, 0, 0));
  end.now += std::chrono::seconds(10);
  EXPECT_LE(end->deadline(), end.now);
  end->advance(end.now);
  expect_connection_error(end, peer, ErrorCode::settings_timeout);
}

TEST_F(Server, Section42AFrameAboveTheAdvertisedSizeIsAnError) {
  peer.send(peer.connect(1) + frame(FrameType::data, 0, 1, Bytes(16'385)));
  expect_connection_error(end, peer, ErrorCode::frame_size_error);
}

TEST_F(Server, Section43ABlockMayBeCutIntoContinuationsAnywhere) {
  const Bytes block = Peer::connect_block();
  const auto middle = block.begin() + 5;
  peer.send(frame(FrameType::headers, 0, 1, Bytes(block.begin(), middle)));
  peer.send(frame(FrameType::continuation, 0, 1));
  peer.send(frame(FrameType::continuation, kEndHeaders, 1, Bytes(middle, block.end())));
  EXPECT_EQ(end.seen(1).authority, "10.0.0.1:80");
}

TEST_F(Server, Section43NothingMayComeBetweenHeadersAndContinuation) {
  peer.send(frame(FrameType::headers, 0, 1, Peer::connect_block()) +
            frame(FrameType::ping, 0, 0, Bytes(8)));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section43ABrokenBlockIsACompressionError) {
  peer.send(frame(FrameType::headers, kEndHeaders, 1, {0xff, 0xff, 0xff, 0xff, 0x0f}));
  expect_connection_error(end, peer, ErrorCode::compression_error);
}

TEST_F(Server, Section51DataOnAnIdleStreamIsAConnectionError) {
  peer.send(frame(FrameType::data, 0, 1, {1}));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section51DataAfterEndStreamIsAStreamError) {
  peer.send(peer.connect(1) + frame(FrameType::data, kEndStream, 1, {1}) +
            frame(FrameType::data, 0, 1, {2}));
  expect_stream_error(end, peer, 1, ErrorCode::stream_closed);
  EXPECT_TRUE(end.seen(1).was_reset);
}

TEST_F(Server, Section51FramesForAStreamThatWeResetAreIgnored) {
  peer.send(peer.connect(1));
  end->reset(*end.seen(1).stream, ErrorCode::connect_error);
  end->release(*end.seen(1).stream);
  EXPECT_EQ(peer.expect(FrameType::rst_stream).number(), 10u);
  peer.send(frame(FrameType::data, 0, 1, {1}) + frame(FrameType::window_update, 0, 1, number(9)) +
            frame(FrameType::headers, kEndHeaders | kEndStream, 1, Peer::block({{"a", "b"}})));
  EXPECT_TRUE(peer.receive().empty());
  EXPECT_FALSE(end->closed());
}

TEST_F(Server, Section511EvenStreamsAreNotAClients) {
  peer.send(peer.connect(2));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section511StreamsMustGrow) {
  peer.send(peer.connect(5) + peer.connect(3));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section512AboveTheConcurrencyLimitStreamsAreRefused) {
  for (uint32_t i = 0; i < 100; ++i) peer.send(peer.connect(2 * i + 1));
  peer.receive();
  peer.send(peer.connect(201));
  expect_stream_error(end, peer, 201, ErrorCode::refused_stream);
  EXPECT_EQ(end->streams().size(), 100u);
}

TEST_F(Server, Section512AResetStreamHoldsItsPlaceUntilItsOwnerLetsGo) {
  for (uint32_t i = 0; i < 100; ++i) peer.send(peer.connect(2 * i + 1));
  peer.send(frame(FrameType::rst_stream, 0, 1, number(8)));
  EXPECT_TRUE(end.seen(1).was_reset);
  peer.receive();
  peer.send(peer.connect(201));
  expect_stream_error(end, peer, 201, ErrorCode::refused_stream);
  end->release(*end.seen(1).stream);
  peer.send(peer.connect(203));
  EXPECT_EQ(end.seen(203).authority, "10.0.0.1:80");
}

TEST_F(Server, Section61PaddingIsDroppedAndCredited) {
  peer.send(peer.connect(1));
  // 4,000 frames of one byte and 255 of padding: only credit for padding keeps the window open.
  Bytes padded(257, 0);
  padded[0] = 255;
  padded[1] = 7;
  for (int i = 0; i < 9000; ++i) {
    ASSERT_EQ(peer.send(frame(FrameType::data, kPadded, 1, padded)), ReceiveStatus::ok) << i;
    end.read(*end.seen(1).stream);
    peer.receive();
  }
}

TEST_F(Server, Section61PaddingLongerThanTheFrameIsAnError) {
  peer.send(peer.connect(1) + frame(FrameType::data, kPadded, 1, {5, 1, 2}));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section62PriorityAndPaddingOfHeadersAreSkipped) {
  const Bytes payload = Bytes{3} + number(0) + Bytes{16} + Peer::connect_block() + Bytes(3);
  peer.send(frame(FrameType::headers, kEndHeaders | kPadded | kPriority, 1, payload));
  EXPECT_EQ(end.seen(1).authority, "10.0.0.1:80");
}

TEST_F(Server, Section63PriorityIsIgnoredEvenOnIdleStreams) {
  peer.send(frame(FrameType::priority, 0, 9, number(1) + Bytes{200}));
  EXPECT_FALSE(end->closed());
}

TEST_F(Server, Section64RstStreamOnAnIdleStreamIsAnError) {
  peer.send(frame(FrameType::rst_stream, 0, 1, number(8)));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section65SettingsAreAcknowledged) {
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 1)));
  const Frame ack = peer.expect(FrameType::settings);
  EXPECT_TRUE(ack.has(kAck));
  EXPECT_TRUE(ack.payload.empty());
}

TEST_F(Server, Section652ValuesOutOfRangeAreErrors) {
  const std::pair<Bytes, ErrorCode> cases[] = {
      {setting(Setting::enable_push, 2), ErrorCode::protocol_error},
      {setting(Setting::initial_window_size, 0x80000000), ErrorCode::flow_control_error},
      {setting(Setting::max_frame_size, 16'383), ErrorCode::protocol_error},
      {setting(Setting::max_frame_size, 16'777'216), ErrorCode::protocol_error}};
  for (const auto& [payload, code] : cases) {
    End other(server_options());
    Peer from(other);
    from.open();
    from.send(frame(FrameType::settings, 0, 0, payload));
    expect_connection_error(other, from, code);
  }
}

TEST_F(Server, Section66PushPromiseIsAnError) {
  peer.send(peer.connect(1) + frame(FrameType::push_promise, kEndHeaders, 1, number(2)));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Server, Section67PingIsAnsweredWithItsBytes) {
  peer.send(frame(FrameType::ping, 0, 0, {1, 2, 3, 4, 5, 6, 7, 8}));
  const Frame pong = peer.expect(FrameType::ping);
  EXPECT_TRUE(pong.has(kAck));
  EXPECT_EQ(pong.payload, (Bytes{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(Server, Section67SilenceIsProbedAndThenEndsTheConnection) {
  end.now += std::chrono::seconds(10);
  end->advance(end.now);
  EXPECT_FALSE(peer.expect(FrameType::ping).has(kAck));
  end.now += std::chrono::seconds(19);
  end->advance(end.now);
  EXPECT_FALSE(end->closed());
  end.now += std::chrono::seconds(1);
  end->advance(end.now);
  EXPECT_TRUE(end->closed());
  EXPECT_EQ(end->reason(), stats::Reason::h2_ping_timeout);
}

TEST_F(Server, Section67AnAnsweredProbeKeepsTheConnection) {
  end.now += std::chrono::seconds(10);
  end->advance(end.now);
  const Frame ping = peer.expect(FrameType::ping);
  end.now += std::chrono::seconds(19);
  peer.send(frame(FrameType::ping, kAck, 0, ping.payload));
  end.now += std::chrono::seconds(5);
  end->advance(end.now);
  EXPECT_FALSE(end->closed());
}

TEST_F(Server, Section691AWindowOfOneByteIsObeyed) {
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 1)));
  peer.send(peer.connect(1));
  end.write(*end.seen(1).stream, {1, 2, 3});
  unsigned got = 0;
  for (int i = 0; i < 3; ++i) {
    const Frame data = peer.expect(FrameType::data);
    ASSERT_EQ(data.payload.size(), 1u);
    EXPECT_EQ(data.payload[0], ++got);
    peer.send(frame(FrameType::window_update, 0, 1, number(1)));
  }
}

TEST_F(Server, Section692AWindowMayBecomeNegative) {
  peer.send(peer.connect(1));
  end.write(*end.seen(1).stream, Bytes(1000));
  EXPECT_EQ(peer.expect(FrameType::data).payload.size(), 1000u);
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 500)));
  end.write(*end.seen(1).stream, Bytes(10));
  EXPECT_EQ(peer.expect(FrameType::data).type, 255);
  // Credit up to zero is not enough.
  peer.send(frame(FrameType::window_update, 0, 1, number(500)));
  EXPECT_EQ(peer.expect(FrameType::data).type, 255);
  peer.send(frame(FrameType::window_update, 0, 1, number(1)));
  EXPECT_EQ(peer.expect(FrameType::data).payload.size(), 1u);
}

TEST_F(Server, Section691AWindowAboveItsLimitIsAnError) {
  peer.send(peer.connect(1));
  peer.receive();
  peer.send(frame(FrameType::window_update, 0, 1, number(0x7fffffff)));
  expect_stream_error(end, peer, 1, ErrorCode::flow_control_error);
  peer.send(frame(FrameType::window_update, 0, 0, number(0x7fffffff)));
  expect_connection_error(end, peer, ErrorCode::flow_control_error);
}

TEST_F(Server, Section69AnOverrunWindowIsAnError) {
  peer.send(peer.connect(1));
  for (int i = 0; i < 64; ++i) peer.send(frame(FrameType::data, 0, 1, Bytes(16'384)));
  EXPECT_FALSE(end->closed());
  EXPECT_FALSE(end.seen(1).was_reset);
  peer.receive();
  peer.send(frame(FrameType::data, 0, 1, {1}));
  EXPECT_TRUE(end->closed() || end.seen(1).was_reset);
}

TEST_F(Server, Section69CreditFollowsTheReaderHalfAWindowAtATime) {
  peer.send(peer.connect(1));
  for (int i = 0; i < 40; ++i) peer.send(frame(FrameType::data, 0, 1, Bytes(16'384)));
  for (const Frame& each : peer.receive()) {
    EXPECT_FALSE(each.is(FrameType::window_update) && each.stream == 1) << "nothing was read yet";
  }
  end.read(*end.seen(1).stream, 500'000);
  for (const Frame& each : peer.receive()) EXPECT_FALSE(each.is(FrameType::window_update));
  end.read(*end.seen(1).stream, 50'000);
  const Frame update = peer.expect(FrameType::window_update);
  EXPECT_EQ(update.stream, 1u);
  EXPECT_EQ(update.number(), 550'000u);
}

// A peer that always fills what it is given, and a reader that takes so much a round trip.
struct Filler {
  End& end;
  Peer& peer;
  int64_t connection = 1 << 20;
  int64_t stream = 1 << 20;

  // What the peer may send once everything was read.
  int64_t round(uint32_t read, timer::Duration round_trip) {
    int64_t left = std::min(connection, stream);
    connection -= left;
    stream -= left;
    for (; left > 0; left -= 16'384) {
      peer.send(frame(FrameType::data, 0, 1, Bytes(std::min<int64_t>(left, 16'384))));
    }
    end.now += round_trip;
    peer.send(frame(FrameType::ping, kAck, 0, Bytes(8)));  // tells it the time
    end.read(*end.seen(1).stream, read);
    for (const Frame& each : peer.receive()) {
      if (!each.is(FrameType::window_update)) continue;
      (each.stream == 0 ? connection : stream) += each.number();
    }
    return std::min(connection, stream) + end.seen(1).stream->readable();
  }
};

TEST_F(Server, WindowsGrowToTwiceWhatIsReadInARoundTrip) {
  constexpr auto kRoundTrip = std::chrono::milliseconds(50);
  end->set_round_trip(kRoundTrip);
  peer.send(peer.connect(1));
  Filler filler{end, peer};
  for (int i = 0; i < 8; ++i) {
    EXPECT_LE(filler.round(UINT32_MAX, kRoundTrip), 4 << 20) << "the largest that is asked for";
  }
  EXPECT_EQ(filler.stream, 4 << 20);
  EXPECT_EQ(filler.connection, 4 << 20);
  EXPECT_FALSE(end->closed());
}

TEST_F(Server, WindowsStayForAReaderThatIsSlowerThanTheyAllow) {
  constexpr auto kRoundTrip = std::chrono::milliseconds(50);
  end->set_round_trip(kRoundTrip);
  peer.send(peer.connect(1));
  Filler filler{end, peer};
  for (int i = 0; i < 50; ++i) EXPECT_LE(filler.round(400'000, kRoundTrip), 1 << 20);
}

TEST_F(Server, WindowsStayWhileTheRoundTripIsUnknownOrShort) {
  peer.send(peer.connect(1));
  Filler filler{end, peer};
  for (int i = 0; i < 8; ++i) filler.round(UINT32_MAX, std::chrono::milliseconds(50));
  EXPECT_LE(filler.stream, 1 << 20);
  end->set_round_trip(std::chrono::milliseconds(1));
  for (int i = 0; i < 50; ++i)
    EXPECT_LE(filler.round(100'000, std::chrono::milliseconds(10)), 1 << 20);
}

TEST_F(Server, Section55UnknownFramesAndFlagsAreIgnored) {
  peer.send(frame(static_cast<FrameType>(0xee), 0xff, 3, Bytes(100)));
  peer.send(peer.connect(1));
  EXPECT_EQ(end.seen(1).authority, "10.0.0.1:80");
}

TEST_F(Server, Section85ConnectWithSchemeOrPathOrWithoutAuthorityIsMalformed) {
  const FieldList cases[] = {
      {{":method", "CONNECT"}, {":authority", "a:1"}, {":scheme", "https"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {":path", "/"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {":protocol", "websocket"}},
      {{":method", "CONNECT"}},
      {{":method", "CONNECT"}, {":authority", ""}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {"Baggage", "x"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {"connection", "close"}},
      {{":method", "CONNECT"}, {"x", "y"}, {":authority", "a:1"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {":authority", "a:1"}},
      {{":method", "CONNECT"}, {":authority", "a:1"}, {"x", "a\nb"}}};
  uint32_t id = 1;
  for (const FieldList& fields : cases) {
    peer.send(frame(FrameType::headers, kEndHeaders, id, Peer::block(fields)));
    expect_stream_error(end, peer, id, ErrorCode::protocol_error);
    EXPECT_EQ(end.streams.count(id), 0u) << "nobody may hear of it";
    id += 2;
  }
}

TEST_F(Server, Section85OtherMethodsAreAnsweredByTheProfileWithAShortBody) {
  const FieldList get = {
      {":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a"}};
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::initial_window_size, 3)));
  peer.send(frame(FrameType::headers, kEndHeaders | kEndStream, 1, Peer::block(get)));
  const std::vector<Frame> frames = peer.receive();
  ASSERT_GE(frames.size(), 3u);
  EXPECT_TRUE(frames[1].is(FrameType::headers));
  EXPECT_TRUE(frames[2].is(FrameType::data));
  EXPECT_EQ(frames[2].payload.size(), 3u) << "the body obeys the window";
  peer.send(frame(FrameType::window_update, 0, 1, number(1000)));
  EXPECT_TRUE(peer.expect(FrameType::data).has(kEndStream));
  EXPECT_EQ(end->streams().size(), 0u);
  EXPECT_EQ(end.count(stats::Reason::h2_not_connect), 1u);
}

TEST_F(Server, EarlyDataBeforeTheAnswerIsKept) {
  end.answer = 0;
  peer.send(peer.connect(1) + frame(FrameType::data, 0, 1, bytes_of("early")));
  EXPECT_EQ(end.read(*end.seen(1).stream), bytes_of("early"));
}

TEST_F(Server, TrailersAreAnEnd) {
  peer.send(peer.connect(1) +
            frame(FrameType::headers, kEndHeaders | kEndStream, 1, Peer::block({{"x", "y"}})));
  EXPECT_TRUE(end.seen(1).end_received);
  EXPECT_FALSE(end.seen(1).was_reset);
}

TEST_F(Server, NoEmptyDataButForTheEnd) {
  peer.send(peer.connect(1));
  end.write(*end.seen(1).stream, {});
  EXPECT_EQ(peer.expect(FrameType::data).type, 255);
  end->end(*end.seen(1).stream);
  const Frame last = peer.expect(FrameType::data);
  EXPECT_TRUE(last.payload.empty());
  EXPECT_TRUE(last.has(kEndStream));
}

TEST_F(Client, Section81InterimAnswersAreSkipped) {
  peer.send(frame(FrameType::headers, kEndHeaders, 1, Peer::block({{":status", "103"}})));
  EXPECT_EQ(end.seen(1).status, 0);
  peer.send(frame(FrameType::headers, kEndHeaders, 1, Peer::block({{":status", "200"}})));
  EXPECT_EQ(end.seen(1).status, 200);
}

TEST_F(Client, Section81AMalformedAnswerIsAStreamError) {
  peer.send(frame(FrameType::headers, kEndHeaders, 1, Peer::block({{":status", "2000"}})));
  expect_stream_error(end, peer, 1, ErrorCode::protocol_error);
  EXPECT_TRUE(end.seen(1).was_reset);
}

TEST_F(Client, Section81DataBeforeTheAnswerIsAStreamError) {
  peer.send(frame(FrameType::data, 0, 1, {1}));
  expect_stream_error(end, peer, 1, ErrorCode::protocol_error);
}

TEST_F(Client, Section87RefusedStreamIsSafeToRetry) {
  peer.send(frame(FrameType::rst_stream, 0, 1, number(7)));
  EXPECT_TRUE(end.seen(1).refused);
}

TEST_F(Client, Section68StreamsAboveTheLastAreRefused) {
  ASSERT_NE(end->open("10.0.0.1:80", {}), nullptr);
  end.output();
  peer.send(frame(FrameType::goaway, 0, 0, number(1) + number(0)));
  EXPECT_FALSE(end.seen(1).was_reset);
  EXPECT_TRUE(end.seen(3).refused);
  EXPECT_FALSE(end->can_open());
}

TEST_F(Client, Section66PushIsRefused) {
  peer.send(frame(FrameType::push_promise, kEndHeaders, 1, number(2)));
  expect_connection_error(end, peer, ErrorCode::protocol_error);
}

TEST_F(Client, AnUnsentRequestThatIsGivenUpLeavesNoTrace) {
  Stream* second = end->open("10.0.0.1:80", {});
  end->release(*second);
  EXPECT_TRUE(peer.receive().empty());
  EXPECT_EQ(end->streams().size(), 1u);
}

TEST_F(Client, Rfc7541Section42AReducedTableIsAcknowledgedInTheNextBlock) {
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::header_table_size, 0)));
  ASSERT_NE(end->open("10.0.0.1:80", {}), nullptr);
  const Frame headers = peer.expect(FrameType::headers);
  ASSERT_FALSE(headers.payload.empty());
  EXPECT_EQ(headers.payload[0], 0x20);
}

TEST_F(Client, Rfc7541Section42ABlockThatWasMadeBeforeTheReductionAcknowledgesIt) {
  ASSERT_NE(end->open("10.0.0.1:80", {}), nullptr);
  peer.send(frame(FrameType::settings, 0, 0, setting(Setting::header_table_size, 100)));
  EXPECT_EQ(peer.expect(FrameType::headers).payload[0], 0x20);
  ASSERT_NE(end->open("10.0.0.1:80", {}), nullptr);
  EXPECT_NE(peer.expect(FrameType::headers).payload[0], 0x20) << "once";
}

TEST_F(Client, Rfc7541Section42AReductionAboveTheDefaultIsAcknowledged) {
  for (const uint32_t size : {16'384u, 8192u}) {
    peer.send(frame(FrameType::settings, 0, 0, setting(Setting::header_table_size, size)));
    ASSERT_NE(end->open("10.0.0.1:80", {}), nullptr);
    const Frame headers = peer.expect(FrameType::headers);
    EXPECT_EQ(headers.payload[0] == 0x20, size == 8192u);
  }
}

}  // namespace
}  // namespace isthmus::h2::test
