// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "peers.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "packet/endian.h"

namespace isthmus::h2::test {

Bytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

packet::Chain chain_of(const Bytes& bytes) {
  packet::Chain chain;
  EXPECT_TRUE(chain.append_copy(bytes, isthmus::test::pools().large));
  return chain;
}

Bytes flatten(const packet::Chain& chain) {
  Bytes bytes(chain.size());
  chain.copy_out(0, bytes);
  return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes number(uint32_t value) {
  Bytes bytes(4);
  packet::store_be<uint32_t>(bytes.data(), value);
  return bytes;
}

Bytes setting(Setting setting, uint32_t value) {
  return Bytes{0, static_cast<uint8_t>(setting)} + number(value);
}

Bytes frame(FrameType type, uint8_t flags, uint32_t stream, const Bytes& payload) {
  Bytes bytes(kFrameHeaderSize);
  const FrameHeader header = {static_cast<uint32_t>(payload.size()), static_cast<uint8_t>(type),
                              flags, stream};
  header.write(std::span<uint8_t, kFrameHeaderSize>(bytes.data(), kFrameHeaderSize));
  return bytes + payload;
}

uint32_t Frame::number(size_t offset) const {
  return payload.size() < offset + 4 ? UINT32_MAX
                                     : packet::load_be<uint32_t>(payload.data() + offset);
}

Options client_options() {
  Options options;
  options.role = Role::client;
  return options;
}

Options server_options() {
  return {};
}

End::End(const Options& options, const ContextOptions& shared)
    : context(shared, isthmus::test::pools(), reasons),
      connection(std::make_unique<Connection>(context, options, *this)) {
  EXPECT_TRUE(connection->start(now));
}

Bytes End::output(uint32_t max) {
  Bytes all;
  while (connection->prepare(max)) {
    const auto head = connection->head();
    const auto size = static_cast<uint32_t>(head.size()) + connection->payload().size();
    largest_piece = std::max(largest_piece, size);
    all.insert(all.end(), head.begin(), head.end());
    all = std::move(all) + flatten(connection->payload());
    connection->head_sent();
    connection->payload().clear();
  }
  return all;
}

ReceiveStatus End::input(const Bytes& bytes) {
  unread.append(chain_of(bytes));
  return connection->receive(unread, now);
}

Bytes End::read(Stream& stream, uint32_t max) {
  return flatten(connection->read(stream, max));
}

void End::write(Stream& stream, const Bytes& bytes) {
  connection->write(stream, chain_of(bytes));
}

void End::on_request(Stream& stream, const Request& request) {
  Seen& seen = streams[stream.id()];
  seen.stream = &stream;
  seen.authority = request.authority;
  seen.baggage = request.find("baggage");
  if (answer != 0) {
    EXPECT_TRUE(connection->respond(stream, answer, {}, answer != 200));
  }
}

void End::on_response(Stream& stream, const Response& response) {
  seen(stream.id()).status = response.status;
}

void End::on_reset(Stream& stream, ErrorCode code, bool refused) {
  Seen& seen = streams[stream.id()];
  seen.was_reset = true;
  seen.refused = refused;
  seen.code = code;
}

void Peer::open() {
  Bytes first = frame(FrameType::settings, 0, 0) + frame(FrameType::settings, kAck, 0);
  if (end_->role() == Role::server) first = bytes_of(kPreface) + first;
  EXPECT_EQ(send(first), ReceiveStatus::ok);
  end_.output();
}

std::vector<Frame> Peer::receive() {
  partial_ = std::move(partial_) + end_.output();
  if (partial_.size() >= kPreface.size() &&
      std::equal(kPreface.begin(), kPreface.end(), partial_.begin())) {
    partial_.erase(partial_.begin(), partial_.begin() + kPreface.size());
  }
  std::vector<Frame> frames;
  size_t at = 0;
  while (partial_.size() - at >= kFrameHeaderSize) {
    const auto header = FrameHeader::parse(
        std::span<const uint8_t, kFrameHeaderSize>(partial_.data() + at, kFrameHeaderSize));
    const size_t end = at + kFrameHeaderSize + header.length;
    if (partial_.size() < end) break;
    frames.push_back({header.type, header.flags, header.stream,
                      Bytes(partial_.begin() + at + kFrameHeaderSize, partial_.begin() + end)});
    at = end;
  }
  partial_.erase(partial_.begin(), partial_.begin() + at);
  return frames;
}

Frame Peer::expect(FrameType type) {
  for (Frame& frame : receive()) {
    if (frame.is(type)) return std::move(frame);
  }
  return {.type = 255};
}

Bytes Peer::block(const FieldList& fields) {
  Bytes bytes;
  const auto put = [&](const std::string& text) {
    // RFC 7541 section 5.1: an integer with a prefix of 7 bits.
    if (text.size() < 127) {
      bytes.push_back(static_cast<uint8_t>(text.size()));
    } else {
      bytes.push_back(127);
      size_t rest = text.size() - 127;
      for (; rest >= 128; rest /= 128) bytes.push_back(static_cast<uint8_t>(rest % 128 + 128));
      bytes.push_back(static_cast<uint8_t>(rest));
    }
    bytes.insert(bytes.end(), text.begin(), text.end());
  };
  for (const auto& [name, value] : fields) {
    bytes.push_back(0);
    put(name);
    put(value);
  }
  return bytes;
}

Bytes Peer::connect_block(std::string_view authority) {
  return block({{":method", "CONNECT"}, {":authority", std::string(authority)}});
}

Bytes Peer::connect(uint32_t stream, uint8_t flags) {
  return frame(FrameType::headers, flags, stream, connect_block());
}

void expect_connection_error(End& end, Peer& peer, ErrorCode code) {
  const Frame goaway = peer.expect(FrameType::goaway);
  EXPECT_TRUE(goaway.is(FrameType::goaway));
  EXPECT_EQ(goaway.number(4), static_cast<uint32_t>(code));
  EXPECT_TRUE(end->closed());
}

void expect_stream_error(End& end, Peer& peer, uint32_t stream, ErrorCode code) {
  const Frame reset = peer.expect(FrameType::rst_stream);
  EXPECT_EQ(reset.stream, stream);
  EXPECT_EQ(reset.number(), static_cast<uint32_t>(code));
  EXPECT_FALSE(end->closed());
}

Loop::Loop(uint64_t seed, const Options& client_side, const Options& server_side)
    : client(client_side), server(server_side), random_(seed) {
  run();
}

bool Loop::move(End& from, End& to) {
  const Bytes bytes = from.output(static_cast<uint32_t>(64 + random_() % 16321));
  for (size_t at = 0; at < bytes.size();) {
    // Short pieces and long ones alike.
    const size_t limit = random_() % 4 == 0 ? 12 : 20'000;
    const size_t n = std::min<size_t>(bytes.size() - at, 1 + random_() % limit);
    to.input(Bytes(bytes.begin() + at, bytes.begin() + at + n));
    at += n;
  }
  return !bytes.empty();
}

void Loop::run() {
  bool moved = true;
  while (moved) {
    moved = move(client, server);
    moved = move(server, client) || moved;
  }
}

Stream* Loop::connect(std::string_view authority) {
  Stream* stream = client->open(authority, {});
  run();
  return stream;
}

}  // namespace isthmus::h2::test
