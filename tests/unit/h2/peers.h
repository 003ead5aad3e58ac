// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Both ends for the tests of this room: a connection under test with an owner that remembers what
// it was told, and a peer that writes any frame by hand.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "h2/connection.h"
#include "packet/chain.h"
#include "stats/reason.h"
#include "support/pools.h"

namespace isthmus::h2::test {

using Bytes = std::vector<uint8_t>;
using FieldList = std::vector<std::pair<std::string, std::string>>;

Bytes bytes_of(std::string_view text);
packet::Chain chain_of(const Bytes& bytes);
Bytes flatten(const packet::Chain& chain);

// What the owner of a stream has seen of it.
struct Seen {
  Stream* stream = nullptr;
  std::string authority;
  std::string baggage;
  int status = 0;
  bool end_received = false;
  bool end_sent = false;
  bool was_reset = false;
  bool refused = false;
  ErrorCode code = ErrorCode::no_error;
  unsigned writable = 0;
};

// A connection with its owner. The owner accepts every CONNECT with answer, unless it is 0.
class End final : public Handler {
 public:
  explicit End(const Options& options, const ContextOptions& shared = {});

  Connection& operator*() { return *connection; }
  Connection* operator->() { return connection.get(); }
  // Everything it wants to send, flattened; pieces of at most max bytes.
  Bytes output(uint32_t max = 16384);
  ReceiveStatus input(const Bytes& bytes);
  Bytes read(Stream& stream, uint32_t max = UINT32_MAX);
  void write(Stream& stream, const Bytes& bytes);
  Seen& seen(uint32_t id) { return streams[id]; }
  uint64_t count(stats::Reason reason) const { return reasons.get(reason); }

  void on_request(Stream& stream, const Request& request) override;
  void on_response(Stream& stream, const Response& response) override;
  void on_readable(Stream&) override {}
  void on_writable(Stream& stream) override { ++seen(stream.id()).writable; }
  void on_end_received(Stream& stream) override { seen(stream.id()).end_received = true; }
  void on_end_sent(Stream& stream) override { seen(stream.id()).end_sent = true; }
  void on_reset(Stream& stream, ErrorCode code, bool refused) override;
  void on_goaway() override { goaway = true; }

  timer::Instant now{std::chrono::seconds(1000)};
  stats::ReasonCounters reasons;
  Context context;
  std::unique_ptr<Connection> connection;
  std::map<uint32_t, Seen> streams;
  uint16_t answer = 200;
  bool goaway = false;
  uint32_t largest_piece = 0;
  packet::Chain unread;  // offered, not taken yet
};

struct Frame {
  uint8_t type = 0;
  uint8_t flags = 0;
  uint32_t stream = 0;
  Bytes payload;

  bool is(FrameType wanted) const { return type == static_cast<uint8_t>(wanted); }
  bool has(Flag flag) const { return (flags & flag) != 0; }
  uint32_t number(size_t offset = 0) const;  // big-endian, of the payload
};

Bytes frame(FrameType type, uint8_t flags, uint32_t stream, const Bytes& payload = {});
Bytes number(uint32_t value);
Bytes operator+(Bytes left, const Bytes& right);
// SETTINGS entries.
Bytes setting(Setting setting, uint32_t value);

// The other end, by hand.
class Peer {
 public:
  explicit Peer(End& end) : end_(end) {}

  // Preface (for a server) and empty SETTINGS, acknowledges the end's; its output is read away.
  void open();
  ReceiveStatus send(const Bytes& bytes) { return end_.input(bytes); }
  // Frames that the end has sent since the last call.
  std::vector<Frame> receive();
  // The first frame of a type in what the end sends now; type 255 when there is none.
  Frame expect(FrameType type);
  // A header block without Huffman or indexing.
  static Bytes block(const FieldList& fields);
  static Bytes connect_block(std::string_view authority = "10.0.0.1:80");
  Bytes connect(uint32_t stream, uint8_t flags = kEndHeaders);

 private:
  End& end_;
  Bytes partial_;
};

// GOAWAY with this code came, and the connection is closed.
void expect_connection_error(End& end, Peer& peer, ErrorCode code);
// RST_STREAM with this code came for the stream, and the connection lives.
void expect_stream_error(End& end, Peer& peer, uint32_t stream, ErrorCode code);

Options client_options();
Options server_options();

// Two connections back to back: each call moves what both want to send, cut at random.
class Loop {
 public:
  explicit Loop(uint64_t seed, const Options& client = client_options(),
                const Options& server = server_options());
  void run();
  Stream* connect(std::string_view authority = "10.0.0.1:80");

  End client;
  End server;

 private:
  bool move(End& from, End& to);
  std::mt19937_64 random_;
};

}  // namespace isthmus::h2::test
