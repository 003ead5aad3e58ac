// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What befell the packets of a simulated link: a line each, and a pcap file of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "timer/time.h"

namespace isthmus::sim {

class PacketLog {
 public:
  // "time side fate source > destination flags seq ack win len options".
  void add(timer::Instant now, int side, const char* fate, const std::vector<uint8_t>& packet);
  const std::string& text() const { return text_; }
  // All packets that were put on the link, as a pcap file of raw IP. False when it can't be
  // written.
  bool write_pcap(const std::string& path) const;
  // Thousands of runs whose log nobody reads are spared the making of it.
  void write_text(bool write) { write_ = write; }
  void keep_packets(bool keep) { keep_ = keep; }

 private:
  struct Kept {
    timer::Instant at;
    std::vector<uint8_t> bytes;
  };
  std::string text_;
  std::vector<Kept> kept_;
  bool write_ = true;
  bool keep_ = false;
};

}  // namespace isthmus::sim
