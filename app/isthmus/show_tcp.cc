// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// TCP connections: the list, and one of them as `ss -ti` has it.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "print.h"
#include "show.h"

namespace isthmus::app {
namespace {

constexpr size_t kMostRows = 4096;

struct Connection {
  uint32_t place = 0;
  packet::Endpoint local;
  packet::Endpoint remote;
  tcp::Info info;
};

// A connection's number says which worker has it, as a flow's does.
uint64_t number_of(const Connection& connection, unsigned worker, size_t workers) {
  return uint64_t{connection.place} * workers + worker;
}

// Calls look(const Connection&) for each of a worker's connections.
template <typename Look>
void for_each(Application& application, WorkerThread& worker, Look&& look) {
  std::array<Connection, kCopiedAtOnce> some;
  uint32_t place = 0;
  bool done = false;
  while (!done) {
    uint32_t n = 0;
    application.on_worker(worker, [&](gateway::Worker& on) {
      const tcp::Engine& engine = on.tcp();
      const uint32_t end = std::min(engine.places(), place + kLookedAtAtOnce);
      for (; place < end && n < some.size(); ++place) {
        const tcp::Connection* found = engine.at(place);
        if (found == nullptr) continue;
        some[n++] = {place, found->local(), found->remote(),
                     found->info(application.clock().now())};
      }
      done = place == engine.places();
    });
    for (uint32_t i = 0; i < n; ++i) look(some[i]);
  }
}

Json row_of(const Connection& connection, uint64_t number) {
  const tcp::Info& info = connection.info;
  return {{"connection", number},
          {"state", tcp::to_string(info.state)},
          {"local", connection.local.to_string()},
          {"remote", connection.remote.to_string()},
          {"send_queue", info.send_queued},
          {"receive_queue", info.receive_queued},
          {"rtt_us", info.rtt},
          {"cwnd", info.congestion_window},
          {"in_flight", info.in_flight},
          {"send_window", info.send_window},
          {"mss", info.send_mss},
          {"retransmitted", info.retransmissions},
          {"limit", tcp::to_string(info.limit)}};
}

Json limit_of(const tcp::Info& info) {
  return {{"reason", tcp::to_string(info.limit)},
          {"timer", info.timer},
          {"timer_due_us", info.timer_due},
          {"since_sent_us", info.since_sent},
          {"since_received_us", info.since_received}};
}

Json path_of(const tcp::Info& info) {
  return {{"rtt_us", info.rtt},
          {"rtt_variance_us", info.rtt_var},
          {"min_rtt_us", info.min_rtt},
          {"rto_us", info.rto},
          {"backoff", info.backoff},
          {"pmtu", info.path_mtu},
          {"mss", info.send_mss},
          {"receive_mss", info.receive_mss},
          {"send_scale", info.send_scale},
          {"receive_scale", info.receive_scale},
          {"timestamps", info.timestamps},
          {"sack", info.sack},
          {"ecn", info.ecn},
          {"echoes_congestion", info.echoes_congestion}};
}

Json sender_of(const tcp::Info& info) {
  const bool found = info.slow_start_threshold != UINT32_MAX;
  return {{"congestion_control", tcp::to_string(info.congestion_control)},
          {"phase", info.congestion_state},
          {"cwnd", info.congestion_window},
          {"ssthresh", found ? Json(info.slow_start_threshold) : Json()},
          {"send_window", info.send_window},
          {"buffer", info.send_buffer},
          {"queued", info.send_queued},
          {"occupied", info.send_occupied},
          {"not_sent", info.not_sent},
          {"in_flight", info.in_flight},
          {"sacked", info.sacked},
          {"lost", info.lost},
          {"sent_again", info.sent_again},
          {"records", info.records},
          {"reordering_seen", info.reordering_seen},
          {"reorder_window_us", info.reorder_window}};
}

Json totals_of(const tcp::Info& info) {
  return {
      {"bytes_sent", info.bytes_sent},         {"bytes_acked", info.bytes_acked},
      {"bytes_received", info.bytes_received}, {"bytes_retransmitted", info.bytes_retransmitted},
      {"retransmitted", info.retransmissions}, {"timeouts", info.timeouts},
      {"tail_probes", info.tail_probes},       {"spurious", info.spurious_recoveries}};
}

Json receiver_of(const tcp::Info& info) {
  return {{"window", info.receive_window},     {"buffer", info.receive_buffer},
          {"queued", info.receive_queued},     {"occupied", info.receive_occupied},
          {"out_of_order", info.out_of_order}, {"runs", info.runs}};
}

std::string text_of(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

Json show_tcp(Application& application, const Arguments& arguments) {
  const std::string text = arguments.text("TEXT");
  const auto workers = application.workers();
  Json rows = Json::array();
  uint64_t matched = 0;
  for (unsigned worker = 0; worker < workers.size(); ++worker) {
    for_each(application, workers[worker]->thread(), [&](const Connection& connection) {
      Json row = row_of(connection, number_of(connection, worker, workers.size()));
      if (!text.empty() && !has_text(row, text)) return;
      if (++matched <= kMostRows) rows.push_back(std::move(row));
    });
  }
  return {{"matched", matched}, {"connections", std::move(rows)}};
}

std::string print_tcp(const Json& value) {
  const auto& rows = value["connections"];
  std::string text = print_value(rows);
  const uint64_t matched = value["matched"].get<uint64_t>();
  if (matched > rows.size()) {
    text += fmt::format("and {} more: name an address, a port or a state\n", matched - rows.size());
  }
  return text;
}

Json show_connection(Application& application, const Arguments& arguments) {
  const uint64_t number = arguments.number("N").value_or(0);
  const auto workers = application.workers();
  const auto worker = static_cast<unsigned>(number % workers.size());
  Connection connection;
  bool found = false;
  application.on_worker(workers[worker]->thread(), [&](gateway::Worker& on) {
    const uint64_t place = number / workers.size();
    const tcp::Connection* there =
        place < on.tcp().places() ? on.tcp().at(static_cast<uint32_t>(place)) : nullptr;
    if (there == nullptr) return;
    connection = {there->place(), there->local(), there->remote(),
                  there->info(application.clock().now())};
    found = true;
  });
  if (!found) throw CommandError(fmt::format("token '{}': no such connection", number));
  const tcp::Info& info = connection.info;
  return {{"connection", number},
          {"worker", worker},
          {"local", connection.local.to_string()},
          {"remote", connection.remote.to_string()},
          {"state", tcp::to_string(info.state)},
          {"held", info.held},
          {"age_us", info.age},
          {"limit", limit_of(info)},
          {"path", path_of(info)},
          {"sender", sender_of(info)},
          {"receiver", receiver_of(info)},
          {"totals", totals_of(info)}};
}

// A line for each group: "path: rtt_us 120, rtt_variance_us 40, ...".
std::string print_connection(const Json& value) {
  std::string text = fmt::format(
      "connection {} of worker {}: {} - {}, {}{}, {:.3f} s old\n", value["connection"].dump(),
      value["worker"].dump(), text_of(value["local"]), text_of(value["remote"]),
      text_of(value["state"]), value["held"].get<bool>() ? " (held)" : "",
      static_cast<double>(value["age_us"].get<uint64_t>()) / 1e6);
  for (const auto& group : value.items()) {
    if (!group.value().is_object()) continue;
    text += fmt::format("  {:<9}", group.key());
    bool first = true;
    for (const auto& item : group.value().items()) {
      text += fmt::format("{} {} {}", first ? "" : ",", item.key(), text_of(item.value()));
      first = false;
    }
    text += "\n";
  }
  return text;
}

}  // namespace isthmus::app
