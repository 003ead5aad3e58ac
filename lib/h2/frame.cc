// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "h2/frame.h"

#include "packet/endian.h"

namespace isthmus::h2 {

FrameHeader FrameHeader::parse(std::span<const uint8_t, kFrameHeaderSize> bytes) {
  return {
      .length = packet::load_be<uint32_t>(bytes.data()) >> 8,
      .type = bytes[3],
      .flags = bytes[4],
      .stream = packet::load_be<uint32_t>(bytes.data() + 5) & kMaxWindow,
  };
}

void FrameHeader::write(std::span<uint8_t, kFrameHeaderSize> to) const {
  packet::store_be<uint32_t>(to.data(), length << 8 | type);
  to[4] = flags;
  packet::store_be<uint32_t>(to.data() + 5, stream);
}

}  // namespace isthmus::h2
