// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sleeper.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace isthmus::app {
namespace {

bool add(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Sleeper::Sleeper()
    : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      ports_(epoll_create1(EPOLL_CLOEXEC)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (event_ < 0 || ports_ < 0 || epoll_ < 0 || !add(epoll_, event_)) {
    throw std::runtime_error("cannot create a worker's eventfd and epoll");
  }
}

Sleeper::~Sleeper() {
  close(epoll_);
  close(ports_);
  close(event_);
}

bool Sleeper::watch(int fd) {
  return add(ports_, fd);
}

void Sleeper::unwatch(int fd) {
  epoll_ctl(ports_, EPOLL_CTL_DEL, fd, nullptr);
}

void Sleeper::set_watching(bool on) {
  if (on == watching_) return;
  watching_ = on;
  if (on) {
    add(epoll_, ports_);
  } else {
    epoll_ctl(epoll_, EPOLL_CTL_DEL, ports_, nullptr);
  }
}

void Sleeper::ring() {
  const uint64_t one = 1;
  // Full means that a wake-up already waits.
  [[maybe_unused]] const ssize_t written = write(event_, &one, sizeof one);
}

void Sleeper::block(timer::Duration at_most) {
  const auto us = std::max<int64_t>(at_most.count(), 0);
  const timespec timeout = {us / 1'000'000, us % 1'000'000 * 1000};
  std::array<epoll_event, 4> events;
  const int n = epoll_pwait2(epoll_, events.data(), events.size(), &timeout, nullptr);
  sleeping_.store(false, std::memory_order_relaxed);
  for (int i = 0; i < n; ++i) {
    uint64_t count = 0;
    if (events[i].data.fd == event_) {
      [[maybe_unused]] const ssize_t got = read(event_, &count, sizeof count);
    }
  }
}

}  // namespace isthmus::app
