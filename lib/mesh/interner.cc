// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "mesh/interner.h"

namespace isthmus::mesh {

uint32_t Interner::intern(std::string_view text) {
  if (const auto known = ids_.find(text); known != ids_.end()) return known->second;
  texts_.emplace_back(text);
  const auto id = static_cast<uint32_t>(texts_.size());
  ids_.emplace(texts_.back(), id);
  return id;
}

std::string_view Interner::text(uint32_t id) const {
  return id == 0 || id > texts_.size() ? std::string_view() : texts_[id - 1];
}

}  // namespace isthmus::mesh
