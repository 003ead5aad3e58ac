// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The control thread's epoll loop: file descriptors with a function each.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

namespace isthmus::app {

class EventLoop {
 public:
  using Function = std::function<void(uint32_t epoll_events)>;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // events: EPOLLIN, EPOLLOUT. The descriptor stays the caller's. False when the kernel cannot wait
  // for it (a regular file: always ready).
  bool add(int fd, uint32_t events, Function function);
  void change(int fd, uint32_t events);
  void remove(int fd);
  // Waits at most so long (-1: without end) and calls the functions of what is ready. They may add
  // and remove descriptors.
  void run_once(int timeout_ms);

 private:
  int epoll_;
  std::map<int, Function> functions_;
};

}  // namespace isthmus::app
