// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// TCP packets and ICMP errors against a table that knows one flow of each family: 10.0.0.1:1000
// that called 10.0.0.2:80 and goes to 10.0.0.3:8080, and the same with fd00:: in front.
#include <cstdlib>

#include "heap_packet.h"
#include "ip/icmp.h"
#include "nat/table.h"
#include "packet/offload.h"

using namespace isthmus;

namespace {

constexpr timer::Instant kNow{std::chrono::seconds(1000)};

void add(nat::Table& table, const char* prefix) {
  const auto at = [&](const char* host) {
    return *packet::IpAddress::parse(std::string(prefix) + host);
  };
  nat::PortChoice keep;
  keep.keep = true;
  nat::Entry* entry = nullptr;
  table.create({{at("1"), 1000}, {at("2"), 80}}, at("1"), {at("3"), 8080}, keep, 0, kNow, entry);
}

// A packet that was right before must be right afterwards.
void check(packet::Parsed& parsed) {
  rte_mbuf* packet = parsed.mbuf;
  packet::prepare_forward(parsed);
  packet::complete_checksums(packet);
  packet->ol_flags = 0;
  packet::Parsed again;
  if (packet::parse(packet, again)) abort();
  if (again.tuple != parsed.tuple) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size <= fuzz::kPrefix || size > fuzz::kMaxPacket) return 0;
  nat::Table table({.capacity = 4, .key = {1, 2}}, kNow);
  add(table, "10.0.0.");
  add(table, "fd00::");
  const uint64_t flags = fuzz::receive_flags(input[1]);
  fuzz::HeapPacket heap(input + fuzz::kPrefix, size - fuzz::kPrefix, input[0], flags);
  packet::Parsed parsed;
  if (packet::parse(heap.get(), parsed) || parsed.is_fragment) return 0;
  // Where only the flags said that the sums were right, nothing can be said about them later.
  const bool sound = flags == 0;
  if (parsed.protocol == packet::kProtoTcp) {
    const auto found = table.find(parsed.tuple);
    if (found && !table.translate(found, parsed, kNow) && sound) check(parsed);
    return 0;
  }
  ip::EmbeddedPacket embedded;
  if (!ip::is_icmp_error(parsed) || ip::parse_icmp_error(parsed, embedded) ||
      embedded.protocol != packet::kProtoTcp) {
    return 0;
  }
  const auto found = table.find(embedded.tuple.reversed());
  if (found && !table.translate_error(found, parsed) && sound) check(parsed);
  return 0;
}
