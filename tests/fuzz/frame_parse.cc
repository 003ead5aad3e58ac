// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A frame as a port receives it: Ethernet with its tags, then ARP or IP.
#include <cstdlib>

#include "heap_packet.h"
#include "ip/arp.h"
#include "packet/ethernet.h"
#include "packet/parse.h"

using namespace isthmus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size <= fuzz::kPrefix || size > fuzz::kMaxPacket) return 0;
  fuzz::HeapPacket heap(input + fuzz::kPrefix, size - fuzz::kPrefix, input[0],
                        fuzz::receive_flags(input[1]));
  packet::FrameView view;
  if (packet::parse_ethernet(heap.get(), view)) return 0;
  if (view.length > heap.get()->data_len || view.length < sizeof(packet::Ethernet)) abort();
  packet::strip_ethernet(heap.get(), view);
  packet::Arp arp;
  packet::Parsed parsed;
  if (view.type == packet::Ethernet::kArp) {
    if (!ip::parse_arp(heap.get(), arp) && arp.sender_mac.is_multicast()) abort();
  } else {
    packet::parse(heap.get(), parsed);
  }
  return 0;
}
