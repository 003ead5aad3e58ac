// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "flow/walk.h"
#include "names.h"
#include "print.h"
#include "show.h"

namespace isthmus::app {
namespace {

const char* const kMoments[] = {"captured", "decided",  "dialled",
                                "upstream", "accepted", "first_byte"};
static_assert(std::size(kMoments) == flow::kMomentCount);

std::string reason_text(const flow::Record& record) {
  if (record.reason == stats::Reason::count_) return "";
  const auto& info = stats::info(record.reason);
  return fmt::format("{}.{}", info.room, info.name);
}

// All records of all workers, by id. A flow that closed while it was being copied counts as closed.
std::map<uint64_t, flow::Report> all_records(Application& application) {
  std::map<uint64_t, flow::Report> records;
  std::array<flow::Report, kCopiedAtOnce> some;
  for (const auto& worker : application.workers()) {
    application.on_worker(worker->thread(), [](gateway::Worker& on) { on.refresh_records(); });
    flow::Table::Cursor cursor;
    bool done = false;
    while (!done) {
      uint32_t n = 0;
      application.on_worker(worker->thread(), [&](gateway::Worker& on) {
        n = on.flows().copy(cursor, some, kLookedAtAtOnce);
        done = on.flows().done(cursor);
      });
      for (uint32_t i = 0; i < n; ++i) {
        const auto [place, added] = records.try_emplace(some[i].id, some[i]);
        if (!added && some[i].state == flow::State::closed) place->second = some[i];
      }
    }
  }
  return records;
}

std::string upstream_text(const flow::Record& record) {
  if (record.upstream == packet::Tuple{}) return "";
  return record.upstream.source.port == 0 ? record.upstream.destination.to_string()
                                          : record.upstream.to_string();
}

Json flow_row(const flow::Record& record, const PlanNames& names) {
  return {{"flow", record.id},
          {"kind", flow::to_string(record.kind)},
          {"state", flow::to_string(record.state)},
          {"class", capture::to_string(record.capture)},
          {"client", record.client.source.to_string()},
          {"destination", record.client.destination.to_string()},
          {"upstream", upstream_text(record)},
          {"vni", record.vni},
          {"source", names.address(record.client.source.address)},
          {"to_upstream", record.bytes_to_upstream},
          {"to_client", record.bytes_to_client},
          {"status", record.http_status},
          {"reason", reason_text(record)}};
}

Json moments(const flow::Report& report) {
  Json list = Json::object();
  for (unsigned i = 0; i < flow::kMomentCount; ++i) {
    const auto moment = static_cast<flow::Moment>(i);
    if (report.at.happened(moment)) list[kMoments[i]] = report.at.after(moment).count();
  }
  if (report.state == flow::State::closed) {
    list["closed"] = (report.closed - report.at.captured()).count();
  }
  return list;
}

}  // namespace

Json show_flows(Application& application, const Arguments& arguments) {
  const PlanNames names(application.plan());
  const std::string text = arguments.text("TEXT");
  Json rows = Json::array();
  for (const auto& [id, record] : all_records(application)) {
    Json row = flow_row(record, names);
    if (text.empty() || has_text(row, text)) rows.push_back(std::move(row));
  }
  return rows;
}

Json show_walk(Application& application, const Arguments& arguments) {
  const uint64_t id = arguments.number("N").value_or(0);
  const auto workers = application.workers();
  std::optional<flow::Report> found;
  WorkerStack& owner = *workers[id % workers.size()];
  application.on_worker(owner.thread(), [&](gateway::Worker& worker) {
    worker.refresh_records();
    found = worker.flows().find(id);
  });
  if (!found) throw CommandError(fmt::format("token '{}': no such flow, or it is too old", id));
  const flow::Report& record = *found;
  const PlanNames names(application.plan());
  Json value = flow_row(record, names);
  value["title"] = flow::title(record);
  value["in_interface"] = names.interface(record.in_interface);
  value["out_interface"] = names.interface(record.out_interface);
  value["geneve_source"] = record.vni != 0 ? record.geneve_source.to_string() : "";
  value["authority"] = flow::authority(record, names.hostname(record.authority_service));
  value["peer"] = record.peer;
  value["policy"] = names.policy(record.policy);
  value["source_identity"] = names.identity(record.source_identity);
  value["destination_identity"] = names.identity(record.destination_identity);
  value["tunnel"] = record.tunnel;
  value["us_after_capture"] = moments(record);
  Json steps = Json::array();
  for (const auto& step : flow::walk(record, names)) {
    steps.push_back({{"step", step.number}, {"text", step.text}});
  }
  value["steps"] = std::move(steps);
  return value;
}

std::string print_walk(const Json& walk) {
  std::string text =
      fmt::format("flow {}: {} -> {}, {}\n", walk["flow"].dump(), walk["client"].get<std::string>(),
                  walk["destination"].get<std::string>(), walk["title"].get<std::string>());
  for (const auto& step : walk["steps"]) {
    text += fmt::format("  {:<9} {}\n", step["step"].get<std::string>(),
                        step["text"].get<std::string>());
  }
  return text;
}

}  // namespace isthmus::app
