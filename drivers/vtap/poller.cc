// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <unistd.h>

#include "drivers/vtap/device.h"

namespace isthmus::drivers::vtap {
namespace {

// How long busy queues may keep an idle one waiting, in rounds.
constexpr unsigned kRoundsPerCollect = 16;
// Empty reads before a queue is left to epoll.
constexpr uint32_t kRetireAfter = 8;
constexpr int kEventsPerCollect = 64;

}  // namespace

std::unique_ptr<Poller> Poller::create(uint16_t port, std::string& error) {
  Device* device = Device::of(port);
  if (device == nullptr) {
    error = "port " + std::to_string(port) + " isn't a net_vtap port";
    return nullptr;
  }
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    error = std::string("epoll: ") + strerror(errno);
    return nullptr;
  }
  return std::unique_ptr<Poller>(new Poller(*device, epoll));
}

Poller::Poller(Device& device, int epoll)
    : device_(device), epoll_(epoll), is_active_(device.queues(), false) {
  active_.reserve(device.queues());
}

Poller::~Poller() {
  close(epoll_);
}

// Edge-triggered: an idle queue costs nothing until its next frame, and no system call is needed
// to move a queue between the two states.
bool Poller::watch(uint16_t queue, std::string& error) {
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLET;
  event.data.u32 = queue;
  const int fd = queue < device_.queues() ? device_.endpoint(queue).fd() : -1;
  if (fd >= 0 && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return true;
  error = "queue " + std::to_string(queue) + ": " + (fd < 0 ? "no interface" : strerror(errno));
  return false;
}

void Poller::unwatch(uint16_t queue) {
  const int fd = queue < device_.queues() ? device_.endpoint(queue).fd() : -1;
  if (fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

std::span<const uint16_t> Poller::ready() {
  retire();
  if (active_.empty() || ++rounds_ >= kRoundsPerCollect) collect();
  return active_;
}

// An event that arrives for a queue that is being read anyway starts its count of empty reads
// again: the edge is consumed, so the queue may only retire after a later read found it empty.
void Poller::collect() {
  rounds_ = 0;
  epoll_event events[kEventsPerCollect];
  const int count = epoll_wait(epoll_, events, kEventsPerCollect, 0);
  for (int i = 0; i < count; ++i) {
    const auto queue = static_cast<uint16_t>(events[i].data.u32);
    device_.rx(queue).forget_empty_reads();
    if (is_active_[queue]) continue;
    is_active_[queue] = true;
    active_.push_back(queue);
  }
}

void Poller::retire() {
  for (size_t i = 0; i < active_.size();) {
    const uint16_t queue = active_[i];
    RxQueue& rx = device_.rx(queue);
    if (rx.empty_reads() < kRetireAfter) {
      ++i;
      continue;
    }
    rx.release_buffers();
    is_active_[queue] = false;
    active_[i] = active_.back();
    active_.pop_back();
  }
}

}  // namespace isthmus::drivers::vtap
