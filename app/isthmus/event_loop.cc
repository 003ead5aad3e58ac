// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "event_loop.h"

#include <array>
#include <cerrno>
#include <stdexcept>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace isthmus::app {

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw std::runtime_error("epoll_create1 failed");
}

EventLoop::~EventLoop() {
  close(epoll_);
}

bool EventLoop::add(int fd, uint32_t events, Function function) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return false;
  functions_[fd] = std::move(function);
  return true;
}

void EventLoop::change(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::remove(int fd) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  functions_.erase(fd);
}

void EventLoop::run_once(int timeout_ms) {
  std::array<epoll_event, 16> ready;
  const int n = epoll_wait(epoll_, ready.data(), ready.size(), timeout_ms);
  for (int i = 0; i < n; ++i) {
    const auto found = functions_.find(ready[i].data.fd);
    if (found == functions_.end()) continue;  // an earlier function of this round removed it
    const Function function = found->second;  // a copy: it may remove itself
    function(ready[i].events);
  }
}

}  // namespace isthmus::app
