// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The parser of IP packets, and what is read and rewritten right behind it: ICMP errors, neighbour
// discovery, the TTL, offload flags.
#include <cstdlib>

#include "heap_packet.h"
#include "ip/icmp.h"
#include "ip/nd.h"
#include "packet/offload.h"
#include "packet/parse.h"

using namespace isthmus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size <= fuzz::kPrefix || size > fuzz::kMaxPacket) return 0;
  fuzz::HeapPacket heap(input + fuzz::kPrefix, size - fuzz::kPrefix, input[0],
                        fuzz::receive_flags(input[1]));
  packet::Parsed parsed;
  if (packet::parse(heap.get(), parsed)) return 0;

  const uint32_t headers = parsed.l3_length + parsed.l4_length;
  if (headers > heap.get()->data_len) abort();
  if (headers + parsed.payload_length > heap.get()->pkt_len) abort();
  if (parsed.tuple.source.address == parsed.tuple.destination.address) abort();

  ip::NeighbourMessage message;
  if (ip::is_neighbour_message(parsed)) ip::parse_neighbour_message(parsed, message);
  ip::EmbeddedPacket embedded;
  if (ip::is_icmp_error(parsed) && !ip::parse_icmp_error(parsed, embedded) &&
      embedded.offset + embedded.l3_length + 8 > heap.get()->data_len) {
    abort();
  }
  ip::decrement_ttl(parsed);
  ip::make_echo_reply(parsed);
  packet::prepare_forward(parsed);
  packet::complete_checksums(heap.get());
  return 0;
}
