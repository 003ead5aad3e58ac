// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Work in another network namespace. For control threads: a worker never calls this.
#pragma once

#include <string>

namespace isthmus::drivers::vtap {

// The calling thread is in the namespace from a successful enter() until the scope ends.
class NetnsScope {
 public:
  NetnsScope() = default;
  NetnsScope(const NetnsScope&) = delete;
  NetnsScope& operator=(const NetnsScope&) = delete;
  ~NetnsScope();

  // where: empty (stay), a name under /run/netns, or a path such as /proc/PID/ns/net. False with a
  // reason when it can't be entered.
  bool enter(const std::string& where, std::string& error);

 private:
  int back_ = -1;
};

}  // namespace isthmus::drivers::vtap
