// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Runs console lines: from a file, from standard input, from clients of a UNIX socket. Lives on the
// control thread; nothing here is shared.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "command_table.h"
#include "event_loop.h"
#include "line_reader.h"

namespace isthmus::app {

class Console {
 public:
  static constexpr const char* kPrompt = "isthmus> ";

  Console(const CommandTable& table, Application& application, EventLoop& loop);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // Runs one line; appends the answer, or "line N: ..." and returns false.
  bool run(std::string_view line, unsigned number, std::string& answer);

  // Runs the lines of a file and prints the answers. Stops at the first error unless keep_going.
  // False when any line failed or the file cannot be read.
  bool run_file(const std::string& path, bool keep_going);

  // Reads standard input with a prompt; end of input asks the gateway to quit, as testpmd does.
  void open_stdin();
  // Listens on a UNIX socket, mode 0600. A socket file that nobody listens on is replaced. Throws
  // std::runtime_error.
  void open_socket(const std::string& path);

 private:
  class Client;
  static constexpr size_t kMaxClients = 16;

  void accept_client();
  void read_stdin();
  void drop(Client* client);

  const CommandTable& table_;
  Application& application_;
  EventLoop& loop_;
  LineReader stdin_lines_;
  unsigned stdin_number_ = 0;
  bool stdin_open_ = false;
  std::string socket_path_;
  int listener_ = -1;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace isthmus::app
