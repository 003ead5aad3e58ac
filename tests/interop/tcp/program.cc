// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "program.h"

#include <iostream>
#include <stdexcept>

namespace isthmus::interop {
namespace {

constexpr uint16_t kFirstPort = 20'000;
constexpr uint16_t kLastPort = 60'000;
const packet::IpAddress kOurV4 = *packet::IpAddress::parse("10.99.0.2");
const packet::IpAddress kOurV6 = *packet::IpAddress::parse("fd99::2");

timer::Duration milliseconds(const Json& json, const char* key, timer::Duration otherwise) {
  if (!json.contains(key)) return otherwise;
  return std::chrono::milliseconds(json[key].get<int64_t>());
}

Part read_part(const Json& json) {
  Part part;
  part.send = json.value("send", part.send);
  part.echo = json.value("echo", part.echo);
  part.request = json.value("request", part.request);
  part.rounds = json.value("rounds", part.rounds);
  part.wait_for_fin = json.value("wait_for_fin", part.wait_for_fin);
  part.keep_open = json.value("keep_open", part.keep_open);
  part.abort_at = json.value("abort_at", part.abort_at);
  part.stalled = json.value("stalled", part.stalled);
  part.digest = json.value("digest", part.digest);
  return part;
}

tcp::Options read_options(const Json& json) {
  tcp::Options options;
  options.mtu = json.value("mtu", options.mtu);
  options.handshake_timeout = milliseconds(json, "handshake_timeout", options.handshake_timeout);
  options.user_timeout = milliseconds(json, "user_timeout", options.user_timeout);
  options.stall_timeout = milliseconds(json, "stall_timeout", options.stall_timeout);
  options.keepalive_idle = milliseconds(json, "keepalive_idle", options.keepalive_idle);
  options.keepalive_interval = milliseconds(json, "keepalive_interval", options.keepalive_interval);
  options.nagle = json.value("nagle", options.nagle);
  const std::string ecn = json.value("ecn", "passive");
  options.ecn = ecn == "off"      ? tcp::Ecn::off
                : ecn == "active" ? tcp::Ecn::active
                                  : tcp::Ecn::passive;
  if (json.value("congestion", "cubic") == "reno") {
    options.congestion = tcp::CongestionControl::reno;
  }
  return options;
}

sim::LinkModel read_link(const Json& json, uint16_t mtu) {
  sim::LinkModel link;
  link.mtu = mtu;
  link.delay = timer::Duration(json.value("delay", int64_t{1000}));
  link.jitter = timer::Duration(json.value("jitter", int64_t{0}));
  link.loss = json.value("loss", 0.0);
  link.tail_loss = json.value("tail_loss", 0.0);
  link.burst.enter = json.value("bursts", 0.0);
  link.reorder = json.value("reorder", 0.0);
  link.reorder_delay = timer::Duration(json.value("reorder_delay", int64_t{3000}));
  link.duplicate = json.value("duplicate", 0.0);
  link.corrupt = json.value("corrupt", 0.0);
  link.bits_per_second = json.value("bits_per_second", uint64_t{0});
  link.queue_bytes = json.value("queue_bytes", link.queue_bytes);
  link.mark_bytes = json.value("mark_bytes", link.mark_bytes);
  return link;
}

void print(const Json& json) {
  std::cout << json.dump() << '\n' << std::flush;
}

}  // namespace

Program::Program(Station& station) : station_(station) {
  station_.listen([this](const packet::Parsed& syn) { return accept(syn); });
}

Program::Listen Program::read_listen(const Json& command) {
  const Json none = Json::object();
  return {.part = read_part(command.value("part", none)),
          .options = read_options(command.value("options", none)),
          .quiet = command.value("quiet", false)};
}

Program::Known& Program::add(const Listen& how, uint64_t& number) {
  number = ++count_;
  Known& known = known_[number];
  known.quiet = how.quiet;
  known.talker = std::make_unique<Talker>(
      how.part, station_.pools(), [this] { return station_.now(); },
      [this, number](Talker&) { ended_.push_back(number); });
  return known;
}

bool Program::accept(const packet::Parsed& syn) {
  const auto listen = listens_.find(syn.tuple.destination.port);
  if (listen == listens_.end()) return false;
  uint64_t number = 0;
  Known& known = add(listen->second, number);
  known.port = listen->first;
  tcp::Connection* connection =
      station_.engine().accept(syn, known.talker.get(), listen->second.options, station_.now());
  if (connection == nullptr) {
    known_.erase(number);
    return false;
  }
  known.talker->start(*connection);
  ++connections_;
  return true;
}

void Program::open_more(Campaign& campaign) {
  tcp::Engine& engine = station_.engine();
  while (campaign.left != 0 && campaign.running < campaign.parallel) {
    const bool v4 = campaign.remote.address.is_v4();
    packet::Endpoint local{v4 ? kOurV4 : kOurV6, campaign.from};
    for (int tries = 0; campaign.from == 0 && tries <= kLastPort - kFirstPort; ++tries) {
      local.port = next_port_;
      next_port_ = next_port_ == kLastPort ? kFirstPort : static_cast<uint16_t>(next_port_ + 1);
      if (!engine.in_use(local, campaign.remote)) break;
    }
    uint64_t number = 0;
    Known& known = add(campaign.how, number);
    known.campaign = &campaign;
    tcp::Connection* connection = engine.connect(local, campaign.remote, known.talker.get(),
                                                 campaign.how.options, station_.now());
    if (connection == nullptr) throw std::runtime_error("connect: the tuple is taken");
    known.talker->start(*connection);
    ++connections_;
    --campaign.left;
    ++campaign.running;
  }
}

bool Program::turn() {
  const bool busy = station_.poll();
  const std::vector<uint64_t> ended = std::move(ended_);
  ended_.clear();
  for (const uint64_t number : ended) on_end(number);
  return busy || !ended.empty();
}

void Program::on_end(uint64_t number) {
  const auto found = known_.find(number);
  Known& known = found->second;
  ++(known.talker->failure() == tcp::Failure::none ? closed_ : failed_);
  if (!known.quiet) {
    Json json = {{"event", "ended"}, {"connection", number}, {"port", known.port}};
    json.update(known.talker->report());
    print(json);
  }
  Campaign* campaign = known.campaign;
  known_.erase(found);
  if (campaign == nullptr) return;
  --campaign->running;
  open_more(*campaign);
}

Talker& Program::talker(const Json& command) {
  const auto found = known_.find(command.at("connection").get<uint64_t>());
  if (found == known_.end()) throw std::runtime_error("no such connection");
  return *found->second.talker;
}

bool Program::command(const std::string& line) {
  const Json command = Json::parse(line);
  const std::string what = command.at("do").get<std::string>();
  if (what == "quit") return false;
  try {
    print({{"reply", act(what, command)}});
  } catch (const std::runtime_error& error) {
    print({{"error", error.what()}});
  }
  return true;
}

Json Program::act(const std::string& what, const Json& command) {
  if (what == "listen") {
    listens_[command.at("port").get<uint16_t>()] = read_listen(command);
  } else if (what == "connect") {
    auto& campaign = campaigns_.emplace_back(std::make_unique<Campaign>());
    const auto address = packet::IpAddress::parse(command.at("address").get<std::string>());
    campaign->remote = {address.value(), command.at("port").get<uint16_t>()};
    campaign->how = read_listen(command);
    campaign->left = command.value("count", uint64_t{1});
    campaign->parallel = command.value("parallel", uint64_t{1});
    campaign->from = command.value("from", uint16_t{0});
    open_more(*campaign);
    return count_;
  } else if (what == "show") {
    Json json = talker(command).report();
    json["connection"] = command["connection"];
    return json;
  } else if (what == "list") {
    Json list = Json::array();
    for (const auto& [number, known] : known_) {
      list.push_back({{"connection", number}, {"port", known.port}});
    }
    return list;
  } else if (what == "resume") {
    talker(command).resume();
  } else if (what == "shutdown") {
    talker(command).shutdown();
  } else if (what == "abort") {
    talker(command).abort();
  } else if (what == "impair") {
    const auto mtu = command.value("mtu", uint16_t{1500});
    station_.impair(read_link(command.at("ours"), mtu), read_link(command.at("kernels"), mtu));
  } else if (what == "unimpair") {
    station_.unimpair();
  } else if (what == "cut") {
    station_.cut(command.at("cut").get<bool>());
  } else if (what == "stats") {
    return stats();
  } else {
    throw std::runtime_error("no such command");
  }
  return nullptr;
}

Json Program::stats() {
  const tcp::EngineStats& engine = station_.engine().stats();
  const sim::Link& link = station_.link();
  return {{"opened", connections_},
          {"closed", closed_},
          {"failed", failed_},
          {"living", station_.engine().connections()},
          {"time_waits", station_.engine().time_waits()},
          {"segments_received", engine.segments_received},
          {"segments_sent", engine.segments_sent},
          {"bytes_received", engine.bytes_received},
          {"bytes_sent", engine.bytes_sent},
          {"retransmissions", engine.retransmissions},
          {"timeouts", engine.timeouts},
          {"tail_probes", engine.tail_probes},
          {"out_of_order", engine.out_of_order},
          {"window_probes", engine.window_probes},
          {"challenge_acks", engine.challenge_acks},
          {"resets_sent", engine.resets_sent},
          {"resets_received", engine.resets_received},
          {"no_buffer", engine.no_buffer},
          {"mbufs_in_use", station_.mbufs_in_use()},
          {"not_taken", station_.not_taken()},
          {"lost_ours", link.lost(Station::kOurs)},
          {"lost_kernels", link.lost(Station::kKernels)},
          {"marked_ours", link.marked(Station::kOurs)},
          {"marked_kernels", link.marked(Station::kKernels)},
          {"linked_ours", link.packets(Station::kOurs)},
          {"linked_kernels", link.packets(Station::kKernels)},
          {"drops", station_.drops()}};
}

}  // namespace isthmus::interop
