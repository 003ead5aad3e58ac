// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Header lists: what HPACK gave, and what RFC 9113 section 8 makes of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "h2/bounds.h"

namespace isthmus::h2 {

struct Field {
  std::string_view name;  // lower case
  std::string_view value;
};

// The fields of one header block, copied out of the decoder; belongs to a worker and holds one
// block at a time.
class HeaderList {
 public:
  void clear();
  // False when the list or the number of fields is over its limit: the field is not kept, but the
  // sizes go on counting.
  bool add(std::string_view name, std::string_view value);
  // Uncompressed size as RFC 9113 section 6.5.2 counts it, fields over the limit included.
  uint64_t size() const { return size_; }
  bool over_limit() const { return over_limit_; }
  std::span<const Field> fields() const { return std::span(fields_).first(count_); }

 private:
  std::array<Field, kMaxFields> fields_;
  unsigned count_ = 0;
  std::array<char, kMaxHeaderList> bytes_;
  uint32_t used_ = 0;
  uint64_t size_ = 0;
  bool over_limit_ = false;
};

// A request. Views are valid as long as the list's contents.
struct Request {
  std::string_view method;
  std::string_view scheme;        // empty for CONNECT
  std::string_view authority;     // of CONNECT: never empty
  std::string_view path;          // empty for CONNECT
  std::span<const Field> fields;  // without pseudo-header fields
  std::optional<uint64_t> content_length;

  bool is_connect() const { return method == "CONNECT"; }
  // Value of the first field of that name; empty when there is none.
  std::string_view find(std::string_view name) const;
};

struct Response {
  uint16_t status = 0;  // 100..999
  std::span<const Field> fields;

  std::string_view find(std::string_view name) const;
};

// Empty when the list is malformed (RFC 9113 section 8.1.1): a stream error PROTOCOL_ERROR.
std::optional<Request> parse_request(std::span<const Field> list);
std::optional<Response> parse_response(std::span<const Field> list);
bool valid_trailers(std::span<const Field> list);
// Whether a field may be sent or received in HTTP/2 (RFC 9113 sections 8.2.1 and 8.2.2).
bool valid_field(const Field& field);

}  // namespace isthmus::h2
