// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The access log: a line for each flow that is over, with ztunnel's field names in ztunnel's order,
// as text or as JSON. Written by the control thread from a ring of each worker.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "flow/log_ring.h"
#include "flow/record.h"
#include "mesh/snapshot.h"

namespace isthmus::app {

using SystemTime = std::chrono::system_clock::time_point;

// Empty for what has no line: an HBONE connection that carried streams, which have theirs.
// at: when the flow ended.
std::string access_line(const flow::Report& report, const mesh::Snapshot& mesh,
                        config::AccessLog::Format format, SystemTime at);
// That so many lines were lost.
std::string lost_line(uint64_t lost, config::AccessLog::Format format, SystemTime at);

class AccessLog {
 public:
  // Opens the file for appending, or standard output for "-". Throws std::runtime_error.
  AccessLog(const config::AccessLog& settings, unsigned workers);

  flow::LogRing& ring(unsigned worker) { return *rings_[worker]; }
  // Writes what has come. now is the workers' clock, wall the same moment.
  void write(const mesh::Snapshot& mesh, timer::Instant now, SystemTime wall);

 private:
  struct Close {
    void operator()(FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };

  const config::AccessLog::Format format_;
  std::unique_ptr<FILE, Close> file_;
  std::vector<std::unique_ptr<flow::LogRing>> rings_;
  uint64_t lost_ = 0;
};

}  // namespace isthmus::app
