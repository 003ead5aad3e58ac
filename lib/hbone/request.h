// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The CONNECT request of HBONE as ztunnel makes it: authority, baggage, forwarded,
// traceparent. None of the headers is authenticated; nothing may be allowed because of one.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "h2/headers.h"
#include "packet/address.h"

namespace isthmus::hbone {

enum class Profile : uint8_t { istio_1_18, head };

// The one answer that makes a tunnel: Envoy takes no other of the 2xx.
inline constexpr uint16_t kConnected = 200;

// A text of at most N bytes, held in place. Longer texts don't fit; nothing is ever cut.
template <size_t N>
class Text {
 public:
  bool assign(std::string_view text) {
    used_ = 0;
    return append(text);
  }
  bool append(std::string_view text) {
    if (text.size() > N - used_) return false;
    std::copy(text.begin(), text.end(), bytes_.begin() + used_);
    used_ = static_cast<uint16_t>(used_ + text.size());
    return true;
  }
  bool empty() const { return used_ == 0; }
  std::string_view view() const { return {bytes_.data(), used_}; }

 private:
  static_assert(N <= UINT16_MAX);
  std::array<char, N> bytes_;
  uint16_t used_ = 0;
};

inline constexpr size_t kMaxAuthority = 261;  // a DNS name and a port
inline constexpr size_t kMaxBaggage = 1024;
inline constexpr size_t kMaxForwarded = 384;

using AuthorityText = Text<kMaxAuthority>;
AuthorityText make_authority(const packet::Endpoint& endpoint);
AuthorityText make_authority(std::string_view hostname, uint16_t port);

// The source workload, as baggage tells it. Empty fields are left out by head and sent empty by
// 1.18, like ztunnel does.
struct Baggage {
  std::string_view cluster;
  std::string_view namespace_name;
  std::string_view workload_type;  // "deployment", "cronjob", "pod", "job"
  std::string_view workload_name;
  std::string_view service_name;
  std::string_view service_version;
  std::string_view region;  // head only, as is zone
  std::string_view zone;
};
// False when it doesn't fit; then no baggage is sent.
bool make_baggage(const Baggage& baggage, Profile profile, Text<kMaxBaggage>& out);

// 1.18: for=<client ip>; head: for="<ip:port>" and ;host=<service hostname> where there is one.
bool make_forwarded(const packet::Endpoint& client, std::string_view service_host, Profile profile,
                    Text<kMaxForwarded>& out);

// W3C trace context, version 00, not sampled: "00-<32 hex>-<16 hex>-00".
using TraceParent = Text<55>;
TraceParent make_traceparent(uint64_t trace_high, uint64_t trace_low, uint64_t parent);

// A request to open a tunnel, copied whole by whoever takes it.
struct ConnectRequest {
  AuthorityText authority;
  Text<kMaxBaggage> baggage;  // empty: not sent; so are the next two
  Text<kMaxForwarded> forwarded;
  TraceParent traceparent;

  // Fields in the order in which they are sent; views of this.
  std::span<const h2::Field> fields(std::array<h2::Field, 3>& storage) const;
};

}  // namespace isthmus::hbone
