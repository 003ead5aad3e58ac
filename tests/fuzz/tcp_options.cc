// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// TCP options: anything is read or refused, and what is read can be written and read again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "tcp/options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isthmus;
  if (size == 0 || size > 41) return 0;
  const bool syn = (data[0] & 1) != 0;
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[size - 1]);
  std::copy_n(data + 1, size - 1, copy.get());
  tcp::SegmentOptions options;
  if (!tcp::parse_options({copy.get(), size - 1}, syn, options)) return 0;
  if (options.scale > tcp::kMaxWindowScale || options.sack_count > tcp::kMaxSackBlocks) abort();
  if (!syn && (options.has_mss || options.has_scale || options.sack_permitted)) abort();
  if (syn) options.sack_count = 0;  // no SYN of ours has blocks
  uint8_t bytes[tcp::kMaxOptionBytes];
  const unsigned length = tcp::write_options(options, syn, bytes);
  tcp::SegmentOptions again;
  if (length > sizeof bytes || !tcp::parse_options({bytes, length}, syn, again)) abort();
  if (again.has_mss != options.has_mss || again.mss != options.mss || again.echo != options.echo) {
    abort();
  }
  return 0;
}
