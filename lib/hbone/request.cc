// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/request.h"

#include <algorithm>
#include <charconv>

namespace isthmus::hbone {
namespace {

// Appends to a text and remembers whether everything did fit.
template <size_t N>
class Writer {
 public:
  explicit Writer(Text<N>& text) : text_(text) { text_.assign({}); }
  Writer& operator<<(std::string_view part) {
    fits_ = fits_ && text_.append(part);
    return *this;
  }
  Writer& operator<<(unsigned number) {
    std::array<char, 10> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return *this << std::string_view(digits.data(), static_cast<size_t>(end - digits.data()));
  }
  // As in RFC 5952, without brackets.
  Writer& operator<<(const packet::IpAddress& address);
  bool finish() {
    if (!fits_) text_.assign({});
    return fits_;
  }

 private:
  Text<N>& text_;
  bool fits_ = true;
};

// Where the longest run of zero groups begins and how long it is; a run of one stays written out.
struct ZeroRun {
  unsigned begin = 8;
  unsigned length = 1;
};

ZeroRun longest_zero_run(const std::array<uint16_t, 8>& groups) {
  ZeroRun best;
  for (unsigned i = 0; i < groups.size();) {
    unsigned end = i;
    while (end < groups.size() && groups[end] == 0) ++end;
    if (end - i > best.length) best = {i, end - i};
    i = std::max(end, i + 1);
  }
  return best;
}

template <size_t N>
void write_v6(Writer<N>& out, const packet::IpAddress& address) {
  std::array<uint16_t, 8> groups;
  for (unsigned i = 0; i < groups.size(); ++i) {
    groups[i] = packet::load_be<uint16_t>(address.bytes().data() + 2 * i);
  }
  const ZeroRun zeros = longest_zero_run(groups);
  for (unsigned i = 0; i < groups.size(); ++i) {
    if (i == zeros.begin) {
      out << "::";
      i += zeros.length - 1;
      continue;
    }
    if (i != 0 && i != zeros.begin + zeros.length) out << ":";
    std::array<char, 4> hex;
    const auto end = std::to_chars(hex.data(), hex.data() + hex.size(), groups[i], 16).ptr;
    out << std::string_view(hex.data(), static_cast<size_t>(end - hex.data()));
  }
}

template <size_t N>
Writer<N>& Writer<N>::operator<<(const packet::IpAddress& address) {
  if (!address.is_v4()) {
    write_v6(*this, address);
    return *this;
  }
  const uint32_t value = address.v4_value();
  return *this << (value >> 24) << "." << (value >> 16 & 0xff) << "." << (value >> 8 & 0xff) << "."
               << (value & 0xff);
}

template <size_t N>
void write_endpoint(Writer<N>& out, const packet::Endpoint& endpoint) {
  const bool v4 = endpoint.address.is_v4();
  out << (v4 ? "" : "[") << endpoint.address << (v4 ? ":" : "]:")
      << static_cast<unsigned>(endpoint.port);
}

std::optional<uint16_t> parse_port(std::string_view text) {
  unsigned value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end || value == 0 || value > 65535) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(value);
}

bool valid_name(std::string_view host) {
  constexpr size_t kMaxName = 253;
  if (host.empty() || host.size() > kMaxName) return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool same_ignoring_case(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(),
                    [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x + 32 : x) == y; });
}

// node = nodename [ ":" node-port ] of RFC 7239 section 6.
std::optional<packet::IpAddress> parse_node(std::string_view node) {
  if (node.starts_with('[')) {
    const size_t end = node.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    const auto address = packet::IpAddress::parse(node.substr(1, end - 1));
    if (address && address->is_v4()) return std::nullopt;
    return address;
  }
  // A bare IPv6 address breaks the grammar, but ztunnel of 1.18 can send one.
  if (const auto whole = packet::IpAddress::parse(node)) return whole;
  return packet::IpAddress::parse(node.substr(0, node.find(':')));
}

}  // namespace

std::optional<Authority> Authority::parse(std::string_view text) {
  if (text.size() > kMaxAuthority) return std::nullopt;
  Authority authority;
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  authority.host = text.substr(0, colon);
  const auto port = parse_port(text.substr(colon + 1));
  if (!port) return std::nullopt;
  authority.port = *port;
  if (authority.host.starts_with('[')) {
    if (!authority.host.ends_with(']')) return std::nullopt;
    authority.host = authority.host.substr(1, authority.host.size() - 2);
    authority.address = packet::IpAddress::parse(authority.host);
    if (!authority.address || authority.address->is_v4()) return std::nullopt;
    return authority;
  }
  if (!valid_name(authority.host)) return std::nullopt;
  authority.address = packet::IpAddress::parse(authority.host);
  return authority;
}

AuthorityText make_authority(const packet::Endpoint& endpoint) {
  AuthorityText text;
  Writer out(text);
  write_endpoint(out, endpoint);
  return text;
}

bool make_baggage(const Baggage& baggage, Profile profile, Text<kMaxBaggage>& out) {
  Writer writer(out);
  bool first = true;
  const auto put = [&](std::string_view prefix, std::string_view middle, std::string_view suffix,
                       std::string_view value) {
    if (value.empty() && profile == Profile::head) return;
    writer << (first ? "" : ",") << prefix << middle << suffix << "=" << value;
    first = false;
  };
  put("k8s.cluster.name", "", "", baggage.cluster);
  put("k8s.namespace.name", "", "", baggage.namespace_name);
  put("k8s.", baggage.workload_type, ".name", baggage.workload_name);
  put("service.name", "", "", baggage.service_name);
  put("service.version", "", "", baggage.service_version);
  if (profile == Profile::head) {
    put("cloud.region", "", "", baggage.region);
    put("cloud.availability_zone", "", "", baggage.zone);
  }
  return writer.finish();
}

bool make_forwarded(const packet::Endpoint& client, std::string_view service_host, Profile profile,
                    Text<kMaxForwarded>& out) {
  Writer writer(out);
  if (profile == Profile::istio_1_18) {
    const bool v4 = client.address.is_v4();
    writer << "for=" << (v4 ? "" : "\"[") << client.address << (v4 ? "" : "]\"");
    return writer.finish();
  }
  writer << "for=\"";
  write_endpoint(writer, client);
  writer << "\"";
  if (!service_host.empty()) writer << ";host=" << service_host;
  return writer.finish();
}

std::optional<packet::IpAddress> forwarded_for(std::string_view value) {
  if (value.size() > kMaxForwarded) return std::nullopt;
  // The values that we understand hold none of the separators, quoted or not.
  std::string_view element = value.substr(0, value.find(','));
  while (!element.empty()) {
    const size_t end = element.find(';');
    const std::string_view pair = trim(element.substr(0, end));
    element = end == std::string_view::npos ? std::string_view() : element.substr(end + 1);
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !same_ignoring_case(pair.substr(0, equals), "for")) {
      continue;
    }
    std::string_view node = pair.substr(equals + 1);
    if (node.size() >= 2 && node.starts_with('"') && node.ends_with('"')) {
      node = node.substr(1, node.size() - 2);
    }
    return parse_node(node);
  }
  return std::nullopt;
}

TraceParent make_traceparent(uint64_t trace_high, uint64_t trace_low, uint64_t parent) {
  TraceParent text;
  const auto put = [&](uint64_t number) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<char, 16> hex;
    for (char& digit : hex) {
      digit = kDigits[number >> 60];
      number <<= 4;
    }
    text.append({hex.data(), hex.size()});
  };
  text.append("00-");
  put(trace_high);
  put(trace_low);
  text.append("-");
  put(parent);
  text.append("-00");
  return text;
}

std::span<const h2::Field> ConnectRequest::fields(std::array<h2::Field, 3>& storage) const {
  size_t count = 0;
  if (!baggage.empty()) storage[count++] = {"baggage", baggage.view()};
  if (!forwarded.empty()) storage[count++] = {"forwarded", forwarded.view()};
  if (!traceparent.empty()) storage[count++] = {"traceparent", traceparent.view()};
  return std::span(storage).first(count);
}

}  // namespace isthmus::hbone
