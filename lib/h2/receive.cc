// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The frame machine: bytes to frames, and what each frame does (RFC 9113 sections 4 to 6).
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "h2/connection.h"
#include "packet/endian.h"

namespace isthmus::h2 {
namespace {

using packet::load_be;

// Payloads up to this are copied out of the buffer they came in, which may be 16 KB large.
constexpr uint32_t kCopiedPayload = 512;

// Takes the first bytes of a chain into what `used` bytes of a field have left open.
template <size_t N>
uint8_t collect(packet::Chain& bytes, std::array<uint8_t, N>& to, uint8_t used, uint8_t wanted) {
  const auto n = std::min<uint32_t>(bytes.size(), wanted - used);
  bytes.copy_out(0, std::span(to).subspan(used, n));
  bytes.drop_front(n);
  return static_cast<uint8_t>(used + n);
}

}  // namespace

ReceiveStatus Connection::receive(packet::Chain& bytes, timer::Instant now) {
  now_ = now;
  while (true) {
    if (closed_) return ReceiveStatus::closed;
    if (blocked()) return ReceiveStatus::blocked;
    if (bytes.empty()) return ReceiveStatus::ok;
    bool going = false;
    if (preface_left_ != 0) {
      going = take_preface(bytes);
    } else if (!in_frame_) {
      going = take_header(bytes);
    } else {
      going = take_payload(bytes);
    }
    if (!going) return closed_ ? ReceiveStatus::closed : ReceiveStatus::no_buffer;
  }
}

bool Connection::take_preface(packet::Chain& bytes) {
  std::array<uint8_t, kPreface.size()> got;
  const uint32_t n = std::min<uint32_t>(bytes.size(), preface_left_);
  bytes.copy_out(0, std::span(got).first(n));
  if (std::memcmp(got.data(), kPreface.data() + kPreface.size() - preface_left_, n) != 0) {
    return connection_error(ErrorCode::protocol_error, stats::Reason::h2_bad_preface);
  }
  bytes.drop_front(n);
  preface_left_ = static_cast<uint8_t>(preface_left_ - n);
  if (preface_left_ != 0) return true;
  put_settings();
  if (drain_wanted_) drain(now_);
  return true;
}

bool Connection::take_header(packet::Chain& bytes) {
  header_used_ = collect(bytes, header_, header_used_, kFrameHeaderSize);
  if (header_used_ < kFrameHeaderSize) return true;
  header_used_ = 0;
  frame_ = FrameHeader::parse(header_);
  in_frame_ = true;
  body_left_ = frame_.length;
  body_ = Body::ignored;
  padding_left_ = 0;
  prefix_used_ = prefix_wanted_ = 0;
  last_heard_ = now_;
  ping_sent_ = timer::kNever;
  return begin_frame() && take_payload(bytes);
}

bool Connection::connection_error(ErrorCode code, stats::Reason reason) {
  fail(code, reason);
  return false;
}

bool Connection::spend(Budget& budget, Rate rate, stats::Reason reason) {
  return budget.take(rate, now_) || connection_error(ErrorCode::enhance_your_calm, reason);
}

bool Connection::is_idle(uint32_t id) const {
  const bool peers = (id % 2 == 1) == (options_.role == Role::server);
  if (!peers) return options_.role == Role::server || id >= next_id_;
  return options_.role == Role::client || id > last_peer_id_;
}

// A stream error: RST_STREAM, and the owner is told. Whoever makes us send many is cut off.
bool Connection::stream_error(uint32_t id, ErrorCode code) {
  if (!spend(forced_resets_, kForcedResets, stats::Reason::h2_forced_resets)) return false;
  context_.reasons_.count(stats::Reason::h2_stream_error);
  Stream* stream = table_.find(id);
  if (stream != nullptr && !stream->reset_) {
    local_reset(*stream, code);
    if (!stream->released_) handler_.on_reset(*stream, code, false);
    return true;
  }
  put_reset(id, code);
  return true;
}

// Of a stream that has no slot, or no use for it any more.
void Connection::put_reset(uint32_t id, ErrorCode code) {
  std::array<uint8_t, 4> payload;
  packet::store_be<uint32_t>(payload.data(), static_cast<uint32_t>(code));
  put_control(FrameType::rst_stream, 0, id, payload);
  if (table_.find(id) == nullptr) closed_streams_.add(id, true);
}

bool Connection::begin_frame() {
  const auto type = static_cast<FrameType>(frame_.type);
  const auto malformed = stats::Reason::h2_malformed_frame;
  if (frame_.length > kMaxFrameSize) {
    return connection_error(ErrorCode::frame_size_error, malformed);
  }
  if (block_stream_ != 0 && (type != FrameType::continuation || frame_.stream != block_stream_)) {
    return connection_error(ErrorCode::protocol_error, malformed);
  }
  const bool ack = (frame_.flags & kAck) != 0;
  if (!settings_received_ && (type != FrameType::settings || ack)) {
    return connection_error(ErrorCode::protocol_error, stats::Reason::h2_bad_preface);
  }
  switch (type) {
    case FrameType::data:
      return begin_data();
    case FrameType::headers:
      return begin_headers();
    case FrameType::continuation:
      return begin_continuation();
    case FrameType::settings:
      return begin_settings();
    case FrameType::ping:
      return check_fixed(8, false);
    case FrameType::rst_stream:
      return check_fixed(4, true);
    case FrameType::window_update:
      prefix_wanted_ = 4;
      if (frame_.length == 4) return true;
      return connection_error(ErrorCode::frame_size_error, malformed);
    case FrameType::priority:
      if (frame_.stream == 0) return connection_error(ErrorCode::protocol_error, malformed);
      if (!spend_ignored()) return false;
      if (frame_.length == 5) {
        prefix_wanted_ = 5;
        return true;
      }
      if (!is_idle(frame_.stream)) {
        return stream_error(frame_.stream, ErrorCode::frame_size_error);
      }
      return connection_error(ErrorCode::frame_size_error, malformed);
    case FrameType::goaway:
      if (frame_.stream != 0) return connection_error(ErrorCode::protocol_error, malformed);
      if (frame_.length < 8) return connection_error(ErrorCode::frame_size_error, malformed);
      prefix_wanted_ = 8;
      return true;
    case FrameType::push_promise:
      return connection_error(ErrorCode::protocol_error, malformed);
  }
  return spend_ignored();
}

bool Connection::spend_ignored() {
  return spend(ignored_frames_, kIgnoredFrames, stats::Reason::h2_ignored_frames);
}

bool Connection::check_fixed(uint32_t size, bool on_stream) {
  const auto malformed = stats::Reason::h2_malformed_frame;
  if ((frame_.stream != 0) != on_stream) {
    return connection_error(ErrorCode::protocol_error, malformed);
  }
  if (frame_.length != size) return connection_error(ErrorCode::frame_size_error, malformed);
  prefix_wanted_ = static_cast<uint8_t>(size);
  return true;
}

bool Connection::begin_settings() {
  const auto malformed = stats::Reason::h2_malformed_frame;
  if (frame_.stream != 0) return connection_error(ErrorCode::protocol_error, malformed);
  const bool ack = (frame_.flags & kAck) != 0;
  if (ack ? frame_.length != 0 : frame_.length % 6 != 0) {
    return connection_error(ErrorCode::frame_size_error, malformed);
  }
  if (ack && settings_deadline_ == timer::kNever) return spend_ignored();
  if (!ack && !spend(settings_, kSettings, stats::Reason::h2_settings_flood)) return false;
  if (frame_.length > kMaxSettings * 6) {
    return connection_error(ErrorCode::enhance_your_calm, stats::Reason::h2_settings_flood);
  }
  if (frame_.length != 0) prefix_wanted_ = 6;
  return true;
}

bool Connection::begin_data() {
  const auto malformed = stats::Reason::h2_malformed_frame;
  const uint32_t id = frame_.stream;
  if (id == 0 || is_idle(id)) return connection_error(ErrorCode::protocol_error, malformed);
  if (frame_.length > receive_window_) {
    return connection_error(ErrorCode::flow_control_error, stats::Reason::h2_flow_control);
  }
  receive_window_ -= frame_.length;
  if ((frame_.flags & kPadded) != 0) {
    if (frame_.length == 0) return connection_error(ErrorCode::frame_size_error, malformed);
    prefix_wanted_ = 1;
  }
  body_ = Body::data;
  Stream* stream = table_.find(id);
  if (stream == nullptr) {
    const bool late = closed_streams_.find(id) == ClosedStreams::How::reset_by_us;
    return late || stream_error(id, ErrorCode::stream_closed);
  }
  if (stream->reset_) {
    return stream->reset_by_us_ || stream_error(id, ErrorCode::stream_closed);
  }
  if (stream->end_received_) return stream_error(id, ErrorCode::stream_closed);
  if (options_.role == Role::client && !stream->answered_) {
    return stream_error(id, ErrorCode::protocol_error);
  }
  if (frame_.length > static_cast<uint32_t>(std::max(stream->receive_window_, 0))) {
    return stream_error(id, ErrorCode::flow_control_error);
  }
  stream->receive_window_ -= static_cast<int32_t>(frame_.length);
  return true;
}

bool Connection::begin_headers() {
  const auto malformed = stats::Reason::h2_malformed_frame;
  const uint32_t id = frame_.stream;
  const bool odd = id % 2 == 1;
  if (!odd || (options_.role == Role::client && id >= next_id_)) {
    return connection_error(ErrorCode::protocol_error, malformed);
  }
  if ((frame_.flags & kPadded) != 0) prefix_wanted_ = 1;
  if ((frame_.flags & kPriority) != 0) prefix_wanted_ = static_cast<uint8_t>(prefix_wanted_ + 5);
  if (frame_.length < prefix_wanted_) {
    return connection_error(ErrorCode::frame_size_error, malformed);
  }
  block_is_new_ = options_.role == Role::server && id > last_peer_id_;
  if (block_is_new_) {
    last_peer_id_ = id;
  } else if (table_.find(id) == nullptr) {
    const ClosedStreams::How how = closed_streams_.find(id);
    if (how == ClosedStreams::How::otherwise) {
      return connection_error(ErrorCode::stream_closed, malformed);
    }
    // The identifier was skipped, or is long forgotten.
    if (how == ClosedStreams::How::unknown) {
      return connection_error(ErrorCode::protocol_error, malformed);
    }
  }
  block_stream_ = id;
  block_flags_ = frame_.flags;
  block_started_ = now_;
  continuations_ = 0;
  block_self_dependent_ = false;
  body_ = Body::fragment;
  return true;
}

bool Connection::begin_continuation() {
  if (block_stream_ == 0) {
    return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
  }
  if (++continuations_ > kMaxContinuations) {
    return connection_error(ErrorCode::enhance_your_calm, stats::Reason::h2_continuation_flood);
  }
  body_ = Body::fragment;
  return true;
}

bool Connection::take_payload(packet::Chain& bytes) {
  while (prefix_used_ < prefix_wanted_) {
    prefix_used_ = collect(bytes, prefix_, prefix_used_, prefix_wanted_);
    if (prefix_used_ < prefix_wanted_) return true;
    body_left_ -= prefix_wanted_;
    if (!on_prefix()) return false;
  }
  if (body_left_ != 0) {
    if (!bytes.empty() && !take_body(bytes)) return false;
    if (body_left_ != 0) return true;
  }
  if (padding_left_ != 0) {
    const uint32_t n = std::min(padding_left_, bytes.size());
    bytes.drop_front(n);
    padding_left_ -= n;
    if (padding_left_ != 0) return true;
  }
  in_frame_ = false;
  return finish_frame();
}

bool Connection::on_prefix() {
  switch (static_cast<FrameType>(frame_.type)) {
    case FrameType::settings: {
      const auto setting = static_cast<Setting>(load_be<uint16_t>(prefix_.data()));
      if (!on_setting(setting, load_be<uint32_t>(prefix_.data() + 2))) return false;
      if (body_left_ != 0) prefix_used_ = 0;
      return true;
    }
    case FrameType::ping:
      return on_ping();
    case FrameType::goaway:
      return on_goaway();
    case FrameType::window_update:
      return on_window_update();
    case FrameType::rst_stream:
      return on_rst_stream();
    case FrameType::priority:
      return on_priority();
    default:
      break;
  }
  // DATA and HEADERS.
  if ((frame_.flags & kPadded) != 0) {
    padding_left_ = prefix_[0];
    if (padding_left_ > body_left_) {
      return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
    }
    body_left_ -= padding_left_;
  }
  if (body_ == Body::data) {
    // Padding counts against the windows and is never read by anybody.
    credit_connection(padding_left_ + 1);
    Stream* stream = table_.find(frame_.stream);
    if (stream != nullptr) credit_stream(*stream, padding_left_ + 1);
  } else if ((frame_.flags & kPriority) != 0) {
    const uint8_t* dependency = prefix_.data() + prefix_wanted_ - 5;
    block_self_dependent_ = (load_be<uint32_t>(dependency) & kMaxWindow) == frame_.stream;
  }
  return true;
}

bool Connection::take_body(packet::Chain& bytes) {
  const uint32_t n = std::min(body_left_, bytes.size());
  if (body_ == Body::data) {
    if (!deliver(bytes, n)) return false;
  } else if (body_ == Body::fragment) {
    if (block_.size() + n > kMaxHeaderBlock) {
      return connection_error(ErrorCode::enhance_your_calm, stats::Reason::h2_header_list);
    }
    if (!keep_fragment(bytes, n)) return false;
  } else {
    bytes.drop_front(n);
  }
  body_left_ -= n;
  return true;
}

// A block may come byte by byte, and waits for its end.
bool Connection::keep_fragment(packet::Chain& bytes, uint32_t n) {
  if (n > kCopiedPayload) {
    packet::Chain part = bytes.split_front(n, context_.pools_.clones);
    if (part.empty()) return false;
    block_.append(std::move(part));
    return true;
  }
  std::array<uint8_t, kCopiedPayload> small;
  bytes.copy_out(0, std::span(small).first(n));
  if (!block_.append_copy(std::span(small).first(n), context_.pools_.small)) return false;
  bytes.drop_front(n);
  return true;
}

// n bytes of DATA to their stream, or nowhere when it doesn't want them any more.
bool Connection::deliver(packet::Chain& bytes, uint32_t n) {
  Stream* stream = table_.find(frame_.stream);
  const bool wanted = stream != nullptr && !stream->reset_ && !stream->released_;
  if (!wanted) {
    bytes.drop_front(n);
    credit_connection(n);
    if (stream == nullptr || stream->reset_) return true;
    credit_stream(*stream, n);
    if (!stream->has_length_) return true;
    if (n > stream->body_left_) return stream_error(stream->id_, ErrorCode::protocol_error);
    stream->body_left_ -= n;
    return true;
  }
  if (!keep(*stream, bytes, n)) return false;
  // A slow reader holds up its own stream; only above the worker's budget does it hold up its
  // connection.
  if (context_.received_ <= context_.receive_budget_) {
    credit_connection(n);
  } else {
    withheld_ += n;
  }
  handler_.on_readable(*stream);
  return true;
}

bool Connection::keep(Stream& stream, packet::Chain& bytes, uint32_t n) {
  uint64_t weight = 0;
  if (n > kCopiedPayload) {
    packet::Chain part = bytes.split_front(n, context_.pools_.clones);
    if (part.empty()) return false;
    weight = part.occupied();
    stream.received_.append(std::move(part));
  } else {
    std::array<uint8_t, kCopiedPayload> small;
    bytes.copy_out(0, std::span(small).first(n));
    const rte_mbuf* tail = stream.received_.tail();
    if (!stream.received_.append_copy(std::span(small).first(n), context_.pools_.small)) {
      return false;
    }
    bytes.drop_front(n);
    const rte_mbuf* last = stream.received_.tail();
    if (last != tail) weight = packet::memory_of(last);
  }
  stream.occupied_ += weight;
  occupied_ += weight;
  context_.received_ += weight;
  return true;
}

bool Connection::finish_frame() {
  switch (static_cast<FrameType>(frame_.type)) {
    case FrameType::data:
      return on_data_end();
    case FrameType::headers:
    case FrameType::continuation:
      return (frame_.flags & kEndHeaders) == 0 || finish_block();
    case FrameType::settings:
      if ((frame_.flags & kAck) != 0) {
        settings_deadline_ = timer::kNever;
        return true;
      }
      settings_received_ = true;
      if (std::exchange(table_shrinks_, false)) table_size_update_ = true;
      put_control(FrameType::settings, kAck, 0, {});
      return true;
    default:
      return true;
  }
}

bool Connection::on_data_end() {
  const bool end = (frame_.flags & kEndStream) != 0;
  const uint32_t overhead = (frame_.flags & kPadded) != 0 ? 1u + prefix_[0] : 0u;
  if (frame_.length == overhead && !end &&
      !spend(empty_frames_, kEmptyFrames, stats::Reason::h2_empty_frames)) {
    return false;
  }
  Stream* stream = table_.find(frame_.stream);
  if (!end || stream == nullptr || stream->reset_) return true;
  return on_stream_end(*stream);
}

// -- control frames ------------------------------------------------------------------------------

bool Connection::on_setting(Setting setting, uint32_t value) {
  const auto malformed = stats::Reason::h2_malformed_frame;
  switch (setting) {
    case Setting::header_table_size:
      // We index nothing, but a decoder whose table shrinks by our ACK waits to be told so.
      if (value < peer_table_) table_shrinks_ = true;
      peer_table_ = value;
      return true;
    case Setting::enable_push:
      if (value == 0 || (value == 1 && options_.role == Role::server)) return true;
      return connection_error(ErrorCode::protocol_error, malformed);
    case Setting::max_concurrent_streams:
      peer_streams_ = value;
      return true;
    case Setting::initial_window_size:
      return on_initial_window(value);
    case Setting::max_frame_size:
      if (value < kMaxFrameSize || value > 0xffffff) {
        return connection_error(ErrorCode::protocol_error, malformed);
      }
      peer_frame_ = value;
      return true;
    default:
      return true;
  }
}

bool Connection::on_initial_window(uint32_t value) {
  if (value > kMaxWindow) {
    return connection_error(ErrorCode::flow_control_error, stats::Reason::h2_flow_control);
  }
  const int64_t change = static_cast<int64_t>(value) - peer_window_;
  peer_window_ = value;
  for (Stream* stream : table_.streams()) {
    const int64_t window = stream->send_window_ + change;
    if (window > kMaxWindow) {
      return connection_error(ErrorCode::flow_control_error, stats::Reason::h2_flow_control);
    }
    stream->send_window_ = static_cast<int32_t>(window);
    mark_ready(*stream);
  }
  return true;
}

bool Connection::on_ping() {
  // Our own PINGs are ten seconds apart at the least.
  if ((frame_.flags & kAck) != 0) return spend_ignored();
  if (!spend(pings_, kPings, stats::Reason::h2_ping_flood)) return false;
  put_control(FrameType::ping, kAck, 0, prefix_);
  return true;
}

bool Connection::on_goaway() {
  if (goaway_received_ && !spend_ignored()) return false;
  goaway_received_ = true;
  if (options_.role == Role::client) {
    stop_streams_above(load_be<uint32_t>(prefix_.data()) & kMaxWindow);
  }
  handler_.on_goaway();
  return true;
}

// Streams that the peer will never have seen.
void Connection::stop_streams_above(uint32_t last) {
  for (unsigned i = table_.size(); i-- > 0;) {
    Stream& stream = *table_.streams()[i];
    if (stream.id_ <= last) return;
    if (!stream.reset_) remote_reset(stream, ErrorCode::refused_stream);
  }
}

void Connection::remote_reset(Stream& stream, ErrorCode code) {
  stream.reset_ = true;
  stream.reset_done_ = true;
  ready_was_reset_ = ready_was_reset_ || stream.ready_;
  stream.reset_code_ = code;
  stream.pending_ = 0;
  stream.block_.clear();
  drop_queued(stream);
  const bool refused = code == ErrorCode::refused_stream && !stream.answered_;
  if (stream.released_) {
    free_if_done(stream);
  } else {
    handler_.on_reset(stream, code, refused);
  }
}

bool Connection::on_window_update() {
  const uint32_t id = frame_.stream;
  const uint32_t increment = load_be<uint32_t>(prefix_.data()) & kMaxWindow;
  if (window_updates_left_ == 0) {
    return connection_error(ErrorCode::enhance_your_calm, stats::Reason::h2_window_update_flood);
  }
  --window_updates_left_;
  if (id == 0) {
    if (increment == 0) {
      return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
    }
    if (send_window_ + increment > kMaxWindow) {
      return connection_error(ErrorCode::flow_control_error, stats::Reason::h2_flow_control);
    }
    send_window_ += increment;
    return true;
  }
  if (is_idle(id)) {
    return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
  }
  Stream* stream = table_.find(id);
  if (stream == nullptr || stream->reset_) return true;
  if (increment == 0) return stream_error(id, ErrorCode::protocol_error);
  if (static_cast<int64_t>(stream->send_window_) + increment > kMaxWindow) {
    return stream_error(id, ErrorCode::flow_control_error);
  }
  stream->send_window_ += static_cast<int32_t>(increment);
  mark_ready(*stream);
  return true;
}

bool Connection::on_rst_stream() {
  if (is_idle(frame_.stream)) {
    return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
  }
  Stream* stream = table_.find(frame_.stream);
  if (stream == nullptr || stream->reset_) return true;
  if (options_.role == Role::server && !stream->answered_ &&
      !spend(early_resets_, kEarlyResets, stats::Reason::h2_rapid_reset)) {
    return false;
  }
  remote_reset(*stream, static_cast<ErrorCode>(load_be<uint32_t>(prefix_.data())));
  return true;
}

bool Connection::on_priority() {
  // Deprecated (RFC 9113 section 5.3.2) but for this check of RFC 7540 section 5.3.1.
  if ((load_be<uint32_t>(prefix_.data()) & kMaxWindow) != frame_.stream) return true;
  if (!is_idle(frame_.stream)) return stream_error(frame_.stream, ErrorCode::protocol_error);
  return connection_error(ErrorCode::protocol_error, stats::Reason::h2_malformed_frame);
}

}  // namespace isthmus::h2
