// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Texts that become small numbers: identities, and names of services and policies. Numbers are
// never reused, so an id that a flow or a pool holds keeps its meaning across snapshots. The table
// only grows; it holds what changes rarely (service accounts, services, policies), not pods.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

namespace isthmus::mesh {

// Used by the control side only, never by a worker: workers read the copy in their Snapshot.
class Interner {
 public:
  // Never 0. The empty text is refused by the callers that intern.
  uint32_t intern(std::string_view text);
  uint32_t size() const { return static_cast<uint32_t>(texts_.size()); }
  // Texts stand at stable addresses for the life of the interner. Empty for 0 or an unknown id.
  std::string_view text(uint32_t id) const;

 private:
  std::deque<std::string> texts_;
  std::unordered_map<std::string_view, uint32_t> ids_;
};

// What all snapshots of a process share. Must outlive every one of them.
struct Names {
  Interner identities;
  Interner names;
};

}  // namespace isthmus::mesh
