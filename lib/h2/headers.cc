// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "h2/headers.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nghttp2/nghttp2.h>

namespace isthmus::h2 {
namespace {

const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// RFC 9113 section 8.2.2.
bool connection_specific(const Field& field) {
  constexpr std::string_view kForbidden[] = {"connection", "keep-alive", "proxy-connection",
                                             "transfer-encoding", "upgrade"};
  if (std::find(std::begin(kForbidden), std::end(kForbidden), field.name) != std::end(kForbidden)) {
    return true;
  }
  return field.name == "te" && field.value != "trailers";
}

// Pseudo-header fields come first; the rest starts at the result's end.
size_t count_pseudo(std::span<const Field> list) {
  size_t count = 0;
  while (count < list.size() && list[count].name.starts_with(':')) ++count;
  return count;
}

bool all_valid(std::span<const Field> fields) {
  return std::all_of(fields.begin(), fields.end(), [](const Field& field) {
    return !field.name.starts_with(':') && valid_field(field);
  });
}

std::string_view find_in(std::span<const Field> fields, std::string_view name) {
  const auto at = std::find_if(fields.begin(), fields.end(),
                               [&](const Field& field) { return field.name == name; });
  return at == fields.end() ? std::string_view() : at->value;
}

template <typename Number>
std::optional<Number> parse_decimal(std::string_view text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

struct PseudoField {
  std::string_view name;
  std::string_view* value;
  bool seen = false;
};

// Each pseudo-header field is one of the known ones, at most once.
bool collect(std::span<const Field> pseudo, std::span<PseudoField> known) {
  for (const Field& field : pseudo) {
    const auto at = std::find_if(known.begin(), known.end(),
                                 [&](const PseudoField& each) { return each.name == field.name; });
    if (at == known.end() || at->seen) return false;
    if (nghttp2_check_header_value(bytes_of(field.value), field.value.size()) == 0) return false;
    *at->value = field.value;
    at->seen = true;
  }
  return true;
}

// Repeated fields must agree (RFC 9110 section 8.6).
bool parse_content_length(Request& request) {
  for (const Field& field : request.fields) {
    if (field.name != "content-length") continue;
    const auto value = parse_decimal<uint64_t>(field.value);
    if (!value || (request.content_length && *request.content_length != *value)) return false;
    request.content_length = value;
  }
  return true;
}

}  // namespace

void HeaderList::clear() {
  count_ = 0;
  used_ = 0;
  size_ = 0;
  over_limit_ = false;
}

bool HeaderList::add(std::string_view name, std::string_view value) {
  constexpr size_t kFieldOverhead = 32;
  size_ += name.size() + value.size() + kFieldOverhead;
  if (size_ > kMaxHeaderList || count_ == kMaxFields) {
    over_limit_ = true;
    return false;
  }
  char* at = bytes_.data() + used_;
  std::memcpy(at, name.data(), name.size());
  std::memcpy(at + name.size(), value.data(), value.size());
  fields_[count_++] = {{at, name.size()}, {at + name.size(), value.size()}};
  used_ += static_cast<uint32_t>(name.size() + value.size());
  return true;
}

std::string_view Request::find(std::string_view name) const {
  return find_in(fields, name);
}
std::string_view Response::find(std::string_view name) const {
  return find_in(fields, name);
}

bool valid_field(const Field& field) {
  if (field.name.empty() || connection_specific(field)) return false;
  // nghttp2 takes upper case in names of requests made for HTTP/1; HTTP/2 forbids it.
  const bool upper = std::any_of(field.name.begin(), field.name.end(),
                                 [](char c) { return c >= 'A' && c <= 'Z'; });
  return !upper && nghttp2_check_header_name(bytes_of(field.name), field.name.size()) != 0 &&
         nghttp2_check_header_value(bytes_of(field.value), field.value.size()) != 0;
}

std::optional<Request> parse_request(std::span<const Field> list) {
  Request request;
  PseudoField known[] = {{":method", &request.method},
                         {":scheme", &request.scheme},
                         {":authority", &request.authority},
                         {":path", &request.path}};
  const size_t pseudo = count_pseudo(list);
  request.fields = list.subspan(pseudo);
  if (!collect(list.first(pseudo), known) || !all_valid(request.fields)) return std::nullopt;
  const bool scheme = known[1].seen;
  const bool path = known[3].seen;
  if (request.method.empty() || !parse_content_length(request)) return std::nullopt;
  if (!request.authority.empty() &&
      nghttp2_check_authority(bytes_of(request.authority), request.authority.size()) == 0) {
    return std::nullopt;
  }
  if (request.is_connect()) {
    // RFC 9113 section 8.5.
    if (scheme || path || request.authority.empty()) return std::nullopt;
  } else if (!scheme || !path || request.path.empty()) {
    return std::nullopt;
  }
  return request;
}

std::optional<Response> parse_response(std::span<const Field> list) {
  Response response;
  std::string_view status;
  PseudoField known[] = {{":status", &status}};
  const size_t pseudo = count_pseudo(list);
  response.fields = list.subspan(pseudo);
  if (!collect(list.first(pseudo), known) || !all_valid(response.fields)) return std::nullopt;
  const auto code = parse_decimal<uint16_t>(status);
  if (status.size() != 3 || !code || *code < 100) return std::nullopt;
  response.status = *code;
  return response;
}

bool valid_trailers(std::span<const Field> list) {
  return all_valid(list);
}

}  // namespace isthmus::h2
