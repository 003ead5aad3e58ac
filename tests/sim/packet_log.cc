// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/packet_log.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

#include "packet/headers.h"

namespace isthmus::sim {
namespace {

using packet::Ipv6;
using packet::Tcp;

std::string describe(const std::vector<uint8_t>& bytes) {
  const bool v4 = bytes[0] >> 4 == 4;
  const size_t l3 = v4 ? size_t{bytes[0] & 0xfu} * 4 : sizeof(Ipv6);
  const uint8_t protocol = v4 ? bytes[9] : bytes[6];
  if (protocol != packet::kProtoTcp || bytes.size() < l3 + sizeof(Tcp)) {
    return fmt::format("protocol {} length {}", protocol, bytes.size());
  }
  const auto& tcp = *reinterpret_cast<const Tcp*>(bytes.data() + l3);
  std::string flags;
  for (unsigned i = 0; i < 8; ++i) {
    if ((tcp.flags & (1u << i)) != 0) flags += "FSRPAUEC"[i];
  }
  const size_t payload = bytes.size() - std::min(bytes.size(), l3 + tcp.header_length());
  const unsigned ecn = (v4 ? bytes[1] : bytes[1] >> 4) & 3u;
  std::string text = fmt::format("{} > {} {} seq {} ack {} win {} len {}{}", tcp.source_port.get(),
                                 tcp.destination_port.get(), flags, tcp.sequence.get(),
                                 tcp.acknowledgment.get(), tcp.window.get(), payload,
                                 ecn == 0   ? ""
                                 : ecn == 3 ? " ce"
                                            : " ect");
  for (size_t i = l3 + sizeof(Tcp); i < std::min(bytes.size(), l3 + tcp.header_length()); ++i) {
    text += fmt::format("{}{:02x}", i == l3 + sizeof(Tcp) ? " opt " : "", bytes[i]);
  }
  return text;
}

}  // namespace

void PacketLog::add(timer::Instant now, int side, const char* fate,
                    const std::vector<uint8_t>& packet) {
  if (write_) {
    text_ +=
        fmt::format("{:.6f} {} {} {}\n", static_cast<double>(now.time_since_epoch().count()) / 1e6,
                    side, fate, describe(packet));
  }
  if (keep_) kept_.push_back({now, packet});
}

bool PacketLog::write_pcap(const std::string& path) const {
  FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const uint32_t header[] = {0xa1b2c3d4, 0x00040002, 0, 0, 262144, 101};  // raw IP
  std::fwrite(header, sizeof header, 1, file);
  for (const Kept& packet : kept_) {
    const auto micros = packet.at.time_since_epoch().count();
    const auto length = static_cast<uint32_t>(packet.bytes.size());
    const uint32_t record[] = {static_cast<uint32_t>(micros / 1'000'000),
                               static_cast<uint32_t>(micros % 1'000'000), length, length};
    std::fwrite(record, sizeof record, 1, file);
    std::fwrite(packet.bytes.data(), 1, length, file);
  }
  return std::fclose(file) == 0;
}

}  // namespace isthmus::sim
