// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "locked_memory.h"

#include <cstring>
#include <stdexcept>
#include <sys/mman.h>

namespace isthmus::app {

LockedMemory::LockedMemory(size_t size) : size_(size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for keys");
  bytes_ = static_cast<uint8_t*>(memory);
  madvise(memory, size, MADV_DONTDUMP);
  madvise(memory, size, MADV_WIPEONFORK);
  locked_ = mlock(memory, size) == 0;
}

LockedMemory::~LockedMemory() {
  explicit_bzero(bytes_, size_);
  munmap(bytes_, size_);
}

}  // namespace isthmus::app
