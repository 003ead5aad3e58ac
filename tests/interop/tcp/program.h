// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What the test's script has our end do: one JSON object per line in, one per line out. Every
// command is answered by {"reply": ...} or {"error": "..."}; a connection that ends says so by
// {"event": "ended", ...} in between, unless its part is quiet.
//
//   {"do": "listen", "port": N, "part": PART, "options": OPTIONS}
//   {"do": "connect", "address": A, "port": N, "part": PART, "options": OPTIONS,
//    "count": N, "parallel": N, "from": N}      N connections, so many at once; from: source port
//   {"do": "show" | "resume" | "shutdown" | "abort", "connection": N}
//   {"do": "impair", "ours": LINK, "kernels": LINK} | {"do": "unimpair"}
//   {"do": "cut", "cut": BOOL}                  nothing passes any more, or again
//   {"do": "stats"} | {"do": "quit"}
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "station.h"
#include "talker.h"

namespace isthmus::interop {

class Program {
 public:
  explicit Program(Station& station);

  // One turn of everything but input. True when there was something to do.
  bool turn();
  // False after "quit". Throws on a malformed line: the script is ours.
  bool command(const std::string& line);

 private:
  struct Listen {
    Part part;
    tcp::Options options;
    bool quiet = false;
  };
  struct Campaign {
    packet::Endpoint remote;
    Listen how;
    uint64_t left = 0;
    uint64_t running = 0;
    uint64_t parallel = 1;
    uint16_t from = 0;
  };
  struct Known {
    std::unique_ptr<Talker> talker;
    bool quiet = false;
    uint16_t port = 0;             // that it was accepted on
    Campaign* campaign = nullptr;  // or that it was opened by
  };

  static Listen read_listen(const Json& command);
  bool accept(const packet::Parsed& syn);
  void open_more(Campaign& campaign);
  Known& add(const Listen& how, uint64_t& number);
  void on_end(uint64_t number);
  Json act(const std::string& what, const Json& command);
  Json stats();
  Talker& talker(const Json& command);

  Station& station_;
  std::map<uint16_t, Listen> listens_;
  std::vector<std::unique_ptr<Campaign>> campaigns_;
  std::map<uint64_t, Known> known_;
  std::vector<uint64_t> ended_;  // not told yet
  uint64_t count_ = 0;
  uint16_t next_port_ = 20'000;
  uint64_t closed_ = 0;
  uint64_t failed_ = 0;
  uint64_t connections_ = 0;
};

}  // namespace isthmus::interop
