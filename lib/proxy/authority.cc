// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/authority.h"

#include <algorithm>
#include <charconv>
#include <strings.h>

namespace isthmus::proxy {

namespace {

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_hostname(std::string_view text) noexcept {
  if (text.empty() || text.size() > kMaxHostname) return false;
  while (!text.empty()) {
    const size_t dot = std::min(text.find('.'), text.size());
    const std::string_view label = text.substr(0, dot);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') {
      return false;
    }
    for (const char c : label) {
      if (!is_alphanumeric(c) && c != '-' && c != '_') return false;
    }
    if (dot + 1 == text.size()) return false;  // a trailing dot
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return true;
}

uint16_t parse_port(std::string_view text) noexcept {
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return error == std::errc() && stop == end && !text.empty() && text[0] != '0' ? port : 0;
}

}  // namespace

Authority parse_authority(std::string_view text) noexcept {
  Authority authority;
  if (text.size() > kMaxAuthority) return authority;
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return authority;
  const std::string_view host = text.substr(0, colon);
  const uint16_t port = parse_port(text.substr(colon + 1));
  if (port == 0) return authority;
  if (const auto endpoint = packet::Endpoint::parse(text)) {
    return {Authority::Kind::address, *endpoint, {}, port};
  }
  // A name whose last label is a number would be a malformed IPv4 address (WHATWG URL, "ends in a
  // number").
  const std::string_view last = host.substr(host.rfind('.') + 1);
  const bool numeric =
      std::all_of(last.begin(), last.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!is_hostname(host) || numeric) return authority;
  return {Authority::Kind::hostname, {}, host, port};
}

std::optional<packet::IpAddress> parse_forwarded_for(std::string_view value) noexcept {
  // The first element's for= parameter: names are case-insensitive, values may be quoted.
  std::string_view element = value.substr(0, value.find(','));
  while (!element.empty()) {
    const size_t semicolon = std::min(element.find(';'), element.size());
    std::string_view pair = element.substr(0, semicolon);
    element.remove_prefix(std::min(semicolon + 1, element.size()));
    while (pair.starts_with(' ')) pair.remove_prefix(1);
    while (pair.ends_with(' ')) pair.remove_suffix(1);
    if (pair.size() < 5 || strncasecmp(pair.data(), "for=", 4) != 0) continue;
    std::string_view node = pair.substr(4);
    if (node.size() >= 2 && node.front() == '"' && node.back() == '"') {
      node = node.substr(1, node.size() - 2);
    }
    if (node.starts_with('[')) {
      const size_t close = node.find(']');
      if (close == std::string_view::npos) return {};
      const std::string_view rest = node.substr(close + 1);
      if (!rest.empty() && !rest.starts_with(':')) return {};
      return packet::IpAddress::parse(node.substr(1, close - 1));
    }
    return packet::IpAddress::parse(node.substr(0, node.find(':')));
  }
  return {};
}

}  // namespace isthmus::proxy
