// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/netns.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace isthmus::drivers::vtap {

bool NetnsScope::enter(const std::string& where, std::string& error) {
  if (where.empty()) return true;
  const std::string path = where.find('/') == std::string::npos ? "/run/netns/" + where : where;
  const int target = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (target < 0) {
    error = "network namespace " + path + ": " + strerror(errno);
    return false;
  }
  back_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (back_ < 0 || setns(target, CLONE_NEWNET) != 0) {
    error = "network namespace " + path + ": " + strerror(errno);
    close(target);
    if (back_ >= 0) close(back_);
    back_ = -1;
    return false;
  }
  close(target);
  return true;
}

NetnsScope::~NetnsScope() {
  if (back_ < 0) return;
  // A thread that can't come back would open its next socket in a pod's network.
  if (setns(back_, CLONE_NEWNET) != 0) {
    perror("cannot return to the gateway's network namespace");
    abort();
  }
  close(back_);
}

}  // namespace isthmus::drivers::vtap
