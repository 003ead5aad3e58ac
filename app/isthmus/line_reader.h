// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Cuts a byte stream into lines of at most kMaxLine bytes.
#pragma once

#include <string>
#include <string_view>

#include "command_table.h"

namespace isthmus::app {

class LineReader {
 public:
  enum class Result { none, line, too_long };

  void add(std::string_view bytes) { buffer_ += bytes; }
  // The next whole line, without its end. too_long: a line was given up; it counts as one.
  Result next(std::string& line);
  // What is left without an end of line when the stream ends.
  std::string rest();

 private:
  std::string buffer_;
  bool skipping_ = false;
};

}  // namespace isthmus::app
