// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "line_reader.h"

#include <utility>

namespace isthmus::app {

LineReader::Result LineReader::next(std::string& line) {
  const size_t end = buffer_.find('\n');
  if (end == std::string::npos) {
    if (buffer_.size() <= kMaxLine) return Result::none;
    buffer_.clear();
    const bool first = !skipping_;
    skipping_ = true;
    return first ? Result::too_long : Result::none;
  }
  line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  if (skipping_) {  // the end of a line that was already given up
    skipping_ = false;
    return next(line);
  }
  return line.size() > kMaxLine ? Result::too_long : Result::line;
}

std::string LineReader::rest() {
  std::string line = skipping_ ? std::string() : std::move(buffer_);
  buffer_.clear();
  return line;
}

}  // namespace isthmus::app
