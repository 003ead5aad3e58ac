// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "stats/reason.h"

namespace isthmus::stats {
namespace {

constexpr ReasonInfo kInfo[] = {
#define ISTHMUS_REASON(room, name, text) {#room, #name, text},
#include "stats/reason.def"
#undef ISTHMUS_REASON
};

}  // namespace

const ReasonInfo& info(Reason reason) {
  return kInfo[static_cast<unsigned>(reason)];
}

}  // namespace isthmus::stats
