// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a client of the console sends: any bytes are lines, and any line is a command or an error
// that says what was expected.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "command_table.h"
#include "line_reader.h"

namespace {

using isthmus::app::Application;
using isthmus::app::Arguments;
using isthmus::app::Json;

Json nothing(Application&, const Arguments&) {
  return nullptr;
}

constexpr isthmus::app::Command kCommands[] = {
    {"a", "start", "", nothing, nullptr},
    {"a", "help [<SECTION>]", "", nothing, nullptr},
    {"a", "show port stats|info <PORT|all>", "", nothing, nullptr},
    {"a", "show flow <N> walk", "", nothing, nullptr},
    {"a", "show mesh [workloads|services]", "", nothing, nullptr},
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isthmus::app;
  static const CommandTable table(kCommands);
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(data, size, copy.get());
  LineReader reader;
  // In two pieces, cut where the first byte says.
  const size_t cut = size == 0 ? 0 : data[0] % size;
  std::string line;
  for (const std::string_view piece :
       {std::string_view(copy.get(), cut), std::string_view(copy.get() + cut, size - cut)}) {
    reader.add(piece);
    for (auto result = reader.next(line); result != LineReader::Result::none;
         result = reader.next(line)) {
      if (result == LineReader::Result::too_long) continue;
      if (line.size() > kMaxLine) abort();
      const auto parsed = table.parse(line);
      if (const auto* error = std::get_if<ParseError>(&parsed)) {
        if (error->to_string().empty()) abort();
      }
    }
  }
  return 0;
}
