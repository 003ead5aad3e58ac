// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The frame machine in either role: the input is what the peer sends. The first byte picks the role
// and how the rest is cut; the owner answers, reads, writes, ends and lets go as the bytes say.
// Whatever the frames hold, no more bytes and no more requests come out of them than their lengths
// say.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "eal.h"
#include "h2/connection.h"
#include "packet/endian.h"
#include "support/pools.h"

namespace {

using namespace isthmus;

class Owner final : public h2::Handler {
 public:
  void on_request(h2::Stream& stream, const h2::Request& request) override {
    if (!request.is_connect() || request.authority.empty()) abort();
    ++requests;
    streams.push_back(&stream);
    if (stream.id() % 8 == 5) {
      connection->respond(stream, 503, {}, true);
    } else {
      connection->respond(stream, 200, {}, false);
    }
  }
  void on_response(h2::Stream&, const h2::Response& response) override {
    if (response.status < 200 || response.status > 999) abort();
  }
  void on_readable(h2::Stream&) override {}
  void on_writable(h2::Stream&) override {}
  void on_end_received(h2::Stream&) override {}
  void on_end_sent(h2::Stream&) override {}
  void on_reset(h2::Stream& stream, h2::ErrorCode, bool) override {
    if (!stream.reset()) abort();
  }
  void on_goaway() override {}

  void read(h2::Stream& stream, uint32_t most) { taken += connection->read(stream, most).size(); }

  h2::Connection* connection = nullptr;
  std::vector<h2::Stream*> streams;
  size_t requests = 0;
  size_t taken = 0;  // bytes of DATA
};

// What frames carry by their lengths alone.
struct Carried {
  explicit Carried(std::span<const uint8_t> wire) {
    constexpr size_t kHeader = 9;
    while (wire.size() >= kHeader) {
      const size_t length = packet::load_be<uint32_t>(wire.data()) >> 8;
      const uint8_t type = wire[3];
      wire = wire.subspan(kHeader);
      const size_t here = std::min(length, wire.size());
      if (type == static_cast<uint8_t>(h2::FrameType::data)) data += here;
      if (type == static_cast<uint8_t>(h2::FrameType::headers)) ++headers;
      wire = wire.subspan(here);
    }
  }
  size_t data = 0;
  size_t headers = 0;
};

void act(h2::Connection& connection, Owner& owner, uint8_t choice) {
  if (owner.streams.empty()) return;
  const size_t index = choice % owner.streams.size();
  h2::Stream& stream = *owner.streams[index];
  switch (choice % 5) {
    case 0:
      owner.read(stream, 1 + choice * 7u);
      break;
    case 1: {
      packet::Chain bytes;
      const std::vector<uint8_t> data(choice * 9u, choice);
      if (data.size() <= connection.send_room(stream) &&
          bytes.append_copy(data, test::pools().small)) {
        connection.write(stream, std::move(bytes));
      }
      break;
    }
    case 2:
      connection.end(stream);
      break;
    case 3:
      connection.reset(stream, h2::ErrorCode::connect_error);
      break;
    default:
      connection.release(stream);
      owner.streams.erase(owner.streams.begin() + static_cast<ptrdiff_t>(index));
  }
}

void drain(h2::Connection& connection) {
  while (connection.prepare(1024)) {
    if (connection.head().empty() && connection.payload().empty()) abort();
    connection.head_sent();
    connection.payload().clear();
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_eal();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 2) return 0;
  static stats::ReasonCounters reasons;
  const unsigned before = test::mbufs_in_use();
  {
    h2::Context context({.streams = 64, .hpack_bytes = 1 << 18, .receive_budget = 1 << 16},
                        test::pools(), reasons);
    h2::Options options;
    options.role = (input[0] & 1) != 0 ? h2::Role::client : h2::Role::server;
    options.max_streams = 32;
    options.send_queue = 4096;
    Owner owner;
    h2::Connection connection(context, options, owner);
    owner.connection = &connection;
    timer::Instant now{std::chrono::seconds(1)};
    if (!connection.start(now)) abort();
    if (options.role == h2::Role::client) {
      for (int i = 0; i < 4; ++i) {
        if (h2::Stream* stream = connection.open("10.0.0.1:80", {})) {
          owner.streams.push_back(stream);
        }
      }
    } else if ((input[0] & 2) != 0) {
      packet::Chain preface;
      const auto* text = reinterpret_cast<const uint8_t*>(h2::kPreface.data());
      if (!preface.append_copy({text, h2::kPreface.size()}, test::pools().small)) abort();
      connection.receive(preface, now);
    }
    const size_t piece = 1 + (input[0] >> 2) * 5;
    packet::Chain unread;
    for (size_t at = 1; at < size && !connection.closed(); at += piece) {
      const size_t n = std::min(piece, size - at);
      if (!unread.append_copy({input + at, n}, test::pools().small)) abort();
      connection.receive(unread, now);
      act(connection, owner, input[at]);
      drain(connection);
      now += std::chrono::milliseconds(input[at]);
      connection.advance(now);
    }
    drain(connection);
    for (h2::Stream* stream : owner.streams) owner.read(*stream, UINT32_MAX);
    const bool preface_first = options.role == h2::Role::server && (input[0] & 2) == 0;
    const size_t frames = 1 + (preface_first ? h2::kPreface.size() : 0);
    const Carried carried({input + std::min(frames, size), size - std::min(frames, size)});
    if (owner.taken > carried.data || owner.requests > carried.headers) abort();
  }
  if (test::mbufs_in_use() != before) abort();
  return 0;
}
