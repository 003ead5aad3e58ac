// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "h2/connection.h"

#include <algorithm>
#include <cassert>

#include "packet/endian.h"
#include "packet/packed.h"

namespace isthmus::h2 {
namespace {

constexpr timer::Duration kBlockTimeout = std::chrono::seconds(10);

nghttp2_nv never_indexed(const Field& field) {
  // nghttp2 takes pointers to mutable bytes and doesn't write them.
  auto* name = reinterpret_cast<uint8_t*>(const_cast<char*>(field.name.data()));
  auto* value = reinterpret_cast<uint8_t*>(const_cast<char*>(field.value.data()));
  return {name, value, field.name.size(), field.value.size(), NGHTTP2_NV_FLAG_NO_INDEX};
}

}  // namespace

Connection::Connection(Context& context, const Options& options, Handler& handler)
    : context_(context), handler_(handler), options_(options), window_(options.connection_window) {
  assert(options_.max_streams <= kMaxStreams);
  assert(options_.stream_window >= kDefaultWindow && options_.connection_window >= kDefaultWindow);
  assert(options_.largest_window < 1u << 30);
}

Connection::~Connection() {
  closed_ = true;
  while (table_.size() != 0) {
    Stream& stream = *table_.streams().back();
    forget(stream, stream.occupied_);
    drop_queued(stream);
    table_.erase(stream);
    context_.give_back(stream);
  }
  nghttp2_hd_inflate_del(inflater_);
}

bool Connection::start(timer::Instant now) {
  now_ = now;
  last_heard_ = now;
  if (nghttp2_hd_inflate_new2(&inflater_, context_.arena_.nghttp2()) != 0) {
    inflater_ = nullptr;
    context_.reasons_.count(stats::Reason::h2_no_hpack_memory);
    return false;
  }
  if (options_.role == Role::server) {
    preface_left_ = static_cast<uint8_t>(kPreface.size());
    settings_deadline_ = now + options_.settings_timeout;  // of the preface, and then of the ACK
    return true;
  }
  std::copy(kPreface.begin(), kPreface.end(), control_.begin());
  control_used_ = static_cast<uint16_t>(kPreface.size());
  put_settings();
  return true;
}

void Connection::put_settings() {
  struct Entry {
    Setting setting;
    uint32_t value;
  };
  const Entry role_entry = options_.role == Role::server
                               ? Entry{Setting::max_concurrent_streams, options_.max_streams}
                               : Entry{Setting::enable_push, 0};
  const Entry entries[] = {role_entry,
                           {Setting::initial_window_size, options_.stream_window},
                           {Setting::max_frame_size, kMaxFrameSize},
                           {Setting::max_header_list_size, kMaxHeaderList}};
  std::array<uint8_t, 6 * std::size(entries)> payload;
  uint8_t* at = payload.data();
  for (const Entry& entry : entries) {
    packet::store_be<uint16_t>(at, static_cast<uint16_t>(entry.setting));
    packet::store_be<uint32_t>(at + 2, entry.value);
    at += 6;
  }
  put_control(FrameType::settings, 0, 0, payload);
  settings_deadline_ = now_ + options_.settings_timeout;
  if (options_.connection_window > kDefaultWindow) {
    std::array<uint8_t, 4> increment;
    packet::store_be<uint32_t>(increment.data(), options_.connection_window - kDefaultWindow);
    put_control(FrameType::window_update, 0, 0, increment);
    receive_window_ = options_.connection_window;
  }
}

bool Connection::put_control(FrameType type, uint8_t flags, uint32_t stream,
                             std::span<const uint8_t> payload) {
  if (control_used_ + kFrameHeaderSize + payload.size() > control_.size()) return false;
  const FrameHeader header = {static_cast<uint32_t>(payload.size()), static_cast<uint8_t>(type),
                              flags, stream};
  uint8_t* at = control_.data() + control_used_;
  header.write(std::span<uint8_t, kFrameHeaderSize>(at, kFrameHeaderSize));
  std::copy(payload.begin(), payload.end(), at + kFrameHeaderSize);
  control_used_ = static_cast<uint16_t>(control_used_ + kFrameHeaderSize + payload.size());
  return true;
}

void Connection::put_goaway(uint32_t last, ErrorCode code) {
  last_named_ = std::min(last_named_, last);
  std::array<uint8_t, 8> payload;
  packet::store_be<uint32_t>(payload.data(), last_named_);
  packet::store_be<uint32_t>(payload.data() + 4, static_cast<uint32_t>(code));
  put_control(FrameType::goaway, 0, 0, payload);
  goaway_sent_ = true;
}

// -- streams -------------------------------------------------------------------------------------

Stream* Connection::make_stream(uint32_t id) {
  Stream* stream = context_.take_stream();
  if (stream == nullptr) {
    context_.reasons_.count(stats::Reason::h2_streams_full);
    return nullptr;
  }
  stream->connection_ = this;
  stream->id_ = id;
  stream->send_window_ = static_cast<int32_t>(peer_window_);
  stream->receive_window_ = static_cast<int32_t>(options_.stream_window);
  table_.append(*stream);
  return stream;
}

bool Connection::reusable() const {
  return !closed_ && !draining() && next_id_ <= kMaxWindow;
}

bool Connection::can_open() const {
  const uint32_t limit = std::min<uint32_t>(options_.max_streams, peer_streams_);
  return reusable() && table_.size() < limit;
}

Stream* Connection::open(std::string_view authority, std::span<const Field> fields) {
  assert(options_.role == Role::client);
  if (!can_open()) return nullptr;
  Stream* stream = make_stream(next_id_);
  if (stream == nullptr) return nullptr;
  stream->tunnel_ = true;
  stream->idle_ = true;
  const Field pseudo[] = {{":method", "CONNECT"}, {":authority", authority}};
  if (!write_block(*stream, pseudo, fields, false)) {
    context_.reasons_.count(stats::Reason::packet_no_buffer);
    table_.erase(*stream);
    context_.give_back(*stream);
    return nullptr;
  }
  next_id_ += 2;
  return stream;
}

bool Connection::respond(Stream& stream, uint16_t status, std::span<const Field> fields, bool end) {
  assert(options_.role == Role::server && status >= 200 && status <= 999);
  if (stream.reset_) return true;
  const char digits[] = {static_cast<char>('0' + status / 100),
                         static_cast<char>('0' + status / 10 % 10),
                         static_cast<char>('0' + status % 10)};
  const Field pseudo[] = {{":status", {digits, sizeof digits}}};
  if (!write_block(stream, pseudo, fields, end)) return false;
  stream.answered_ = true;
  return true;
}

bool Connection::write_block(Stream& stream, std::span<const Field> pseudo,
                             std::span<const Field> fields, bool end) {
  std::array<nghttp2_nv, 16> list;
  if (pseudo.size() + fields.size() > list.size()) return false;
  auto at = std::transform(pseudo.begin(), pseudo.end(), list.begin(), never_indexed);
  at = std::transform(fields.begin(), fields.end(), at, never_indexed);
  uint8_t* to = context_.encoded_.data();
  // A byte less, for a table size update.
  const ssize_t size = nghttp2_hd_deflate_hd(context_.deflater_, to, kMaxFrameSize - 1, list.data(),
                                             static_cast<size_t>(at - list.begin()));
  if (size < 0) return false;
  if (!stream.block_.append_copy({to, static_cast<size_t>(size)}, context_.pools_.small)) {
    return false;
  }
  if (end) stream.end_wanted_ = true;
  mark(stream, Stream::kHeaders);
  return true;
}

packet::Chain Connection::read(Stream& stream, uint32_t max) {
  uint32_t n = std::min(max, stream.received_.size());
  packet::Chain bytes = stream.received_.split_front(n, context_.pools_.clones);
  if (bytes.empty() && n != 0) {
    n = stream.received_.whole_segments(n);
    bytes = stream.received_.split_front(n, context_.pools_.clones);
  }
  uint64_t freed = stream.occupied_;
  if (!stream.received_.empty()) {
    freed = bytes.occupied();
    // A buffer that was cut in two stays where its rest is.
    if (!bytes.empty() && !RTE_MBUF_DIRECT(bytes.tail())) {
      freed -= packet::memory_of(bytes.tail());
    }
  }
  forget(stream, freed);
  const auto owed = static_cast<uint32_t>(std::min<uint64_t>(n, withheld_));
  withheld_ -= owed;
  credit_connection(owed);
  grow_windows(n);
  credit_stream(stream, n);
  return bytes;
}

// Twice what is read in a round trip, or at once: then the sender is not held back while its credit
// is on the way. Looked at when so much has been read that the window might be short; not while
// readers are slow altogether.
void Connection::grow_windows(uint32_t read) {
  if (round_trip_ == timer::Duration()) return;
  read_ += read;
  if (2 * read_ <= window_) return;
  const timer::Duration round =
      std::max<timer::Duration>(round_trip_, std::chrono::milliseconds(1));
  const timer::Duration elapsed = now_ - read_since_;
  if (elapsed < round) return;
  const uint64_t in_round =
      read_ * static_cast<uint64_t>(round.count()) / static_cast<uint64_t>(elapsed.count());
  const uint64_t wanted =
      std::min<uint64_t>(2 * std::max<uint64_t>(in_round, read), options_.largest_window);
  if (wanted > window_ && context_.received_ <= context_.receive_budget_ / 2) {
    credit_connection(static_cast<uint32_t>(wanted) - window_);
    window_ = static_cast<uint32_t>(wanted);
  }
  read_ = 0;
  read_since_ = now_;
}

void Connection::forget(Stream& stream, uint64_t occupied) {
  occupied = std::min(occupied, stream.occupied_);
  stream.occupied_ -= occupied;
  occupied_ -= occupied;
  context_.received_ -= occupied;
}

void Connection::drop_received(Stream& stream) {
  const uint32_t n = stream.received_.size();
  stream.received_.clear();
  forget(stream, stream.occupied_);
  const auto owed = static_cast<uint32_t>(std::min<uint64_t>(n, withheld_));
  withheld_ -= owed;
  credit_connection(owed);
}

void Connection::credit_connection(uint32_t bytes) {
  credit_ += bytes;
}

void Connection::credit_stream(Stream& stream, uint32_t bytes) {
  if (stream.end_received_ || stream.reset_) return;
  stream.credit_ += bytes;
  // What the connection has grown by, a stream that is read may have, too.
  const int64_t window = int64_t{options_.stream_window} + window_ - options_.connection_window;
  const int64_t granted =
      int64_t{stream.receive_window_} + stream.credit_ + stream.received_.size();
  if (granted < window) stream.credit_ += static_cast<uint32_t>(window - granted);
  // Half a window at once: Envoy closes connections for too many updates.
  if (stream.credit_ >= options_.stream_window / 2) mark(stream, Stream::kWindowUpdate);
}

uint32_t Connection::send_room(Stream& stream) const {
  if (stream.reset_ || stream.end_wanted_) return 0;
  const uint32_t queued = stream.to_send_.size();
  const uint64_t share = context_.queue_share();
  if (queued < options_.send_queue && stream.waiting_ < share) {
    return static_cast<uint32_t>(
        std::min<uint64_t>(options_.send_queue - queued, share - stream.waiting_));
  }
  stream.short_of_room_ = true;
  return 0;
}

// So that whoever writes is not asked for every few bytes.
bool Connection::is_half_full(const Stream& stream) const {
  return stream.to_send_.size() >= options_.send_queue / 2 ||
         stream.waiting_ >= context_.queue_share() / 2;
}

void Connection::drop_queued(Stream& stream) {
  stream.to_send_.clear();
  leave_queue(stream, stream.waiting_);
}

void Connection::leave_queue(Stream& stream, uint64_t memory) {
  memory = stream.to_send_.empty() ? stream.waiting_ : std::min(memory, stream.waiting_);
  stream.waiting_ -= memory;
  context_.queued_ -= memory;
}

void Connection::write(Stream& stream, packet::Chain&& bytes) {
  packet::Chain taken = std::move(bytes);
  if (stream.reset_ || stream.end_wanted_ || closed_ || taken.empty()) return;
  const bool goes = stream.to_send_.empty() && stream.send_window_ > 0 && send_window_ > 0;
  uint64_t memory = 0;
  if (goes) {
    memory = taken.occupied();
    stream.to_send_.append(std::move(taken));
  } else {
    memory = packet::append_packed(stream.to_send_, std::move(taken), context_.pools_.small);
  }
  stream.waiting_ += memory;
  context_.queued_ += memory;
  if (is_half_full(stream)) stream.short_of_room_ = true;
  mark_ready(stream);
}

void Connection::end(Stream& stream) {
  if (stream.reset_ || stream.end_wanted_) return;
  stream.end_wanted_ = true;
  if (stream.to_send_.empty()) mark(stream, Stream::kEnd);
}

void Connection::reset(Stream& stream, ErrorCode code) {
  if (stream.finished()) return;
  local_reset(stream, code);
}

void Connection::local_reset(Stream& stream, ErrorCode code) {
  stream.reset_ = true;
  stream.reset_by_us_ = true;
  ready_was_reset_ = ready_was_reset_ || stream.ready_;
  stream.reset_code_ = code;
  drop_queued(stream);
  drop_received(stream);
  // NO_ERROR follows a complete answer, which still has to go.
  if (code != ErrorCode::no_error) {
    stream.block_.clear();
    stream.pending_ = 0;
  }
  if (stream.idle_) {
    // The peer has never heard of it.
    stream.reset_done_ = true;
  } else {
    mark(stream, Stream::kReset);
  }
}

void Connection::release(Stream& stream) {
  stream.released_ = true;
  stream.user = nullptr;
  if (!stream.reset_ && !(stream.end_wanted_ && stream.end_received_)) {
    const bool answered = stream.end_wanted_ && stream.to_send_.empty();
    local_reset(stream, answered ? ErrorCode::no_error : ErrorCode::cancel);
  }
  drop_received(stream);
  free_if_done(stream);
}

void Connection::mark(Stream& stream, uint8_t pending) {
  stream.pending_ |= pending;
  // Nobody serves the lists of a connection that is over, and slots leave them by being freed:
  // their links then belong to the free list, or to another connection.
  if (stream.queued_ || closed_) return;
  stream.queued_ = true;
  pending_.push(stream);
}

void Connection::mark_ready(Stream& stream) {
  if (stream.ready_ || closed_ || stream.to_send_.empty() || stream.send_window_ <= 0) return;
  stream.ready_ = true;
  fresh_.push(stream);
}

void Connection::free_if_done(Stream& stream) {
  if (!stream.released_) return;
  const bool done = stream.reset_done_ || (stream.end_received_ && stream.end_sent_);
  // A connection that is over serves its lists no more.
  if (!closed_ && (!done || stream.queued_ || stream.ready_)) return;
  if (stream.received_.size() != 0) drop_received(stream);
  drop_queued(stream);
  table_.erase(stream);
  closed_streams_.add(stream.id_, stream.reset_by_us_);
  context_.give_back(stream);
}

// -- life ----------------------------------------------------------------------------------------

void Connection::drain(timer::Instant now) {
  if (closed_ || goaway_sent_) return;
  // SETTINGS must be the server's first frame.
  drain_wanted_ = starting();
  if (drain_wanted_) return;
  if (options_.role == Role::client) {
    put_goaway(0, ErrorCode::no_error);
    return;
  }
  // The first names no stream, so that what is on its way is still served.
  put_goaway(kMaxWindow, ErrorCode::no_error);
  second_goaway_ = now + options_.goaway_grace;
}

void Connection::close(ErrorCode code, stats::Reason reason) {
  if (!closed_) fail(code, reason);
}

void Connection::fail(ErrorCode code, stats::Reason reason) {
  context_.reasons_.count(reason);
  put_goaway(last_peer_id_, code);
  closed_ = true;
  error_ = code;
  reason_ = reason;
  block_.clear();
}

timer::Instant Connection::deadline() const {
  if (closed_) return timer::kNever;
  timer::Instant first = std::min(settings_deadline_, second_goaway_);
  if (block_started_ != timer::kNever) first = std::min(first, block_started_ + kBlockTimeout);
  if (ping_sent_ != timer::kNever) {
    first = std::min(first, ping_sent_ + options_.ping_timeout);
  } else if (options_.ping_after.count() != 0) {
    first = std::min(first, last_heard_ + options_.ping_after);
  }
  return first;
}

void Connection::advance(timer::Instant now) {
  now_ = now;
  if (closed_) return;
  if (overfull()) {
    // What the peer sends is not taken: its silence is of our making.
    last_heard_ = now;
    ping_sent_ = timer::kNever;
    if (block_started_ != timer::kNever) block_started_ = now;
  }
  if (now >= settings_deadline_) {
    const bool silent = starting();
    return fail(silent ? ErrorCode::protocol_error : ErrorCode::settings_timeout,
                silent ? stats::Reason::h2_bad_preface : stats::Reason::h2_settings_timeout);
  }
  if (block_started_ != timer::kNever && now >= block_started_ + kBlockTimeout) {
    return fail(ErrorCode::enhance_your_calm, stats::Reason::h2_slow_headers);
  }
  if (now >= second_goaway_) {
    second_goaway_ = timer::kNever;
    refusing_ = true;
    put_goaway(last_peer_id_, ErrorCode::no_error);
  }
  if (ping_sent_ != timer::kNever) {
    if (now >= ping_sent_ + options_.ping_timeout) {
      fail(ErrorCode::no_error, stats::Reason::h2_ping_timeout);
    }
    return;
  }
  if (options_.ping_after.count() != 0 && now >= last_heard_ + options_.ping_after) {
    constexpr std::array<uint8_t, 8> kOpaque = {'i', 's', 't', 'h', 'm', 'u', 's', 0};
    if (put_control(FrameType::ping, 0, 0, kOpaque)) ping_sent_ = now;
  }
}

}  // namespace isthmus::h2
