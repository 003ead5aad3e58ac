// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/request.h"

#include <arpa/inet.h>
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

template <size_t N>
Writer<N>& Writer<N>::operator<<(const packet::IpAddress& address) {
  char text[INET6_ADDRSTRLEN];
  const bool v4 = address.is_v4();
  const uint8_t* bytes = address.bytes().data() + (v4 ? 12 : 0);
  return *this << inet_ntop(v4 ? AF_INET : AF_INET6, bytes, text, sizeof text);
}

template <size_t N>
void write_endpoint(Writer<N>& out, const packet::Endpoint& endpoint) {
  const bool v4 = endpoint.address.is_v4();
  out << (v4 ? "" : "[") << endpoint.address << (v4 ? ":" : "]:")
      << static_cast<unsigned>(endpoint.port);
}

// W3C Baggage section 3.3.1.3: what is no baggage-octet is percent-encoded, and so is the sign.
template <size_t N>
void write_baggage_value(Writer<N>& out, std::string_view value) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kReserved = "\",;\\%";
  for (const char& c : value) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte > 0x20 && byte < 0x7f && kReserved.find(c) == std::string_view::npos) {
      out << std::string_view(&c, 1);
    } else {
      const char escaped[3] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      out << std::string_view(escaped, 3);
    }
  }
}

}  // namespace

AuthorityText make_authority(const packet::Endpoint& endpoint) {
  AuthorityText text;
  Writer out(text);
  write_endpoint(out, endpoint);
  return text;
}

AuthorityText make_authority(std::string_view hostname, uint16_t port) {
  AuthorityText text;
  Writer(text) << hostname << ":" << static_cast<unsigned>(port);
  return text;
}

bool make_baggage(const Baggage& baggage, Profile profile, Text<kMaxBaggage>& out) {
  Writer writer(out);
  bool first = true;
  const auto put = [&](std::string_view prefix, std::string_view middle, std::string_view suffix,
                       std::string_view value) {
    if (value.empty() && profile == Profile::head) return;
    writer << (first ? "" : ",") << prefix << middle << suffix << "=";
    write_baggage_value(writer, value);
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
