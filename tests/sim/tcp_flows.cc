// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/tcp_flows.h"

#include <algorithm>

#include "support/pools.h"

namespace isthmus::sim {
namespace {

constexpr uint16_t kFirstPort = 40'000;

packet::Endpoint end(int side, uint16_t port) {
  return {packet::IpAddress::v4(0x0a000001u + static_cast<uint32_t>(side)), port};
}

}  // namespace

FlowsRun::FlowsRun(uint64_t seed, const LinkModel& both, const tcp::Config& config,
                   const std::vector<Flow>& flows)
    : scheduler_(timer::Instant(std::chrono::hours(1))),
      link_(scheduler_, test::pools(), seed, nullptr),
      started_at_(scheduler_.now()),
      pairs_(flows.size()) {
  link_.model(0) = link_.model(1) = both;
  for (int side = 0; side < 2; ++side) {
    const uint64_t key = seed * 2 + static_cast<unsigned>(side);
    hosts_[side] = std::make_unique<Host>(scheduler_, link_, side, test::pools(), config,
                                          tcp::Secrets{{key, 1}, {key, 2}, {key, 3}, {key, 4}});
  }
  for (size_t i = 0; i < flows.size(); ++i) {
    const auto stream = static_cast<uint32_t>(i * 2);
    pairs_[i].sender = std::make_unique<User>(scheduler_, test::pools(), stream, stream + 1,
                                              flows[i].sender, [this] { hosts_[0]->poll(); });
    Behaviour takes;
    takes.content = flows[i].sender.content;
    takes.close_after_peer = true;
    pairs_[i].receiver = std::make_unique<User>(scheduler_, test::pools(), stream + 1, stream,
                                                takes, [this] { hosts_[1]->poll(); });
    scheduler_.after(flows[i].starts, [this, i, flow = flows[i]] { start(i, flow); });
  }
  hosts_[1]->listen([this, flows](const packet::Parsed& syn) -> tcp::Connection* {
    const size_t i = syn.tcp()->source_port.get() - kFirstPort;
    User& user = *pairs_[i].receiver;
    if (user.connection() != nullptr || user.over()) return nullptr;
    tcp::Connection* connection =
        hosts_[1]->engine().accept(syn, &user, flows[i].options, scheduler_.now());
    if (connection != nullptr) user.start(*connection);
    return connection;
  });
}

void FlowsRun::start(size_t index, const Flow& flow) {
  User& user = *pairs_[index].sender;
  tcp::Connection* connection =
      hosts_[0]->engine().connect(end(0, static_cast<uint16_t>(kFirstPort + index)), end(1, 80),
                                  &user, flow.options, scheduler_.now());
  user.start(*connection);
  hosts_[0]->poll();
}

bool FlowsRun::run_until(timer::Duration since_start) {
  const timer::Instant until = started_at_ + since_start;
  while (scheduler_.next() <= until) scheduler_.step();
  return !scheduler_.idle();
}

timer::Duration FlowsRun::run_to_end(timer::Duration limit) {
  const auto over = [&] {
    return std::all_of(pairs_.begin(), pairs_.end(), [](const Pair& pair) {
      return pair.sender->over() && pair.receiver->over();
    });
  };
  while (!over() && scheduler_.now() - started_at_ < limit && scheduler_.step()) {
  }
  return scheduler_.now() - started_at_;
}

}  // namespace isthmus::sim
