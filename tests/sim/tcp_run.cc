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

Scenario random_scenario(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto upto = [&](uint64_t n) { return random() % (n + 1); };
  const auto one_in = [&](uint64_t n) { return random() % n == 0; };
  Scenario s;
  s.seed = seed;
  s.link.delay = std::chrono::microseconds(20 + upto(40'000) / (1 + upto(20)));
  s.link.jitter = std::chrono::microseconds(one_in(2) ? upto(3'000) : 0);
  // Half of the seeds have the full five percent, with reordering.
  s.link.loss = one_in(2) ? 0.05 : one_in(3) ? 0 : 0.001 * static_cast<double>(upto(100));
  s.link.reorder = one_in(4) ? 0 : 0.001 * static_cast<double>(upto(200));
  s.link.reorder_delay = std::chrono::microseconds(1 + upto(10'000));
  s.link.duplicate = one_in(2) ? 0.02 : 0;
  s.link.corrupt = one_in(2) ? 0.01 : 0;
  if (one_in(3)) s.link.bits_per_second = 1'000'000 + upto(200'000'000);
  s.link.queue_bytes = static_cast<uint32_t>(20'000 + upto(200'000));
  s.link.mtu = static_cast<uint16_t>(one_in(4) ? 576 + upto(8'424) : 1500);
  s.link.segment = !one_in(4);
  s.ipv6 = one_in(2);
  s.held = one_in(4);
  s.simultaneous_open = !s.held && one_in(10);
  s.before_wrap = one_in(2) ? static_cast<uint32_t>(1 + upto(0x100) + upto(1) * upto(200'000)) : 0;
  s.wraps = static_cast<int>(upto(1));
  for (int side = 0; side < 2; ++side) {
    tcp::Config& config = s.config[side];
    config.max_connections = 16;
    config.max_time_wait = 16;
    config.max_sent_records = one_in(8) ? 24 : 4096;
    config.max_gaps = one_in(8) ? 6 : 1024;
    config.receive_buffer = one_in(6) ? static_cast<uint32_t>(600 + upto(8'000))
                                      : 65'536 + static_cast<uint32_t>(upto(200'000));
    config.max_receive_buffer = config.receive_buffer * (one_in(2) ? 1 : 4);
    config.send_buffer = 16'384 + static_cast<uint32_t>(upto(250'000));
    config.max_send_buffer = config.send_buffer * (one_in(2) ? 1 : 2);
    tcp::Options& options = s.options[side];
    options.mtu = static_cast<uint16_t>(s.link.mtu);
    options.handshake_timeout = std::chrono::seconds(60);
    options.nagle = one_in(4);
    if (one_in(5)) options.congestion = tcp::CongestionControl::reno;
    if (one_in(4)) options.keepalive_idle = std::chrono::seconds(20);
    Behaviour& user = s.user[side];
    user.bytes = one_in(5) ? upto(3) : upto(uint64_t{1} << (8 + upto(14)));
    user.chunk = static_cast<uint32_t>(1 + upto(one_in(3) ? 2'000 : 20'000));
    // Each chunk is a buffer of its own; both queues full of them must fit the pools.
    const uint64_t queue = std::min<uint64_t>(user.bytes, config.max_send_buffer);
    user.chunk = std::max(user.chunk, static_cast<uint32_t>(queue / 1'500 + 1));
    if (one_in(3)) user.read = static_cast<uint32_t>(1 + upto(10'000));
    if (one_in(3)) user.read_pause = std::chrono::microseconds(upto(2'000));
    if (one_in(5)) {
      user.stall_at = upto(100'000);
      user.stall_for = std::chrono::milliseconds(upto(20'000));
    }
    if (one_in(12)) user.abort_at = 1 + upto(100'000);
    user.close_after_peer = side == 1 && one_in(3);
  }
  return s;
}

std::string describe(const Scenario& s) {
  return fmt::format(
      "delay {} us jitter {} us loss {} reorder {} duplicate {} corrupt {} rate {} mtu {} cut {} "
      "v6 {} "
      "held {} simultaneous {} bytes {}/{} receive buffers {}/{}",
      s.link.delay.count(), s.link.jitter.count(), s.link.loss, s.link.reorder, s.link.duplicate,
      s.link.corrupt, s.link.bits_per_second, s.link.mtu, s.link.segment, s.ipv6, s.held,
      s.simultaneous_open, s.user[0].bytes, s.user[1].bytes, s.config[0].receive_buffer,
      s.config[1].receive_buffer);
}

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
  link_.model(0) = link_.model(1) = scenario.link;
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
// scale takes (RFC 7323 section 2.4).
void TcpRun::watch_window(int from, const std::vector<uint8_t>& packet) {
  const size_t l3 = packet[0] >> 4 == 4 ? 20 : 40;
  const auto& header = *reinterpret_cast<const packet::Tcp*>(packet.data() + l3);
  Edge& edge = edges_[from];
  tcp::SegmentOptions options;
  const bool syn = (header.flags & packet::Tcp::kSyn) != 0;
  if (!tcp::parse_options({packet.data() + l3 + 20, header.header_length() - 20}, syn, options)) {
    error_ = "an option of ours is malformed";
  }
  if (syn) edge.scale = options.scale;
  if ((header.flags & packet::Tcp::kRst) != 0 || (header.flags & packet::Tcp::kAck) == 0) return;
  // Scaling is on only when both asked for it; here both always do.
  const uint32_t window = header.window.get() << (syn ? 0 : edge.scale);
  const uint32_t right = header.acknowledgment.get() + window;
  if (edge.known && tcp::seq_lt(right + (1u << edge.scale) - 1, edge.right)) {
    error_ = fmt::format("side {} took its window back by {}", from, edge.right - right);
  }
  edge.right = edge.known ? tcp::seq_max(edge.right, right) : right;
  edge.known = true;
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
