// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Memory for TLS keys: locked, left out of core dumps and of children, outside EAL's segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace isthmus::app {

class LockedMemory {
 public:
  // Zeroed, page-aligned. Throws std::runtime_error when there is no memory.
  explicit LockedMemory(size_t size);
  ~LockedMemory();  // wipes it
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;

  std::span<uint8_t> bytes() const { return {bytes_, size_}; }
  // False: the limit of locked memory (ulimit -l) is too low, and keys may reach the swap.
  bool locked() const { return locked_; }

 private:
  uint8_t* bytes_;
  size_t size_;
  bool locked_;
};

}  // namespace isthmus::app
