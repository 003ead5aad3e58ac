// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What is wrong with a YAML text, and where.
#pragma once

#include <string>

namespace isthmus::yaml {

struct Error {
  std::string file;
  int line = 0;    // from 1; 0: the text as a whole
  int column = 0;  // from 1
  std::string reason;

  std::string to_string() const;  // "FILE:LINE:COLUMN: REASON"
};

}  // namespace isthmus::yaml
