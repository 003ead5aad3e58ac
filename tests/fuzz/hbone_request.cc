// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Texts that a peer's CONNECT carries: authority and forwarded.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "hbone/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace isthmus;
  // An exact copy on the heap, so that reading past its end is seen.
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(input, size, copy.get());
  const std::string_view text(copy.get(), size);
  if (const auto authority = hbone::Authority::parse(text)) {
    if (authority->port == 0 || authority->host.empty()) abort();
    if (authority->address) {
      const auto made = hbone::make_authority({*authority->address, authority->port});
      const auto again = hbone::Authority::parse(made.view());
      if (!again || again->address != authority->address) abort();
    }
  }
  hbone::forwarded_for(text);
  return 0;
}
