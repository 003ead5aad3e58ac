// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Our TCP as a host on a TAP interface, for a script that has the kernel's TCP at the other end.
//   tcp_peer [EAL arguments] -- CONFIG
// CONFIG is a JSON object: interface, offload, seed, receive_buffer, max_receive_buffer,
// send_buffer, max_send_buffer, time_wait (milliseconds). Commands come on stdin (program.h).
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <iostream>
#include <string>
#include <sys/epoll.h>
#include <unistd.h>

#include <rte_eal.h>

#include "program.h"

namespace isthmus::interop {
namespace {

// Rounds between two looks at stdin while packets keep coming.
constexpr unsigned kRounds = 64;

StationConfig read_config(const char* text) {
  const Json json = Json::parse(text);
  StationConfig config;
  config.interface = json.at("interface").get<std::string>();
  config.offload = json.value("offload", true);
  config.seed = json.value("seed", config.seed);
  config.tcp.receive_buffer = json.value("receive_buffer", config.tcp.receive_buffer);
  config.tcp.max_receive_buffer = json.value("max_receive_buffer", config.tcp.max_receive_buffer);
  config.tcp.send_buffer = json.value("send_buffer", config.tcp.send_buffer);
  config.tcp.max_send_buffer = json.value("max_send_buffer", config.tcp.max_send_buffer);
  config.tcp.time_wait = std::chrono::milliseconds(json.value("time_wait", 200));
  return config;
}

// Lines of stdin, without waiting for them.
class Input {
 public:
  Input() { fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK); }
  // False at the end of the input.
  bool read(Program& program) {
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n == 0) return false;
    if (n < 0) return errno == EAGAIN;
    text_.append(bytes, static_cast<size_t>(n));
    for (size_t end = 0; (end = text_.find('\n')) != std::string::npos;) {
      const std::string line = text_.substr(0, end);
      text_.erase(0, end + 1);
      if (!program.command(line)) return false;
    }
    return true;
  }

 private:
  std::string text_;
};

void sleep_until(const Station& station, int epoll) {
  const timer::Instant deadline = station.next_deadline();
  constexpr int64_t kLongest = 1'000'000;
  const int64_t left = deadline == timer::kNever ? kLongest : (deadline - station.now()).count();
  if (left <= 0) return;
  const int64_t micros = std::min(left, kLongest);
  const timespec wait = {.tv_sec = micros / 1'000'000, .tv_nsec = micros % 1'000'000 * 1000};
  epoll_event events[2];
  epoll_pwait2(epoll, events, 2, &wait, nullptr);
}

int run(const char* text) {
  std::string error;
  const auto station = Station::open(read_config(text), error);
  if (station == nullptr) {
    std::cout << Json{{"error", error}}.dump() << '\n';
    return 1;
  }
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (const int fd : {STDIN_FILENO, station->descriptor()}) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
      perror("epoll");
      return 1;
    }
  }
  Program program(*station);
  Input input;
  std::cout << Json{{"reply", "ready"}}.dump() << '\n' << std::flush;
  for (unsigned round = 0;; ++round) {
    const bool busy = program.turn();
    if (busy && round % kRounds != 0) continue;
    if (!input.read(program)) break;
    if (!busy) sleep_until(*station, epoll);
  }
  close(epoll);
  return 0;
}

}  // namespace
}  // namespace isthmus::interop

int main(int argc, char** argv) {
  const int eaten = rte_eal_init(argc, argv);
  if (eaten < 0 || argc - eaten != 2) return 2;
  const int result = isthmus::interop::run(argv[eaten + 1]);
  rte_eal_cleanup();
  return result;
}
