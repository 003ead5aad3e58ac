// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Header blocks from a hostile peer, in either role. The input is a program that writes HPACK: raw
// bytes, huge and evil names, table updates, many references to a few fields; and cuts the block
// into HEADERS and CONTINUATION anywhere. A second decoder, which gets each block whole, says what
// must become of it; a third one, with the table that the peer has allowed, reads what we encode.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nghttp2/nghttp2.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eal.h"
#include "h2/connection.h"
#include "packet/endian.h"
#include "support/pools.h"

namespace {

using namespace isthmus;
using h2::ErrorCode;
using h2::FrameType;
using Bytes = std::vector<uint8_t>;
using Fields = std::vector<std::pair<std::string, std::string>>;

constexpr unsigned kMaxRequests = 40;  // below what our own resets may be provoked to
constexpr unsigned kMaxResponses = 8;
constexpr unsigned kMaxSettings = 16;
constexpr size_t kMostBlock = 40'000;

// The line tells which promise was broken, where the stack has been folded.
void check(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "h2_hpack.cc:%d does not hold\n", line);
  abort();
}

// Takes the input apart; zeros behind its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  uint8_t byte() {
    if (left_.empty()) return 0;
    const uint8_t value = left_.front();
    left_ = left_.subspan(1);
    return value;
  }
  std::span<const uint8_t> bytes(size_t most) {
    const auto taken = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const uint8_t> left_;
};

// An HPACK integer (RFC 7541 section 5.1).
void write_integer(Bytes& to, uint8_t pattern, unsigned prefix, uint64_t value) {
  const uint64_t most = (uint64_t{1} << prefix) - 1;
  to.push_back(static_cast<uint8_t>(pattern | std::min(value, most)));
  if (value < most) return;
  for (value -= most; value >= 128; value >>= 7) {
    to.push_back(static_cast<uint8_t>(0x80 | (value & 0x7f)));
  }
  to.push_back(static_cast<uint8_t>(value));
}

void write_literal(Bytes& to, uint8_t pattern, std::string_view name, std::string_view value) {
  to.push_back(pattern);
  for (const std::string_view text : {name, value}) {
    write_integer(to, 0, 7, text.size());
    to.insert(to.end(), text.begin(), text.end());
  }
}

class Decoder {
 public:
  Decoder() { check(nghttp2_hd_inflate_new(&inflater_) == 0); }
  ~Decoder() { nghttp2_hd_inflate_del(inflater_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // What becomes of a block that is decoded until its list exceeds `most`.
  enum class Outcome : uint8_t { fine, malformed, too_much };
  Outcome decode(std::span<const uint8_t> block, uint64_t most, Fields& fields) {
    size = 0;
    while (true) {
      nghttp2_nv field;
      int flags = 0;
      const ssize_t used =
          nghttp2_hd_inflate_hd2(inflater_, &field, &flags, block.data(), block.size(), 1);
      if (used < 0) return Outcome::malformed;
      block = block.subspan(static_cast<size_t>(used));
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        fields.emplace_back(
            std::string(reinterpret_cast<const char*>(field.name), field.namelen),
            std::string(reinterpret_cast<const char*>(field.value), field.valuelen));
        size += field.namelen + field.valuelen + 32;
        if (size > most) return Outcome::too_much;
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && block.empty()) return Outcome::malformed;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return Outcome::fine;
  }
  void allow(uint32_t table) { check(nghttp2_hd_inflate_change_table_size(inflater_, table) == 0); }
  size_t table() const { return nghttp2_hd_inflate_get_dynamic_table_size(inflater_); }

  uint64_t size = 0;  // of the last list

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

// Compares what its owner is told with what the peer's program meant.
class Owner final : public h2::Handler {
 public:
  void on_request(h2::Stream& stream, const h2::Request& request) override {
    told(stream, request.fields);
    check(request.is_connect() && !request.authority.empty());
    connection->respond(stream, 503, {}, true);
    connection->release(stream);
  }
  void on_response(h2::Stream& stream, const h2::Response& response) override {
    check(response.status >= 200 && response.status <= 999);
    told(stream, response.fields);
  }
  void on_readable(h2::Stream&) override {}
  void on_writable(h2::Stream&) override {}
  void on_end_received(h2::Stream&) override {}
  void on_end_sent(h2::Stream&) override {}
  void on_reset(h2::Stream&, ErrorCode, bool) override {}
  void on_goaway() override {}

  h2::Connection* connection = nullptr;
  uint32_t expected_stream = 0;
  Fields expected;
  bool within_limits = false;
  unsigned lists = 0;

 private:
  void told(const h2::Stream& stream, std::span<const h2::Field> fields) {
    ++lists;
    check(within_limits && stream.id() == expected_stream);
    size_t pseudo = 0;
    while (pseudo < expected.size() && expected[pseudo].first.starts_with(':')) ++pseudo;
    check(fields.size() == expected.size() - pseudo);
    for (size_t i = 0; i < fields.size(); ++i) {
      const auto& [name, value] = expected[pseudo + i];
      check(fields[i].name == name && fields[i].value == value && h2::valid_field(fields[i]));
    }
  }
};

// The other end: what we send, as it must be read.
class Peer {
 public:
  explicit Peer(h2::Role ours)
      : preface_left_(ours == h2::Role::client ? h2::kPreface.size() : 0) {}
  void announce(uint32_t table) { announced_.push_back(table); }
  bool knows(uint32_t stream) const { return resets.contains(stream) || answers.contains(stream); }

  void read(h2::Connection& connection) {
    while (connection.prepare(1 << 14)) {
      const auto head = connection.head();
      bytes_.insert(bytes_.end(), head.begin(), head.end());
      connection.head_sent();
      const size_t at = bytes_.size();
      bytes_.resize(at + connection.payload().size());
      connection.payload().copy_out(0, {bytes_.data() + at, bytes_.size() - at});
      connection.payload().clear();
    }
    std::span<const uint8_t> left(bytes_);
    if (preface_left_ != 0) {
      check(left.size() >= preface_left_);
      left = left.subspan(std::exchange(preface_left_, 0));
    }
    while (left.size() >= h2::kFrameHeaderSize) {
      const auto header = h2::FrameHeader::parse(left.first<h2::kFrameHeaderSize>());
      if (left.size() < h2::kFrameHeaderSize + header.length) break;
      take(header, left.subspan(h2::kFrameHeaderSize, header.length));
      left = left.subspan(h2::kFrameHeaderSize + header.length);
    }
    bytes_.erase(bytes_.begin(), bytes_.end() - static_cast<ptrdiff_t>(left.size()));
  }

  std::map<uint32_t, ErrorCode> resets;
  std::map<uint32_t, Fields> answers;
  std::optional<ErrorCode> goaway;

 private:
  void take(const h2::FrameHeader& header, std::span<const uint8_t> payload) {
    switch (static_cast<FrameType>(header.type)) {
      case FrameType::rst_stream:
        resets.emplace(header.stream, ErrorCode{packet::load_be<uint32_t>(payload.data())});
        break;
      case FrameType::goaway:
        goaway = ErrorCode{packet::load_be<uint32_t>(payload.data() + 4)};
        break;
      case FrameType::settings:
        if ((header.flags & h2::kAck) == 0) break;
        check(!announced_.empty());
        decoder_.allow(announced_.front());
        announced_.erase(announced_.begin());
        break;
      case FrameType::headers: {
        check((header.flags & h2::kEndHeaders) != 0);  // ours are short
        Fields& fields = answers[header.stream];
        check(decoder_.decode(payload, UINT64_MAX, fields) == Decoder::Outcome::fine);
        check(decoder_.table() == 0);  // nothing is indexed, however large it may be
        break;
      }
      default:
        break;
    }
  }

  size_t preface_left_;
  Bytes bytes_;
  Decoder decoder_;
  std::vector<uint32_t> announced_;  // not acknowledged
};

class Run {
 public:
  Run(Input& input, h2::Role role, size_t piece)
      : input_(input),
        role_(role),
        piece_(piece),
        context_({.streams = 128, .hpack_bytes = 1 << 18, .receive_budget = 1 << 16}, test::pools(),
                 reasons()),
        connection_(context_, options(role), owner_),
        peer_(role) {
    owner_.connection = &connection_;
  }

  void all() {
    check(connection_.start(now_));
    if (role_ == h2::Role::server) {
      const auto* text = reinterpret_cast<const uint8_t*>(h2::kPreface.data());
      offer({text, h2::kPreface.size()});
    }
    settings({});
    peer_.read(connection_);
    if (role_ == h2::Role::client) {
      for (unsigned i = 0; i < kMaxResponses; ++i) check(connection_.open("10.0.0.1:80", {}));
      peer_.read(connection_);
    }
    while (!input_.empty() && !connection_.closed()) step();
    peer_.read(connection_);
    if (connection_.closed()) check(peer_.goaway == connection_.error());
  }

 private:
  static stats::ReasonCounters& reasons() {
    static stats::ReasonCounters counters;
    return counters;
  }
  static h2::Options options(h2::Role role) {
    h2::Options options;
    options.role = role;
    return options;
  }

  void step() {
    switch (input_.byte() % 8) {
      case 0: {  // anything
        const auto raw = input_.bytes(input_.byte());
        block_.insert(block_.end(), raw.begin(), raw.end());
        break;
      }
      case 1: {  // large names and values, kept in the table or not
        constexpr std::array<uint8_t, 3> kPatterns = {0x40, 0x00, 0x10};
        const uint8_t pattern = kPatterns[input_.byte() % kPatterns.size()];
        const std::string name(input_.byte() * size_t{31}, static_cast<char>(input_.byte()));
        const std::string value(input_.byte() * size_t{67}, static_cast<char>(input_.byte()));
        write_literal(block_, pattern, name, value);
        break;
      }
      case 2: {  // the same field again and again
        const uint8_t index = input_.byte();
        for (unsigned count = input_.byte(); count != 0; --count) {
          write_integer(block_, 0x80, 7, index);
        }
        break;
      }
      case 3:
        write_integer(block_, 0x20, 5, input_.byte() * uint64_t{input_.byte()});
        break;
      case 4:  // what is to be accepted, where nothing else is in the block
        if (role_ == h2::Role::server) {
          write_literal(block_, 0x10, ":method", "CONNECT");
          write_literal(block_, 0x10, ":authority", "10.0.0.1:80");
        } else {
          write_literal(block_, 0x10, ":status", "200");
        }
        break;
      case 5:
        if (settings_sent_ == kMaxSettings) break;
        // Settings overtake a request that is made already.
        if (role_ == h2::Role::client) connection_.open("10.0.0.1:80", {});
        settings(uint32_t{input_.byte()} * 64);
        break;
      default:
        send_block(input_.byte());
        break;
    }
    if (block_.size() > kMostBlock) block_.resize(kMostBlock);
  }

  void settings(std::optional<uint32_t> table) {
    ++settings_sent_;
    Bytes payload;
    if (table) {
      payload.resize(6);
      packet::store_be<uint16_t>(payload.data(),
                                 static_cast<uint16_t>(h2::Setting::header_table_size));
      packet::store_be<uint32_t>(payload.data() + 2, *table);
    }
    peer_.announce(table.value_or(NGHTTP2_DEFAULT_HEADER_TABLE_SIZE));
    frame(FrameType::settings, 0, 0, payload);
  }

  void send_block(uint8_t choice) {
    const bool server = role_ == h2::Role::server;
    if (blocks_ == (server ? kMaxRequests : kMaxResponses)) return block_.clear();
    const uint32_t stream = 2 * blocks_++ + 1;
    const Bytes block = std::exchange(block_, {});
    const auto expected = meant(block);
    if (!server) peer_.read(connection_);
    const unsigned lists = owner_.lists;
    owner_.expected_stream = stream;
    const unsigned pieces = cut(block, stream, choice);
    // Some answers wait, so that settings overtake them.
    if ((choice & 0x80) == 0) peer_.read(connection_);

    const bool flood = block.size() > h2::kMaxHeaderBlock || pieces > h2::kMaxContinuations + 1;
    if (flood || expected == Decoder::Outcome::too_much) {
      check(connection_.closed() && connection_.error() == ErrorCode::enhance_your_calm);
    } else if (expected == Decoder::Outcome::malformed) {
      check(connection_.closed() && connection_.error() == ErrorCode::compression_error);
    } else {
      check(!connection_.closed());
      check(owner_.lists - lists <= 1);
      if ((choice & 0x80) == 0 && server) answered(stream, lists != owner_.lists);
    }
  }

  // What the second decoder says; the owner is told no more than it.
  Decoder::Outcome meant(std::span<const uint8_t> block) {
    owner_.expected.clear();
    const auto outcome = decoder_.decode(block, uint64_t{4} * h2::kMaxHeaderList, owner_.expected);
    owner_.within_limits = outcome == Decoder::Outcome::fine &&
                           decoder_.size <= h2::kMaxHeaderList &&
                           owner_.expected.size() <= h2::kMaxFields;
    return outcome;
  }

  // A request is told, answered or refused, and one beyond the limits is refused for that.
  void answered(uint32_t stream, bool told) {
    check(told || peer_.knows(stream));
    const auto reset = peer_.resets.find(stream);
    const bool calm = reset != peer_.resets.end() && reset->second == ErrorCode::enhance_your_calm;
    check(calm == !owner_.within_limits);
  }

  // Into frames, at places that the input says. Returns how many.
  unsigned cut(std::span<const uint8_t> block, uint32_t stream, uint8_t choice) {
    unsigned sent = 0;
    const unsigned wanted = 1 + (choice >> 3 & 0xf);
    do {
      const size_t rest = wanted > sent + 1 ? block.size() * input_.byte() / 256 : block.size();
      const auto part = block.first(std::min<size_t>(rest, h2::kMaxFrameSize));
      block = block.subspan(part.size());
      const bool last = block.empty() && sent + 1 >= wanted;
      const uint8_t flags = (last ? h2::kEndHeaders : 0) | (sent == 0 ? h2::kEndStream : 0);
      frame(sent == 0 ? FrameType::headers : FrameType::continuation, flags, stream, part);
      ++sent;
      if (last) break;
    } while (!connection_.closed());
    return sent;
  }

  void frame(FrameType type, uint8_t flags, uint32_t stream, std::span<const uint8_t> payload) {
    Bytes bytes(h2::kFrameHeaderSize);
    const h2::FrameHeader header{static_cast<uint32_t>(payload.size()), static_cast<uint8_t>(type),
                                 flags, stream};
    header.write(std::span<uint8_t, h2::kFrameHeaderSize>(bytes.data(), h2::kFrameHeaderSize));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    offer(bytes);
  }

  void offer(std::span<const uint8_t> bytes) {
    // So many at most that buffers last.
    const size_t piece = std::max(piece_, bytes.size() / 32);
    while (!bytes.empty() && !connection_.closed()) {
      const auto part = bytes.first(std::min(piece, bytes.size()));
      bytes = bytes.subspan(part.size());
      check(unread_.append_copy(part, test::pools().small));
      if (connection_.receive(unread_, now_) != h2::ReceiveStatus::blocked) continue;
      peer_.read(connection_);
      connection_.receive(unread_, now_);
    }
  }

  Input& input_;
  const h2::Role role_;
  const size_t piece_;
  const timer::Instant now_{std::chrono::seconds(1)};
  h2::Context context_;
  Owner owner_;
  h2::Connection connection_;
  Peer peer_;
  Decoder decoder_;
  packet::Chain unread_;
  Bytes block_;
  unsigned blocks_ = 0;
  unsigned settings_sent_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_eal();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const unsigned before = test::mbufs_in_use();
  {
    Input input(data, size);
    const uint8_t first = input.byte();
    Run run(input, (first & 1) != 0 ? h2::Role::client : h2::Role::server, 1 + (first >> 1) * 41);
    run.all();
  }
  check(test::mbufs_in_use() == before);
  return 0;
}
