// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "access_log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "flow/walk.h"
#include "tls/failure.h"

namespace isthmus::app {
namespace {

using Format = config::AccessLog::Format;
using flow::Kind;
using flow::Report;
using Json = nlohmann::ordered_json;

constexpr uint32_t kRing = 4096;

std::string timestamp(SystemTime at) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(at);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(at - whole).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), micros);
}

// What a peer sent may be no UTF-8.
std::string quoted(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_address(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '.' || c == ':' || c == '[' ||
           c == ']';
  });
}

// ztunnel writes addresses and numbers bare, and quotes every other value. An authority that is no
// address is quoted, too.
std::string text_value(std::string_view name, const Json& value) {
  const bool bare = name.ends_with("addr") && is_address(value.get_ref<const std::string&>());
  return bare ? value.get<std::string>() : quoted(value);
}

std::string render(const char* level, const char* message, const Json& fields, Format format,
                   SystemTime at) {
  if (format == Format::json) {
    Json line = {
        {"level", level}, {"time", timestamp(at)}, {"scope", "access"}, {"message", message}};
    line.update(fields);
    return quoted(line) + "\n";
  }
  std::string line = fmt::format("{}\t{}\taccess\t{}\t", timestamp(at), level, message);
  const char* separator = "";
  for (const auto& [name, value] : fields.items()) {
    line += std::exchange(separator, " ");
    line += name + "=" + text_value(name, value);
  }
  return line + "\n";
}

bool is_hbone(const Report& report) {
  return report.kind == Kind::outbound_hbone || report.kind == Kind::inbound_stream;
}

bool is_inbound(const Report& report) {
  return report.capture == capture::Class::inbound_hbone_15008 ||
         report.capture == capture::Class::inbound_plaintext_15006;
}

// Why it was refused or failed: the reason, and what says more.
std::string error_of(const Report& report, const mesh::Snapshot& mesh) {
  const auto& why = stats::info(report.reason);
  std::string text = fmt::format("{}.{}: {}", why.room, why.name, why.text);
  if (report.policy != mesh::kNoName) {
    text += fmt::format(", policy {}", mesh.name(report.policy));
  }
  if (report.tls_alert != 0) {
    text += fmt::format(", TLS alert {} ({})", report.tls_alert,
                        tls::name_of(static_cast<tls::Alert>(report.tls_alert)));
  }
  if (report.http_status != 0 && report.http_status != 200) {
    text += fmt::format(", HTTP status {}", report.http_status);
  }
  return text;
}

class Fields {
 public:
  explicit Fields(const mesh::Snapshot& mesh) : mesh_(mesh) {}

  void add(const char* name, std::string_view value) {
    if (!value.empty()) json[name] = std::string(value);
  }
  void add_workload(const std::string& side, const packet::IpAddress& address,
                    std::string_view identity) {
    const auto* found = mesh_.find_workload(address);
    if (found != nullptr) {
      add((side + ".workload").c_str(), found->workload->name);
      add((side + ".namespace").c_str(), found->workload->namespace_);
    }
    add((side + ".identity").c_str(), identity);
    if (found != nullptr) add((side + ".cluster").c_str(), found->workload->cluster_id);
  }

  Json json = Json::object();

 private:
  const mesh::Snapshot& mesh_;
};

void add_destination(Fields& fields, const Report& report, const mesh::Snapshot& mesh) {
  const bool stream = report.kind == Kind::inbound_stream;
  const auto& reached = stream ? report.client.destination : report.upstream.destination;
  fields.add("dst.addr", reached.to_string());
  if (is_hbone(report)) {
    fields.add("dst.hbone_addr", flow::authority(report, mesh.hostname(report.authority_service)));
  }
  const auto* source = mesh.find_workload(report.client.source.address);
  const auto* service =
      mesh.find_service(report.client.destination.address,
                        source == nullptr ? std::string_view() : source->workload->namespace_);
  if (service != nullptr) fields.add("dst.service", service->service->hostname);
  const auto& workload =
      report.endpoint.address.is_unspecified() ? reached.address : report.endpoint.address;
  const auto identity = stream ? mesh.identity(report.destination_identity) : report.peer;
  fields.add_workload("dst", workload, is_hbone(report) ? identity : std::string_view());
}

}  // namespace

std::string access_line(const Report& report, const mesh::Snapshot& mesh, Format format,
                        SystemTime at) {
  const bool failed = report.reason != stats::Reason::count_;
  if (report.kind == Kind::tunnel && (!failed || !report.peer.empty())) return {};
  const char* direction = is_inbound(report) ? "inbound" : "outbound";
  Fields fields(mesh);
  fields.add("src.addr", report.client.source.to_string());
  if (!report.at.happened(flow::kUpstream)) {  // it never came to be
    // Who asked for what, where a CONNECT has said so.
    const bool asked = is_inbound(report) && !report.peer.empty();
    fields.add("src.identity", asked ? report.peer : std::string_view());
    fields.add("dst.addr", report.client.destination.to_string());
    if (asked) {
      fields.add("dst.hbone_addr",
                 flow::authority(report, mesh.hostname(report.authority_service)));
    }
    fields.add("direction", direction);
    fields.add("error", failed ? error_of(report, mesh) : "it ended before it was connected");
    return render("warn", "connection failed", fields.json, format, at);
  }
  const auto identity =
      report.kind == Kind::inbound_stream ? report.peer : mesh.identity(report.source_identity);
  fields.add_workload("src", report.client.source.address,
                      is_hbone(report) ? identity : std::string_view());
  add_destination(fields, report, mesh);
  fields.add("direction", direction);
  fields.json["bytes_sent"] = report.bytes_to_upstream;
  fields.json["bytes_recv"] = report.bytes_to_client;
  const auto taken =
      std::chrono::duration_cast<std::chrono::milliseconds>(report.closed - report.at.captured());
  fields.add("duration", fmt::format("{}ms", taken.count()));
  if (failed) fields.add("error", error_of(report, mesh));
  return render(failed ? "error" : "info", "connection complete", fields.json, format, at);
}

std::string lost_line(uint64_t lost, Format format, SystemTime at) {
  return render("warn", "lines lost", {{"count", lost}}, format, at);
}

AccessLog::AccessLog(const config::AccessLog& settings, unsigned workers)
    : format_(settings.format),
      file_(settings.file == "-" ? stdout : std::fopen(settings.file.c_str(), "ae")) {
  if (file_ == nullptr) {
    throw std::runtime_error(
        fmt::format("access_log: {}: {}", settings.file, std::strerror(errno)));
  }
  for (unsigned i = 0; i < workers; ++i) rings_.push_back(std::make_unique<flow::LogRing>(kRing));
}

void AccessLog::write(const mesh::Snapshot& mesh, timer::Instant now, SystemTime wall) {
  uint64_t lost = 0;
  bool wrote = false;
  for (const auto& ring : rings_) {
    ring->drain([&](const Report& report) {
      const auto at = wall - (now - report.closed);
      const std::string line = access_line(report, mesh, format_,
                                           std::chrono::time_point_cast<SystemTime::duration>(at));
      wrote = std::fwrite(line.data(), 1, line.size(), file_.get()) != 0 || wrote;
    });
    lost += ring->lost();
  }
  if (lost != lost_) {
    const std::string line = lost_line(lost - std::exchange(lost_, lost), format_, wall);
    wrote = std::fwrite(line.data(), 1, line.size(), file_.get()) != 0 || wrote;
  }
  if (wrote) std::fflush(file_.get());
}

}  // namespace isthmus::app
