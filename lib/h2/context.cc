// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "h2/context.h"

#include <cstdlib>

namespace isthmus::h2 {

Context::Context(const ContextOptions& options, const packet::Pools& pools,
                 stats::ReasonCounters& reasons)
    : pools_(pools),
      reasons_(reasons),
      arena_(options.hpack_bytes),
      streams_(std::make_unique<Stream[]>(options.streams)),
      receive_budget_(options.receive_budget),
      send_budget_(options.send_budget) {
  if (nghttp2_hd_deflate_new2(&deflater_, NGHTTP2_DEFAULT_HEADER_TABLE_SIZE, arena_.nghttp2()) !=
      0) {
    std::abort();  // start-up only: the arena is empty and a block is at least 64 KiB
  }
  for (uint32_t i = options.streams; i-- > 0;) {
    streams_[i].next_ = free_streams_;
    free_streams_ = &streams_[i];
  }
}

Context::~Context() {
  nghttp2_hd_deflate_del(deflater_);
}

Usage Context::usage() const {
  return {streams_in_use_, arena_.in_use(), received_, queued_};
}

Stream* Context::take_stream() {
  Stream* stream = free_streams_;
  if (stream == nullptr) return nullptr;
  free_streams_ = stream->next_;
  ++streams_in_use_;
  return stream;
}

void Context::give_back(Stream& stream) {
  stream.~Stream();
  new (&stream) Stream();
  stream.next_ = free_streams_;
  free_streams_ = &stream;
  --streams_in_use_;
}

}  // namespace isthmus::h2
