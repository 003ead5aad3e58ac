// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <algorithm>
#include <fmt/format.h>

#include "sim/dice.h"
#include "sim/tcp_run.h"

namespace isthmus::sim {
namespace {

// One kind of loss, or several, or none.
void lose(Dice& dice, LinkModel& link) {
  switch (dice.upto(6)) {
    case 0:
      break;
    case 1:
    case 2:
      link.loss = dice.one_in(2) ? 0.05 : dice.share(0.1);
      break;
    case 3:
      link.burst = {
          .enter = dice.share(0.03), .leave = 0.1 + dice.share(0.5), .loss = 0.5 + dice.share(0.5)};
      break;
    case 4:
      link.lose_every = static_cast<uint32_t>(7 + dice.upto(100));
      break;
    case 5:
      link.tail_loss =
          dice.share(0.25);  // of more, a FIN may die nine times and its sender give up
      break;
    default:
      link.loss = dice.share(0.03);
      link.burst.enter = dice.share(0.01);
      link.tail_loss = dice.share(0.1);
      break;
  }
}

LinkModel random_link(Dice& dice) {
  LinkModel link;
  link.delay = std::chrono::microseconds(20 + dice.upto(40'000) / (1 + dice.upto(20)));
  link.jitter = std::chrono::microseconds(dice.one_in(2) ? dice.upto(3'000) : 0);
  lose(dice, link);
  link.reorder = dice.one_in(3) ? 0 : dice.share(0.2);
  link.reorder_delay = std::chrono::microseconds(1 + dice.upto(10'000));
  link.duplicate = dice.one_in(2) ? 0.02 : 0;
  link.corrupt = dice.one_in(2) ? 0.01 : 0;
  if (dice.one_in(2)) {
    link.bits_per_second = 1'000'000 + dice.upto(200'000'000) / (1 + dice.upto(20));
    link.queue_bytes = static_cast<uint32_t>(20'000 + dice.upto(200'000));
    if (dice.one_in(3)) link.queue_packets = static_cast<uint32_t>(10 + dice.upto(100));
    if (dice.one_in(2)) link.mark_bytes = static_cast<uint32_t>(dice.upto(link.queue_bytes));
  }
  link.mtu = static_cast<uint16_t>(dice.one_in(4) ? 576 + dice.upto(8'424) : 1500);
  link.segment = !dice.one_in(4);
  if (link.segment && link.mtu > 1400 && dice.one_in(8)) {
    link.black_hole = static_cast<uint16_t>(1300 + dice.upto(100));
  }
  return link;
}

// What differs on the way back: paths are seldom symmetric.
LinkModel random_way_back(Dice& dice, const LinkModel& there) {
  LinkModel back = there;
  if (dice.one_in(2)) return back;
  const LinkModel other = random_link(dice);
  back = other;
  back.mtu = there.mtu;
  back.segment = there.segment;
  return back;
}

Middlebox random_middlebox(Dice& dice) {
  Middlebox box;
  if (!dice.one_in(3)) return box;
  const auto sides = [&] { return static_cast<uint8_t>(dice.one_in(3) ? 1 + dice.upto(2) : 0); };
  box.strip_timestamps = sides();
  box.strip_sack = sides();
  box.strip_scale = sides();
  if (dice.one_in(3)) box.clamp_mss = static_cast<uint16_t>(dice.upto(1400));
  if (dice.one_in(3)) {
    box.shift[0] = static_cast<uint32_t>(dice.upto(UINT32_MAX - 1));
    box.shift[1] = static_cast<uint32_t>(dice.upto(UINT32_MAX - 1));
    box.shift_sack = !dice.one_in(4);
  }
  box.bleach_ecn = dice.one_in(4);
  return box;
}

tcp::Config random_config(Dice& dice) {
  tcp::Config config;
  config.max_connections = 16;
  config.max_time_wait = 16;
  config.max_sent_records = dice.one_in(8) ? 24 : 4096;
  config.max_gaps = dice.one_in(8) ? 6 : 1024;
  config.receive_buffer = dice.one_in(6) ? static_cast<uint32_t>(600 + dice.upto(8'000))
                                         : 65'536 + static_cast<uint32_t>(dice.upto(200'000));
  config.max_receive_buffer = config.receive_buffer * (dice.one_in(2) ? 1 : 4);
  config.send_buffer = 16'384 + static_cast<uint32_t>(dice.upto(250'000));
  config.max_send_buffer = config.send_buffer * (dice.one_in(2) ? 1 : 2);
  return config;
}

Behaviour random_user(Dice& dice, int side, uint32_t max_send_buffer) {
  Behaviour user;
  user.bytes = dice.one_in(5) ? dice.upto(3) : dice.upto(uint64_t{1} << (8 + dice.upto(14)));
  user.chunk = static_cast<uint32_t>(1 + dice.upto(dice.one_in(3) ? 2'000 : 20'000));
  // Each chunk is a buffer of its own; both queues full of them must fit the pools.
  const uint64_t queue = std::min<uint64_t>(user.bytes, max_send_buffer);
  user.chunk = std::max(user.chunk, static_cast<uint32_t>(queue / 1'500 + 1));
  if (dice.one_in(3)) user.read = static_cast<uint32_t>(1 + dice.upto(10'000));
  if (dice.one_in(3)) user.read_pause = std::chrono::microseconds(dice.upto(2'000));
  if (dice.one_in(5)) {
    user.stall_at = dice.upto(100'000);
    user.stall_for = std::chrono::milliseconds(dice.upto(20'000));
  }
  if (dice.one_in(12)) user.abort_at = 1 + dice.upto(100'000);
  user.close_after_peer = side == 1 && dice.one_in(3);
  return user;
}

}  // namespace

Scenario random_scenario(uint64_t seed) {
  Dice dice(seed);
  Scenario s;
  s.seed = seed;
  s.link = random_link(dice);
  s.back = random_way_back(dice, s.link);
  s.middlebox = random_middlebox(dice);
  s.ipv6 = dice.one_in(2);
  s.held = dice.one_in(4);
  s.simultaneous_open = !s.held && dice.one_in(10);
  s.before_wrap =
      dice.one_in(2)
          ? static_cast<uint32_t>(1 + dice.upto(0x100) + dice.upto(1) * dice.upto(200'000))
          : 0;
  s.wraps = static_cast<int>(dice.upto(1));
  // Whose SYN decides is chance then, and no oracle could tell who scales.
  if (s.simultaneous_open && s.middlebox.strip_scale != 3) s.middlebox.strip_scale = 0;
  for (int side = 0; side < 2; ++side) {
    s.config[side] = random_config(dice);
    tcp::Options& options = s.options[side];
    options.mtu = s.link.mtu;
    options.handshake_timeout = std::chrono::seconds(60);
    options.nagle = dice.one_in(4);
    options.ecn = dice.one_in(2) ? tcp::Ecn::active : tcp::Ecn::passive;
    if (dice.one_in(5)) options.congestion = tcp::CongestionControl::reno;
    // Always on in the end: a RST that got lost is learnt of in no other way.
    options.keepalive_idle = std::chrono::seconds(dice.one_in(4) ? 20 : 600);
    s.user[side] = random_user(dice, side, s.config[side].max_send_buffer);
  }
  return s;
}

std::string describe(const Scenario& s) {
  return fmt::format(
      "there: {}\n  back: {}\n  middlebox: {}\n  v6 {} held {} simultaneous {} bytes {}/{} receive "
      "buffers {}/{}",
      describe(s.link), describe(s.back.value_or(s.link)), describe(s.middlebox), s.ipv6, s.held,
      s.simultaneous_open, s.user[0].bytes, s.user[1].bytes, s.config[0].receive_buffer,
      s.config[1].receive_buffer);
}

}  // namespace isthmus::sim
