// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Composing what is sent: control frames first, then the streams' HEADERS, credits and resets in
// the order in which they arose, then DATA, a frame a stream in turn.
#include <algorithm>
#include <array>
#include <cstring>

#include "h2/connection.h"
#include "packet/endian.h"

namespace isthmus::h2 {
namespace {

// A bulk frame that the end of a record would cut shorter than this waits for the next record.
constexpr uint32_t kLeastCut = 1024;
constexpr uint64_t kMostWindowUpdates = 1u << 20;
constexpr uint8_t kNoTable = 0x20;  // a dynamic table size update to 0

}  // namespace

bool Connection::prepare(uint32_t max) {
  if (staged_used_ != 0 || !staged_payload_.empty()) return true;
  starved_ = false;
  max = std::max<uint32_t>(max, 64);
  if (stage_control(max) && !closed_ && stage_pending(max)) stage_data(max);
  return staged_used_ != 0;
}

// False when control frames are left over.
bool Connection::stage_control(uint32_t max) {
  const auto n = static_cast<uint16_t>(std::min<uint32_t>(control_used_, max));
  std::memcpy(staged_.data(), control_.data(), n);
  std::memmove(control_.data(), control_.data() + n, control_used_ - n);
  staged_used_ = n;
  control_used_ = static_cast<uint16_t>(control_used_ - n);
  if (control_used_ != 0) return false;
  // Half a window at once, as for streams.
  if (!closed_ && !starting() && credit_ >= window_ / 2 && stage_window_update(0, credit_, max)) {
    receive_window_ += credit_;
    credit_ = 0;
  }
  return true;
}

void Connection::stage(const FrameHeader& header, std::span<const uint8_t> payload) {
  uint8_t* at = staged_.data() + staged_used_;
  header.write(std::span<uint8_t, kFrameHeaderSize>(at, kFrameHeaderSize));
  std::copy(payload.begin(), payload.end(), at + kFrameHeaderSize);
  staged_used_ = static_cast<uint16_t>(staged_used_ + kFrameHeaderSize + payload.size());
}

bool Connection::has_room(uint32_t payload, uint32_t max) const {
  const uint32_t after = staged_used_ + kFrameHeaderSize + payload;
  return after <= max && after <= kStagedRoom;
}

bool Connection::stage_window_update(uint32_t stream, uint32_t bytes, uint32_t max) {
  std::array<uint8_t, 4> payload;
  if (!has_room(payload.size(), max)) return false;
  packet::store_be<uint32_t>(payload.data(), bytes);
  stage({4, static_cast<uint8_t>(FrameType::window_update), 0, stream}, payload);
  return true;
}

// False when the piece is full.
bool Connection::stage_pending(uint32_t max) {
  while (!pending_.empty()) {
    Stream& stream = *pending_.front();
    if (!stage_stream(stream, max)) return false;
    pending_.pop();
    stream.queued_ = false;
    free_if_done(stream);
    if (!staged_payload_.empty()) return false;
  }
  return true;
}

bool Connection::stage_stream(Stream& stream, uint32_t max) {
  if ((stream.pending_ & Stream::kHeaders) != 0 && !stage_headers(stream, max)) return false;
  if ((stream.pending_ & Stream::kWindowUpdate) != 0 && !stream.end_received_) {
    if (!stage_window_update(stream.id_, stream.credit_, max)) return false;
    stream.receive_window_ += static_cast<int32_t>(stream.credit_);
    stream.credit_ = 0;
  }
  if ((stream.pending_ & Stream::kEnd) != 0) {
    if (!has_room(0, max)) return false;
    stage({0, static_cast<uint8_t>(FrameType::data), kEndStream, stream.id_}, {});
    stream.pending_ &= static_cast<uint8_t>(~Stream::kEnd);
    on_end_staged(stream);
  }
  if ((stream.pending_ & Stream::kReset) != 0) {
    std::array<uint8_t, 4> payload;
    if (!has_room(payload.size(), max)) return false;
    packet::store_be<uint32_t>(payload.data(), static_cast<uint32_t>(stream.reset_code_));
    stage({4, static_cast<uint8_t>(FrameType::rst_stream), 0, stream.id_}, payload);
    stream.reset_done_ = true;
  }
  stream.pending_ = 0;
  return true;
}

// A long block is the piece's payload, and whatever else the stream has pending follows it.
bool Connection::stage_headers(Stream& stream, uint32_t max) {
  // RFC 7541 section 4.2: the first block behind our ACK says that a reduced table is noticed. The
  // block may have been made before. We use no table at all.
  const uint32_t update = table_size_update_ ? 1 : 0;
  const uint32_t size = stream.block_.size() + update;
  const bool beside = size <= kInlinePayload && has_room(size, max);
  if (!beside && staged_used_ != 0) return false;
  const bool end = stream.end_wanted_ && !stream.end_sent_ && stream.to_send_.empty() &&
                   (stream.pending_ & Stream::kEnd) == 0;
  const auto flags = static_cast<uint8_t>(kEndHeaders | (end ? kEndStream : 0));
  const FrameHeader header = {size, static_cast<uint8_t>(FrameType::headers), flags, stream.id_};
  std::array<uint8_t, kInlinePayload> block;
  block[0] = kNoTable;
  if (beside) {
    stream.block_.copy_out(0, std::span(block).subspan(update, size - update));
    stream.block_.clear();
    stage(header, std::span(block).first(size));
  } else {
    stage(header, std::span(block).first(update));
    staged_payload_ = std::move(stream.block_);
  }
  table_size_update_ = false;
  stream.pending_ &= static_cast<uint8_t>(~Stream::kHeaders);
  stream.idle_ = false;
  if (end) on_end_staged(stream);
  // The list keeps the stream's place for the rest.
  return staged_payload_.empty() || stream.pending_ == 0;
}

void Connection::on_end_staged(Stream& stream) {
  stream.end_sent_ = true;
  if (!stream.released_) handler_.on_end_sent(stream);
}

// Streams that had nothing to send take turns with those that have had their turn, so that a short
// message never waits for more than a frame of each bulk stream.
Stream* Connection::next_ready() {
  while (!fresh_.empty() || !round_.empty()) {
    fresh_turn_ = !fresh_turn_;
    const bool from_fresh = round_.empty() || (fresh_turn_ && !fresh_.empty());
    Stream& stream = *(from_fresh ? fresh_.pop() : round_.pop());
    if (!stream.to_send_.empty() && stream.send_window_ > 0 && !stream.reset_) return &stream;
    stream.ready_ = false;
    free_if_done(stream);
  }
  return nullptr;
}

// Their turn never comes while the connection's window is shut, and they hold their slots.
void Connection::drop_reset_ready() {
  ready_was_reset_ = false;
  for (ReadyList* list : {&fresh_, &round_}) {
    ReadyList kept;
    while (!list->empty()) {
      Stream& stream = *list->pop();
      if (!stream.reset_) {
        kept.push(stream);
        continue;
      }
      stream.ready_ = false;
      free_if_done(stream);
    }
    *list = kept;
  }
}

void Connection::stage_data(uint32_t max) {
  if (send_window_ <= 0 && ready_was_reset_) drop_reset_ready();
  while (staged_payload_.empty() && send_window_ > 0) {
    Stream* stream = next_ready();
    if (stream == nullptr) return;
    if (!stage_frame(*stream, max)) {
      round_.push_front(*stream);
      return;
    }
    if (!stream->to_send_.empty() && stream->send_window_ > 0) {
      round_.push(*stream);
    } else {
      stream->ready_ = false;
      free_if_done(*stream);
    }
  }
}

bool Connection::stage_frame(Stream& stream, uint32_t max) {
  if (!has_room(1, max)) return false;
  const uint32_t queued = stream.to_send_.size();
  const uint32_t space = max - staged_used_ - kFrameHeaderSize;
  if (staged_used_ != 0 && space < std::min(queued, kLeastCut)) return false;
  const auto window = static_cast<uint32_t>(
      std::min<int64_t>({send_window_, stream.send_window_, static_cast<int64_t>(queued)}));
  uint32_t n = std::min({window, peer_frame_, space});
  const bool beside = n <= kInlinePayload && has_room(n, max);
  const uint64_t memory = stream.to_send_.occupied(n);
  if (!beside) {
    staged_payload_ = stream.to_send_.split_front(n, context_.pools_.clones);
    if (staged_payload_.empty()) {
      n = stream.to_send_.whole_segments(n);
      starved_ = n == 0;
      if (starved_) return false;
      staged_payload_ = stream.to_send_.split_front(n, context_.pools_.clones);
    }
  }
  const bool end = stream.end_wanted_ && n == queued;
  const FrameHeader header = {n, static_cast<uint8_t>(FrameType::data),
                              static_cast<uint8_t>(end ? kEndStream : 0), stream.id_};
  if (beside) {
    std::array<uint8_t, kInlinePayload> payload;
    stream.to_send_.copy_out(0, std::span(payload).first(n));
    stream.to_send_.drop_front(n);
    stage(header, std::span(payload).first(n));
  } else {
    stage(header, {});
  }
  leave_queue(stream, memory);
  send_window_ -= n;
  stream.send_window_ -= static_cast<int32_t>(n);
  window_updates_left_ = std::min(window_updates_left_ + kWindowUpdatesPerData, kMostWindowUpdates);
  if (end) on_end_staged(stream);
  if (stream.short_of_room_ && !is_half_full(stream)) {
    stream.short_of_room_ = false;
    if (!stream.released_ && !stream.end_wanted_) handler_.on_writable(stream);
  }
  return true;
}

}  // namespace isthmus::h2
