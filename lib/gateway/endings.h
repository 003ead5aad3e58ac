// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How the causes that the rooms below name become the reasons that a flow's record shows.
#pragma once

#include "relay/leg.h"
#include "stats/reason.h"
#include "tcp/types.h"

namespace isthmus::gateway {

// Reason::count_ where the ending is an orderly one.
stats::Reason reason_of(relay::Cause cause);
stats::Reason reason_of(tcp::Failure failure);

}  // namespace isthmus::gateway
