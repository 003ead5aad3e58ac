// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Complete header blocks: requests, answers, trailers (RFC 9113 section 8), and our own answer to
// what is no CONNECT.
#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "h2/connection.h"

namespace isthmus::h2 {
namespace {

// Conformance tools need some bytes under flow control, so there is a body.
constexpr std::string_view kBody = "This port speaks HBONE: use CONNECT.\n";

// A list so far over the limit that decoding it any further is not worth it (an HPACK bomb).
constexpr uint64_t kHopelessList = uint64_t{4} * kMaxHeaderList;

}  // namespace

bool Connection::finish_block() {
  const uint32_t id = std::exchange(block_stream_, 0);
  block_started_ = timer::kNever;
  const bool decoded = decode_block();
  block_.clear();
  if (!decoded) return false;
  const bool end = (block_flags_ & kEndStream) != 0;
  if (block_is_new_) {
    if (!refusing_) return on_request_block(id, end);
    closed_streams_.add(id, true);  // what follows on it is ignored, too
    return true;
  }
  Stream* stream = table_.find(id);
  if (stream == nullptr || (stream->reset_ && stream->reset_by_us_)) return true;
  if (stream->reset_ || stream->end_received_) return stream_error(id, ErrorCode::stream_closed);
  if (block_self_dependent_) return stream_error(id, ErrorCode::protocol_error);
  if (options_.role == Role::client && !stream->answered_) return on_response_block(*stream, end);
  return on_trailers(*stream, end);
}

bool Connection::decode_block() {
  HeaderList& list = context_.list_;
  list.clear();
  const rte_mbuf* segment = block_.head();
  while (true) {
    const uint8_t* at = segment == nullptr ? nullptr : rte_pktmbuf_mtod(segment, const uint8_t*);
    size_t left = segment == nullptr ? 0 : segment->data_len;
    const bool last = segment == nullptr || segment->next == nullptr;
    while (true) {
      nghttp2_nv field;
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, last);
      if (used < 0) {
        return connection_error(ErrorCode::compression_error, stats::Reason::h2_hpack);
      }
      at += used;
      left -= static_cast<size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        list.add({reinterpret_cast<const char*>(field.name), field.namelen},
                 {reinterpret_cast<const char*>(field.value), field.valuelen});
        if (list.size() > kHopelessList) {
          return connection_error(ErrorCode::enhance_your_calm, stats::Reason::h2_header_list);
        }
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
        nghttp2_hd_inflate_end_headers(inflater_);
        return true;
      }
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
    }
    if (last) return connection_error(ErrorCode::compression_error, stats::Reason::h2_hpack);
    segment = segment->next;
  }
}

bool Connection::on_request_block(uint32_t id, bool end) {
  if (context_.list_.over_limit()) {
    context_.reasons_.count(stats::Reason::h2_header_list);
    return stream_error(id, ErrorCode::enhance_your_calm);
  }
  const std::optional<Request> request = parse_request(context_.list_.fields());
  if (!request || block_self_dependent_) return stream_error(id, ErrorCode::protocol_error);
  Stream* stream = has_place() ? make_stream(id) : nullptr;
  if (stream == nullptr) return refuse_stream(id);
  if (!request->is_connect()) {
    begin_ordinary(*stream, *request);
    return !end || on_stream_end(*stream);
  }
  stream->tunnel_ = true;
  handler_.on_request(*stream, *request);
  if (closed_) return false;
  return !end || stream->reset_ || on_stream_end(*stream);
}

// To the peer a stream that has ended both ways is over, whether or not its owner has let go of it.
// One that was reset holds its place: what it had begun may not be over.
bool Connection::has_place() const {
  if (table_.size() < options_.max_streams) return true;
  const auto streams = table_.streams();
  const auto ended = std::count_if(streams.begin(), streams.end(), [](const Stream* each) {
    return each->end_received_ && each->end_sent_ && !each->reset_;
  });
  return table_.size() < kMaxStreams && streams.size() - ended < options_.max_streams;
}

// Counts against a peer that knows our limit and has passed it. Others are not at fault: they have
// not seen our SETTINGS yet, or slots are short.
bool Connection::refuse_stream(uint32_t id) {
  const auto streams = table_.streams();
  const auto open = std::count_if(streams.begin(), streams.end(),
                                  [](const Stream* each) { return !each->finished(); });
  const bool knows = settings_deadline_ == timer::kNever;
  if (knows && open >= options_.max_streams) return stream_error(id, ErrorCode::refused_stream);
  put_reset(id, ErrorCode::refused_stream);
  return true;
}

bool Connection::on_response_block(Stream& stream, bool end) {
  std::optional<Response> response;
  if (!context_.list_.over_limit()) response = parse_response(context_.list_.fields());
  constexpr uint16_t kSwitchingProtocols = 101;
  if (!response || response->status == kSwitchingProtocols) {
    return stream_error(stream.id_, ErrorCode::protocol_error);
  }
  if (response->status < 200) return !end || stream_error(stream.id_, ErrorCode::protocol_error);
  stream.answered_ = true;
  if (!stream.released_) handler_.on_response(stream, *response);
  return !end || stream.reset_ || on_stream_end(stream);
}

// RFC 9113 section 8.5 has no trailers for tunnels; an end is an end.
bool Connection::on_trailers(Stream& stream, bool end) {
  const bool valid = !context_.list_.over_limit() && valid_trailers(context_.list_.fields());
  if (!end || !valid) return stream_error(stream.id_, ErrorCode::protocol_error);
  return on_stream_end(stream);
}

bool Connection::on_stream_end(Stream& stream) {
  stream.end_received_ = true;
  if (stream.tunnel_) {
    if (!stream.released_) handler_.on_end_received(stream);
    free_if_done(stream);
    return true;
  }
  if (stream.has_length_ && stream.body_left_ != 0) {
    return stream_error(stream.id_, ErrorCode::protocol_error);
  }
  answer_ordinary(stream);
  return true;
}

// A request that is no CONNECT is answered at its end.
void Connection::begin_ordinary(Stream& stream, const Request& request) {
  context_.reasons_.count(stats::Reason::h2_not_connect);
  stream.released_ = true;
  stream.bodiless_ = request.method == "HEAD";
  if (request.content_length) {
    stream.has_length_ = true;
    stream.body_left_ = *request.content_length;
  }
}

void Connection::answer_ordinary(Stream& stream) {
  std::array<char, 8> digits;
  const auto [end, error] =
      std::to_chars(digits.data(), digits.data() + digits.size(), kBody.size());
  const Field fields[] = {
      {"content-type", "text/plain"},
      {"content-length", {digits.data(), static_cast<size_t>(end - digits.data())}}};
  packet::Chain body;
  const std::span<const uint8_t> text(reinterpret_cast<const uint8_t*>(kBody.data()), kBody.size());
  if (!respond(stream, options_.non_connect_status, fields, stream.bodiless_) ||
      (!stream.bodiless_ && !body.append_copy(text, context_.pools_.small))) {
    local_reset(stream, ErrorCode::internal_error);
    return;
  }
  if (stream.bodiless_) return;
  write(stream, std::move(body));
  this->end(stream);
}

}  // namespace isthmus::h2
