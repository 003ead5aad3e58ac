// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "console.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "application.h"
#include "print.h"

namespace isthmus::app {
namespace {

constexpr size_t kMaxAnswers = 16U << 20;  // bytes that may wait for a client that does not read

void write_out(std::string_view text) {
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}

std::string too_long(unsigned number) {
  return fmt::format("line {}: longer than {} bytes\n", number, kMaxLine);
}

}  // namespace

// A connection to the socket. Answers what has come, also after the client has shut its sending
// side down, and is dropped when all is said.
class Console::Client {
 public:
  Client(Console& console, int fd) : console_(console), fd_(fd) {
    console_.loop_.add(fd_, EPOLLIN, [this](uint32_t events) { ready(events); });
  }
  ~Client() {
    console_.loop_.remove(fd_);
    close(fd_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

 private:
  void ready(uint32_t events) {
    if ((events & EPOLLERR) != 0) return console_.drop(this);
    if ((events & (EPOLLIN | EPOLLHUP)) != 0 && !ended_) receive();
    if (!send_some()) return console_.drop(this);
    if (ended_ && answers_.empty()) return console_.drop(this);
    console_.loop_.change(fd_, (ended_ ? 0U : EPOLLIN) | (answers_.empty() ? 0U : EPOLLOUT));
  }

  void receive() {
    char bytes[4096];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) lines_.add({bytes, static_cast<size_t>(n)});
    std::string line;
    for (auto result = lines_.next(line); result != LineReader::Result::none;
         result = lines_.next(line)) {
      ++number_;
      if (result == LineReader::Result::line) {
        console_.run(line, number_, answers_);
      } else {
        answers_ += too_long(number_);
      }
    }
    if (n > 0) return;
    ended_ = true;
    const std::string rest = lines_.rest();
    if (!rest.empty()) console_.run(rest, ++number_, answers_);
  }

  bool send_some() {
    while (!answers_.empty()) {
      const ssize_t n = send(fd_, answers_.data(), answers_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) return (errno == EAGAIN || errno == EINTR) && answers_.size() <= kMaxAnswers;
      answers_.erase(0, static_cast<size_t>(n));
    }
    return true;
  }

  Console& console_;
  const int fd_;
  LineReader lines_;
  unsigned number_ = 0;
  std::string answers_;
  bool ended_ = false;
};

Console::Console(const CommandTable& table, Application& application, EventLoop& loop)
    : table_(table), application_(application), loop_(loop) {}

Console::~Console() {
  clients_.clear();
  if (listener_ >= 0) {
    loop_.remove(listener_);
    close(listener_);
    unlink(socket_path_.c_str());
  }
}

bool Console::run(std::string_view line, unsigned number, std::string& answer) {
  if (line.size() > kMaxLine) {
    answer += too_long(number);
    return false;
  }
  const auto parsed = table_.parse(line);
  if (const auto* error = std::get_if<ParseError>(&parsed)) {
    answer += fmt::format("line {}: {}\n", number, error->to_string());
    return false;
  }
  const Match& match = std::get<Match>(parsed);
  if (match.command == nullptr) return true;
  try {
    const Json value = match.command->run(application_, match.arguments);
    if (match.arguments.json) {
      answer += value.dump() + "\n";
    } else {
      answer += match.command->print != nullptr ? match.command->print(value) : print_value(value);
    }
    return true;
  } catch (const CommandError& error) {
    answer += fmt::format("line {}: {}\n", number, error.what());
    return false;
  }
}

bool Console::run_file(const std::string& path, bool keep_going) {
  std::ifstream file(path);
  if (!file) {
    fmt::print(stderr, "isthmus: cannot read '{}': {}\n", path, strerror(errno));
    return false;
  }
  bool good = true;
  unsigned number = 0;
  for (std::string line; std::getline(file, line);) {
    std::string answer;
    const bool ok = run(line, ++number, answer);
    write_out(ok ? answer : fmt::format("{}: {}", path, answer));
    good = good && ok;
    if (!ok && !keep_going) break;
  }
  return good;
}

void Console::open_stdin() {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  stdin_open_ = true;
  write_out(kPrompt);
  if (loop_.add(STDIN_FILENO, EPOLLIN, [this](uint32_t) { read_stdin(); })) return;
  while (stdin_open_ && !application_.quitting()) read_stdin();  // a regular file is always ready
}

void Console::read_stdin() {
  char bytes[4096];
  const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) stdin_lines_.add({bytes, static_cast<size_t>(n)});
  std::string line;
  for (auto result = stdin_lines_.next(line); result != LineReader::Result::none;
       result = stdin_lines_.next(line)) {
    std::string answer;
    ++stdin_number_;
    if (result == LineReader::Result::line) {
      run(line, stdin_number_, answer);
    } else {
      answer = too_long(stdin_number_);
    }
    write_out(answer);
    if (application_.quitting()) return;
    write_out(kPrompt);
  }
  if (n > 0) return;
  std::string answer;
  run(stdin_lines_.rest(), ++stdin_number_, answer);
  write_out(answer + "\n");
  loop_.remove(STDIN_FILENO);
  stdin_open_ = false;
  application_.quit();
}

void Console::open_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw std::runtime_error(fmt::format("console socket '{}': the path is longer than {} bytes",
                                         path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  // Who answers is alive and keeps its socket; a file that nobody answers on is left over.
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool alive = connect(probe, to, sizeof address) == 0;
  const int why = errno;
  close(probe);
  if (alive) {
    throw std::runtime_error(
        fmt::format("console socket '{}': another process listens on it", path));
  }
  if (why == ECONNREFUSED) unlink(path.c_str());
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const mode_t mask = umask(0177);
  const bool bound = bind(listener_, to, sizeof address) == 0;
  const int bind_error = errno;
  umask(mask);
  if (!bound || listen(listener_, kMaxClients) != 0) {
    close(listener_);
    listener_ = -1;
    throw std::runtime_error(fmt::format("console socket '{}': {}", path, strerror(bind_error)));
  }
  socket_path_ = path;
  loop_.add(listener_, EPOLLIN, [this](uint32_t) { accept_client(); });
}

void Console::accept_client() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (clients_.size() >= kMaxClients) {
    static constexpr std::string_view kFull = "too many clients\n";
    send(fd, kFull.data(), kFull.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    return;
  }
  clients_.push_back(std::make_unique<Client>(*this, fd));
}

void Console::drop(Client* client) {
  std::erase_if(clients_, [client](const auto& each) { return each.get() == client; });
}

}  // namespace isthmus::app
