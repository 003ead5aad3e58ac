// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/tcp_run.h"

#include <cstdlib>
#include <fmt/format.h>

#include "packet/headers.h"
#include "packet/siphash.h"
#include "support/pools.h"
#include "tcp/options.h"
#include "tcp/sequence.h"

namespace isthmus::sim {
namespace {

constexpr uint64_t kMaxSteps = 2'000'000;
constexpr timer::Duration kMaxTime = std::chrono::hours(2);

packet::Endpoint end_of(int side, bool ipv6) {
  if (!ipv6) {
    return {packet::IpAddress::v4(0x0a000001u + static_cast<uint32_t>(side)),
            static_cast<uint16_t>(side == 0 ? 40'000 : 80)};
  }
  uint8_t bytes[16] = {0xfd, 0};
  bytes[15] = static_cast<uint8_t>(side + 1);
  return {packet::IpAddress::v6(bytes), static_cast<uint16_t>(side == 0 ? 40'000 : 80)};
}

tcp::Secrets secrets_of(uint64_t seed, int side) {
  std::mt19937_64 random(seed * 2 + static_cast<unsigned>(side));
  const auto key = [&] { return packet::SipKey{random(), random()}; };
  return {key(), key(), key(), key()};
}

// The instant at which the engine's clock gives side the wanted initial sequence number.
timer::Instant start_of(const Scenario& scenario, const tcp::Secrets& secrets) {
  const timer::Instant earliest{std::chrono::hours(1)};
  if (scenario.before_wrap == 0) return earliest;
  const int side = scenario.wraps;
  const uint64_t hash =
      packet::siphash(secrets.sequence,
                      packet::Tuple{end_of(side, scenario.ipv6), end_of(1 - side, scenario.ipv6)});
  const uint32_t wanted = 0u - scenario.before_wrap;
  const auto ticks = static_cast<uint32_t>(wanted - static_cast<uint32_t>(hash));
  // A whole turn of the clock later is the same number, and never before the earliest.
  return timer::Instant(std::chrono::microseconds((uint64_t{ticks} + (uint64_t{1} << 32)) * 4));
}

}  // namespace

TcpRun::TcpRun(const Scenario& scenario)
    : scenario_(scenario),
      secrets_{secrets_of(scenario.seed, 0), secrets_of(scenario.seed, 1)},
      ends_{end_of(0, scenario.ipv6), end_of(1, scenario.ipv6)},
      scheduler_(start_of(scenario, secrets_[scenario.wraps])),
      link_(scheduler_, test::pools(), scenario.seed, &log_),
      mbufs_before_(test::mbufs_in_use()),
      started_at_(scheduler_.now()),
      done_at_(scheduler_.now()) {
  log_.keep_packets(scenario.keep_packets);
  log_.write_text(scenario.write_log || scenario.keep_packets);
  link_.model(0) = scenario.link;
  link_.model(1) = scenario.back.value_or(scenario.link);
  link_.middlebox() = scenario.middlebox;
  if (scenario.lose_if) link_.lose_if(scenario.lose_if);
  link_.watch([this](int from, const std::vector<uint8_t>& packet) { watch_window(from, packet); });
  for (int side = 0; side < 2; ++side) {
    hosts_[side] = std::make_unique<Host>(scheduler_, link_, side, test::pools(),
                                          scenario.config[side], secrets_[side]);
    users_[side] = std::make_unique<User>(scheduler_, test::pools(), static_cast<uint32_t>(side),
                                          static_cast<uint32_t>(1 - side), scenario.user[side],
                                          [this, side] { hosts_[side]->poll(); });
  }
  open();
}

void TcpRun::open() {
  const auto connect = [this](int side) {
    tcp::Connection* connection =
        hosts_[side]->engine().connect(ends_[side], ends_[1 - side], users_[side].get(),
                                       scenario_.options[side], scheduler_.now());
    users_[side]->start(*connection);
    hosts_[side]->poll();
  };
  connect(0);
  if (scenario_.simultaneous_open) return connect(1);
  hosts_[1]->listen([this](const packet::Parsed& syn) -> tcp::Connection* {
    if (users_[1]->connection() != nullptr || users_[1]->over()) return nullptr;
    tcp::Connection* connection =
        hosts_[1]->engine().accept(syn, users_[1].get(), scenario_.options[1], scheduler_.now(),
                                   scenario_.held ? tcp::AcceptMode::held : tcp::AcceptMode::now);
    if (connection == nullptr) return nullptr;
    users_[1]->start(*connection);
    if (scenario_.held) {
      scheduler_.after(std::chrono::milliseconds(1500), [this] {
        if (users_[1]->connection() == nullptr) return;
        users_[1]->connection()->complete_accept();
        hosts_[1]->poll();
      });
    }
    return connection;
  });
}

// No end may take back what it has offered (RFC 9293 SHLD-14), but for what rounding to the window
// scale takes (RFC 7323 section 2.4); and none may send beyond what the other has offered.
void TcpRun::watch_window(int from, const std::vector<uint8_t>& packet) {
  const size_t l3 = packet[0] >> 4 == 4 ? 20 : 40;
  const auto& header = *reinterpret_cast<const packet::Tcp*>(packet.data() + l3);
  Edge& edge = edges_[from];
  tcp::SegmentOptions options;
  const bool syn = (header.flags & packet::Tcp::kSyn) != 0;
  if (!tcp::parse_options({packet.data() + l3 + 20, header.header_length() - 20}, syn, options)) {
    error_ = "an option of ours is malformed";
  }
  if (syn) {
    edge.scale = options.scale;
    edges_[1 - from].heard_scale =
        options.has_scale && (scenario_.middlebox.strip_scale >> from & 1) == 0;
  }
  check_right_edge(from, header, packet.size() - l3 - header.header_length());
  if ((header.flags & packet::Tcp::kRst) != 0 || (header.flags & packet::Tcp::kAck) == 0) return;
  const uint8_t scale = edge.heard_scale ? edge.scale : 0;
  const uint32_t window = header.window.get() << (syn ? 0 : scale);
  const uint32_t right = header.acknowledgment.get() + window;
  if (edge.known && tcp::seq_lt(right + (1u << scale) - 1, edge.right)) {
    error_ = fmt::format("side {} took its window back by {}", from, edge.right - right);
  }
  edge.right = edge.known ? tcp::seq_max(edge.right, right) : right;
  edge.known = true;
}

// Where a middlebox took the scale from one SYN the ends disagree, and only the receiver is right.
void TcpRun::check_right_edge(int from, const packet::Tcp& header, size_t payload) {
  const Edge& peer = edges_[1 - from];
  if (!peer.known || payload == 0 || edges_[from].heard_scale != peer.heard_scale) return;
  const uint32_t end = header.sequence.get() + static_cast<uint32_t>(payload);
  const uint32_t seen = end + scenario_.middlebox.shift[from];
  if (tcp::seq_lt(peer.right, seen)) {
    error_ = fmt::format("side {} sent {} bytes beyond the window", from, seen - peer.right);
  }
}

void TcpRun::check_connections() {
  for (int side = 0; side < 2; ++side) {
    const tcp::Connection* connection = users_[side]->connection();
    if (connection != nullptr && !connection->consistent()) {
      error_ = fmt::format("side {}: the connection's numbers contradict each other", side);
    }
    if (!users_[side]->error().empty()) error_ = users_[side]->error();
  }
}

bool TcpRun::step() {
  if (!scheduler_.step()) return false;
  ++steps_;
  check_connections();
  const bool done = users_[0]->over() && (users_[1]->over() || users_[1]->connection() == nullptr);
  if (!done) done_at_ = scheduler_.now();
  return true;
}

std::string TcpRun::finish() {
  while (error_.empty() && step()) {
    if (steps_ > kMaxSteps || scheduler_.now() - started_at_ > kMaxTime) {
      error_ = "stuck";
    }
  }
  if (error_.empty()) error_ = verdict();
  if (error_.empty()) return {};
  return fmt::format("seed {}: {}\n  {}\n  taken {} of {}, {} of {}", scenario_.seed, error_,
                     describe(scenario_), users_[1]->taken(), scenario_.user[0].bytes,
                     users_[0]->taken(), scenario_.user[1].bytes);
}

std::string TcpRun::verdict() const {
  const bool broken = users_[0]->aborted() || users_[1]->aborted() ||
                      users_[0]->failure() != tcp::Failure::none ||
                      users_[1]->failure() != tcp::Failure::none;
  for (int side = 0; side < 2; ++side) {
    const User& user = *users_[side];
    const bool gave_up = user.failure() == tcp::Failure::timed_out && user.connected();
    if (gave_up && !scenario_.may_time_out) return fmt::format("side {} gave up", side);
    if (user.connection() != nullptr) return fmt::format("side {} never heard the end", side);
    const uint64_t expected = scenario_.user[1 - side].bytes;
    if (user.taken() > expected) return fmt::format("side {} got more than was sent", side);
    if (!broken && user.taken() != expected) {
      return fmt::format("side {} lacks bytes and was told nothing", side);
    }
    if (!broken && !user.over()) return fmt::format("side {} was never opened", side);
    if (hosts_[side]->engine().connections() != 0 || hosts_[side]->engine().time_waits() != 0) {
      return fmt::format("side {} leaks a connection", side);
    }
  }
  const unsigned mbufs = test::mbufs_in_use();
  if (mbufs != mbufs_before_) {
    return fmt::format("{} mbufs leaked", static_cast<int>(mbufs - mbufs_before_));
  }
  return {};
}

}  // namespace isthmus::sim
