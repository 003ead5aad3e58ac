// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The configuration file: anything is read or refused with a reason.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isthmus;
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(data, size, copy.get());
  const auto read = config::parse({copy.get(), size}, "dir/f");
  if (const auto* error = std::get_if<yaml::Error>(&read)) {
    if (error->reason.empty()) abort();
  } else if (std::get<config::Config>(read).ports.empty()) {
    abort();
  }
  return 0;
}
