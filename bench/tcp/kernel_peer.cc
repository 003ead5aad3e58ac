// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The reference for tcp_bench: the same three loads through the kernel's sockets, one thread an
// end. A server answers on PORT (takes everything) and PORT + 1 (answers each byte with a byte).
//
//   bench_tcp_kernel server PORT
//   bench_tcp_kernel bulk|transactions|connections ADDRESS PORT PARALLEL SECONDS
//
// The client prints how much it got done: bytes, transactions or connections.
#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int kEvents = 64;
std::vector<char> buffer(256 << 10);

[[noreturn]] void die(const char* what) {
  perror(what);
  exit(1);
}

sockaddr_in address_of(const char* address, int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) die("address");
  return to;
}

void watch(int epoll, int fd, uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

int listener(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in at = address_of("0.0.0.0", port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) die("bind");
  if (listen(fd, 4096) != 0) die("listen");
  return fd;
}

[[noreturn]] void serve(int port) {
  const int epoll = epoll_create1(0);
  const int sink = listener(port);
  const int echo = listener(port + 1);
  watch(epoll, sink, EPOLLIN);
  watch(epoll, echo, EPOLLIN);
  std::vector<bool> answers(1 << 20);
  epoll_event events[kEvents];
  for (;;) {
    const int count = epoll_wait(epoll, events, kEvents, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == sink || fd == echo) {
        for (int made; (made = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          const int on = 1;
          setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          answers[static_cast<size_t>(made)] = fd == echo;
          watch(epoll, made, EPOLLIN);
        }
        continue;
      }
      const ssize_t got = read(fd, buffer.data(), buffer.size());
      if (got > 0 && answers[static_cast<size_t>(fd)]) {
        if (write(fd, buffer.data(), static_cast<size_t>(got)) != got) die("write");
      } else if (got <= 0) {
        close(fd);
      }
    }
  }
}

enum class Mode { bulk, transactions, connections };

Mode mode_of(const char* name) {
  if (std::strcmp(name, "bulk") == 0) return Mode::bulk;
  return std::strcmp(name, "connections") == 0 ? Mode::connections : Mode::transactions;
}

class Client {
 public:
  Client(Mode mode, const char* address, int port, int parallel)
      : mode_(mode), to_(address_of(address, port + (mode == Mode::bulk ? 0 : 1))) {
    for (int i = 0; i < parallel; ++i) open();
  }

  uint64_t run(double seconds) {
    using Steady = std::chrono::steady_clock;
    const auto end = Steady::now() + std::chrono::duration<double>(seconds);
    epoll_event events[kEvents];
    while (Steady::now() < end) {
      const int count = epoll_wait(epoll_, events, kEvents, 10);
      for (int i = 0; i < count; ++i) on_event(events[i].data.fd, events[i].events);
    }
    return done_;
  }

 private:
  void open() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to_), sizeof to_) != 0 &&
        errno != EINPROGRESS) {
      die("connect");
    }
    watch(epoll_, fd, EPOLLOUT);
  }

  void on_event(int fd, uint32_t events) {
    if (mode_ == Mode::bulk) {
      const ssize_t put = write(fd, buffer.data(), 64 << 10);
      if (put > 0) done_ += static_cast<uint64_t>(put);
      return;
    }
    char byte = 1;
    if ((events & EPOLLOUT) != 0) {  // connected
      epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
      epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
      if (write(fd, &byte, 1) != 1) die("write");
      return;
    }
    if (read(fd, &byte, 1) != 1) die("read");
    ++done_;
    if (mode_ == Mode::connections) {
      close(fd);
      open();
    } else if (write(fd, &byte, 1) != 1) {
      die("write");
    }
  }

  Mode mode_;
  sockaddr_in to_;
  int epoll_ = epoll_create1(0);
  uint64_t done_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "server") == 0) serve(atoi(argv[2]));
  if (argc != 6) {
    fprintf(stderr, "usage: %s server PORT | MODE ADDRESS PORT PARALLEL SECONDS\n", argv[0]);
    return 2;
  }
  Client client(mode_of(argv[1]), argv[2], atoi(argv[3]), atoi(argv[4]));
  printf("%lu\n", client.run(atof(argv[5])));
  return 0;
}
