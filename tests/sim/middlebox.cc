// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/middlebox.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "packet/headers.h"

namespace isthmus::sim {
namespace {

using packet::Ipv4;
using packet::Ipv6;
using packet::Tcp;

enum OptionKind : uint8_t { kEnd, kNop, kMss, kScale, kSackPermitted, kSack, kTimestamp = 8 };

// RFC 1624, for a piece at an even offset of what is summed.
class ChecksumUpdate {
 public:
  void replace(uint8_t* at, size_t offset, const uint8_t* with, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const bool high = (offset + i) % 2 == 0;
      sum_ += static_cast<uint16_t>(~static_cast<uint16_t>(at[i] << (high ? 8 : 0)));
      sum_ += static_cast<uint16_t>(with[i] << (high ? 8 : 0));
      at[i] = with[i];
    }
  }
  uint16_t apply(uint16_t checksum) const {
    uint64_t sum = sum_ + static_cast<uint16_t>(~checksum);
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
  }

 private:
  uint64_t sum_ = 0;
};

uint32_t read32(const uint8_t* at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

struct Editor {
  uint8_t* tcp;
  ChecksumUpdate update;

  void add32(size_t offset, uint32_t n) {
    const uint32_t value = read32(tcp + offset) + n;
    const uint8_t bytes[] = {static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
                             static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
    update.replace(tcp + offset, offset, bytes, 4);
  }
  void blank(size_t offset, size_t n) {
    const std::vector<uint8_t> nops(n, kNop);
    update.replace(tcp + offset, offset, nops.data(), n);
  }
};

bool is_tcp(const std::vector<uint8_t>& packet, size_t l3) {
  return (l3 == sizeof(Ipv6) ? packet[6] : packet[9]) == packet::kProtoTcp &&
         packet.size() >= l3 + sizeof(Tcp);
}

size_t l3_length(const std::vector<uint8_t>& packet) {
  return packet[0] >> 4 == 4 ? size_t{packet[0] & 0xfu} * 4 : sizeof(Ipv6);
}

void set_ecn(std::vector<uint8_t>& packet, uint8_t codepoint) {
  if (packet[0] >> 4 == 6) {
    packet[1] = static_cast<uint8_t>((packet[1] & ~0x30) | codepoint << 4);
    return;
  }
  auto& ip = *reinterpret_cast<Ipv4*>(packet.data());
  const auto tos = static_cast<uint8_t>((ip.tos & ~3) | codepoint);
  ChecksumUpdate update;
  update.replace(&ip.tos, 1, &tos, 1);
  ip.checksum.set(update.apply(ip.checksum.get()));
}

uint8_t ecn_of(const std::vector<uint8_t>& packet) {
  return packet[0] >> 4 == 6 ? packet[1] >> 4 & 3 : packet[1] & 3;
}

}  // namespace

bool Middlebox::idle() const {
  return (strip_timestamps | strip_sack | strip_scale) == 0 && clamp_mss == 0 && shift[0] == 0 &&
         shift[1] == 0 && !bleach_ecn;
}

void Middlebox::rewrite(int from, std::vector<uint8_t>& packet) const {
  const size_t l3 = l3_length(packet);
  if (idle() || !is_tcp(packet, l3)) return;
  if (bleach_ecn && ecn_of(packet) != 0) set_ecn(packet, 0);
  auto& tcp = *reinterpret_cast<Tcp*>(packet.data() + l3);
  Editor edit{packet.data() + l3, {}};
  edit.add32(4, shift[from]);
  if ((tcp.flags & Tcp::kAck) != 0) edit.add32(8, 0u - shift[1 - from]);
  const bool syn = (tcp.flags & Tcp::kSyn) != 0;
  const auto strips = [&](uint8_t sides) { return syn && (sides >> from & 1) != 0; };
  const size_t end = std::min<size_t>(tcp.header_length(), packet.size() - l3);
  for (size_t at = sizeof(Tcp); at < end;) {
    const uint8_t kind = edit.tcp[at];
    if (kind == kEnd) break;
    if (kind == kNop) {
      ++at;
      continue;
    }
    if (at + 1 >= end) break;
    const size_t length = edit.tcp[at + 1];
    if (length < 2 || at + length > end) break;
    if ((kind == kTimestamp && strips(strip_timestamps)) ||
        (kind == kSackPermitted && strips(strip_sack)) || (kind == kScale && strips(strip_scale))) {
      edit.blank(at, length);
    } else if (kind == kMss && syn && clamp_mss != 0) {
      const auto mss = static_cast<uint16_t>(edit.tcp[at + 2] << 8 | edit.tcp[at + 3]);
      const uint16_t clamped = std::min(mss, clamp_mss);
      const uint8_t bytes[] = {static_cast<uint8_t>(clamped >> 8), static_cast<uint8_t>(clamped)};
      edit.update.replace(edit.tcp + at + 2, at + 2, bytes, 2);
    } else if (kind == kSack && shift_sack) {
      for (size_t i = at + 2; i + 4 <= at + length; i += 4) edit.add32(i, 0u - shift[1 - from]);
    }
    at += length;
  }
  tcp.checksum.set(edit.update.apply(tcp.checksum.get()));
}

std::string describe(const Middlebox& box) {
  if (box.idle()) return "none";
  return fmt::format("strips ts {} sack {} scale {} clamps {} shifts {}/{}{}{}",
                     box.strip_timestamps, box.strip_sack, box.strip_scale, box.clamp_mss,
                     box.shift[0], box.shift[1], box.shift_sack ? "" : " but not sack",
                     box.bleach_ecn ? " bleaches" : "");
}

bool mark_congestion(std::vector<uint8_t>& packet) {
  if (ecn_of(packet) == 0) return false;
  set_ecn(packet, 3);
  return true;
}

}  // namespace isthmus::sim
