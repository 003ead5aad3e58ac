// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "proxy/authority.h"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>

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

// Appends to a buffer of fixed size; what does not fit makes the whole invalid.
class Writer {
 public:
  explicit Writer(std::span<char> out) : out_(out) {}

  Writer& text(std::string_view part) noexcept {
    if (part.size() > out_.size() - length_) {
      fits_ = false;
    } else if (!part.empty()) {
      std::memcpy(out_.data() + length_, part.data(), part.size());
      length_ += part.size();
    }
    return *this;
  }
  Writer& number(unsigned value) noexcept {
    char digits[12];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
    return text({digits, static_cast<size_t>(end - digits)});
  }
  Writer& address(const packet::IpAddress& value) noexcept {
    char buffer[INET6_ADDRSTRLEN];
    const uint8_t* bytes = value.bytes().data();
    const char* written = value.is_v4() ? inet_ntop(AF_INET, bytes + 12, buffer, sizeof buffer)
                                        : inet_ntop(AF_INET6, bytes, buffer, sizeof buffer);
    return text(written == nullptr ? std::string_view() : written);
  }
  Writer& endpoint(const packet::Endpoint& value) noexcept {
    const bool v4 = value.address.is_v4();
    return text(v4 ? "" : "[").address(value.address).text(v4 ? ":" : "]:").number(value.port);
  }
  // W3C Baggage: what is no baggage-octet is percent-encoded, and so is the percent sign.
  Writer& baggage_value(std::string_view value) noexcept {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    for (const char c : value) {
      const auto byte = static_cast<unsigned char>(c);
      const bool plain = byte > 0x20 && byte < 0x7f && std::strchr("\",;\\%", c) == nullptr;
      const char escaped[3] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      text(plain ? std::string_view(&c, 1) : std::string_view(escaped, 3));
    }
    return *this;
  }
  size_t length() const noexcept { return fits_ ? length_ : 0; }
  bool empty() const noexcept { return length_ == 0; }

 private:
  std::span<char> out_;
  size_t length_ = 0;
  bool fits_ = true;
};

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

size_t format_authority(const packet::Endpoint& endpoint, std::span<char> out) noexcept {
  return Writer(out).endpoint(endpoint).length();
}

size_t format_forwarded(mesh::Profile profile, const packet::Endpoint& client,
                        std::string_view service_hostname, std::span<char> out) noexcept {
  Writer writer(out);
  if (profile == mesh::Profile::v1_18) {
    const bool v4 = client.address.is_v4();
    writer.text(v4 ? "for=" : "for=\"[").address(client.address).text(v4 ? "" : "]\"");
    return writer.length();
  }
  writer.text("for=\"").endpoint(client).text("\"");
  if (!service_hostname.empty()) writer.text(";host=").text(service_hostname);
  return writer.length();
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

size_t format_baggage(mesh::Profile profile, const mesh::Workload& source,
                      std::span<char> out) noexcept {
  Writer writer(out);
  const bool head = profile == mesh::Profile::head;
  const auto member = [&](std::string_view before, std::string_view kind, std::string_view after,
                          std::string_view value) {
    if (head && value.empty()) return;
    writer.text(writer.empty() ? "" : ",").text(before).text(kind).text(after).text("=");
    writer.baggage_value(value);
  };
  member("k8s.cluster.name", "", "", source.cluster_id);
  member("k8s.namespace.name", "", "", source.namespace_);
  member("k8s.", source.workload_type, ".name", source.workload_name);
  member("service.name", "", "", source.canonical_name);
  member("service.version", "", "", source.canonical_revision);
  if (head) {
    member("cloud.region", "", "", source.locality.region);
    member("cloud.availability_zone", "", "", source.locality.zone);
  }
  return writer.length();
}

}  // namespace isthmus::proxy
