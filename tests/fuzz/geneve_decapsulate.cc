// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Geneve from the outer IP header to the inner packet.
#include <cstdlib>

#include "geneve/geneve.h"
#include "heap_packet.h"
#include "ip/arp.h"
#include "packet/parse.h"

using namespace isthmus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size <= fuzz::kPrefix || size > fuzz::kMaxPacket) return 0;
  fuzz::HeapPacket heap(input + fuzz::kPrefix, size - fuzz::kPrefix, input[0],
                        fuzz::receive_flags(input[1]));
  packet::Parsed outer;
  if (packet::parse(heap.get(), outer) || !geneve::is_geneve(outer)) return 0;
  geneve::Tunnelled tunnelled;
  if (geneve::parse(outer, tunnelled)) return 0;
  if (tunnelled.outer_length + tunnelled.inner.length > heap.get()->pkt_len) abort();
  geneve::strip(heap.get(), tunnelled);
  packet::Parsed inner;
  packet::Arp arp;
  if (tunnelled.inner.type == packet::Ethernet::kArp) {
    ip::parse_arp(heap.get(), arp);
  } else if (!packet::parse(heap.get(), inner) &&
             static_cast<uint32_t>(inner.l3_length + inner.l4_length) > heap.get()->data_len) {
    abort();
  }
  return 0;
}
