// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two engines, a link and two users: built, run to the end and judged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "packet/headers.h"
#include "sim/link.h"
#include "sim/scheduler.h"
#include "sim/tcp_host.h"

namespace isthmus::sim {

struct Scenario {
  uint64_t seed = 1;
  LinkModel link;                 // from side 0, and both directions unless back says otherwise
  std::optional<LinkModel> back;  // from side 1
  Middlebox middlebox;
  tcp::Config config[2];
  tcp::Options options[2];
  Behaviour user[2];  // 0 connects, 1 accepts
  bool ipv6 = false;
  bool held = false;               // late accept: completed after a while
  bool simultaneous_open = false;  // both connect
  // The initial sequence number of side 0 or 1 lies this far below 2^32; 0: anywhere.
  uint32_t before_wrap = 0;
  int wraps = 0;
  bool may_time_out = false;  // the path is so bad that giving up is right
  bool write_log = true;
  bool keep_packets = false;  // for a pcap file
  std::function<bool(int, uint64_t, const std::vector<uint8_t>&)> lose_if;
};

// Everything that a seed decides.
Scenario random_scenario(uint64_t seed);
std::string describe(const Scenario& scenario);

class TcpRun {
 public:
  explicit TcpRun(const Scenario& scenario);

  // To the end of both connections and of TIME-WAIT. Empty when everything that was promised held;
  // else what did not, with the seed.
  std::string finish();
  // The single steps of finish(), for tests that look in between.
  bool step();

  Scheduler& scheduler() { return scheduler_; }
  Link& link() { return link_; }
  Host& host(int side) { return *hosts_[side]; }
  User& user(int side) { return *users_[side]; }
  tcp::Connection* connection(int side) { return users_[side]->connection(); }
  const PacketLog& log() const { return log_; }
  uint64_t steps() const { return steps_; }
  // Virtual time from the start to the last user's last event.
  timer::Duration elapsed() const { return done_at_ - started_at_; }

 private:
  // What a side has told of its window.
  struct Edge {
    bool known = false;
    bool heard_scale = false;  // the other side's SYN had the option when it came here
    uint8_t scale = 0;
    uint32_t right = 0;
  };
  void open();
  void watch_window(int from, const std::vector<uint8_t>& packet);
  void check_right_edge(int from, const packet::Tcp& header, size_t payload);
  void check_connections();
  std::string verdict() const;

  Scenario scenario_;
  tcp::Secrets secrets_[2];
  packet::Endpoint ends_[2];
  Scheduler scheduler_;
  PacketLog log_;
  Link link_;
  std::unique_ptr<User> users_[2];
  std::unique_ptr<Host> hosts_[2];
  Edge edges_[2];
  unsigned mbufs_before_;
  timer::Instant started_at_;
  timer::Instant done_at_;
  uint64_t steps_ = 0;
  std::string error_;
};

}  // namespace isthmus::sim
