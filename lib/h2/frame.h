// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// HTTP/2 frames on the wire (RFC 9113 section 4.1 and 6).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace isthmus::h2 {

// An array of its own: clang's address sanitizer gives each file another copy of a literal.
inline constexpr char kPrefaceText[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
inline constexpr std::string_view kPreface{kPrefaceText, sizeof kPrefaceText - 1};
inline constexpr uint32_t kFrameHeaderSize = 9;
inline constexpr uint32_t kDefaultWindow = 65'535;
inline constexpr uint32_t kMaxWindow = 0x7fffffff;
// The smallest SETTINGS_MAX_FRAME_SIZE, and what we advertise.
inline constexpr uint32_t kMaxFrameSize = 16'384;
// A DATA frame that fills one TLS record together with its header.
inline constexpr uint32_t kRecordPayload = kMaxFrameSize - kFrameHeaderSize;

enum class FrameType : uint8_t {
  data = 0,
  headers = 1,
  priority = 2,
  rst_stream = 3,
  settings = 4,
  push_promise = 5,
  ping = 6,
  goaway = 7,
  window_update = 8,
  continuation = 9,
};

enum Flag : uint8_t {
  kEndStream = 0x1,
  kAck = 0x1,
  kEndHeaders = 0x4,
  kPadded = 0x8,
  kPriority = 0x20,
};

// RFC 9113 section 7.
enum class ErrorCode : uint32_t {
  no_error = 0,
  protocol_error = 1,
  internal_error = 2,
  flow_control_error = 3,
  settings_timeout = 4,
  stream_closed = 5,
  frame_size_error = 6,
  refused_stream = 7,
  cancel = 8,
  compression_error = 9,
  connect_error = 10,
  enhance_your_calm = 11,
  inadequate_security = 12,
  http_1_1_required = 13,
};

// RFC 9113 section 6.5.2.
enum class Setting : uint16_t {
  header_table_size = 1,
  enable_push = 2,
  max_concurrent_streams = 3,
  initial_window_size = 4,
  max_frame_size = 5,
  max_header_list_size = 6,
};

struct FrameHeader {
  uint32_t length = 0;  // 24 bits
  uint8_t type = 0;     // a FrameType, or one that is to be ignored
  uint8_t flags = 0;
  uint32_t stream = 0;  // 31 bits

  static FrameHeader parse(std::span<const uint8_t, kFrameHeaderSize> bytes);
  void write(std::span<uint8_t, kFrameHeaderSize> to) const;
};

}  // namespace isthmus::h2
