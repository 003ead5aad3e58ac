// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Values as text for people: what a command has no form of its own for.
#pragma once

#include <string>

#include "command_table.h"

namespace isthmus::app {

// A list of objects is a table (headers in capitals, two spaces between columns, no borders, so
// that awk reads it); an object is "name: value" lines; a text is itself.
std::string print_value(const Json& value);

// Whether some value of the row has the text: what a list's filter asks.
bool has_text(const Json& row, const std::string& text);

}  // namespace isthmus::app
