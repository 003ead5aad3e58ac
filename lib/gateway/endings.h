// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How the causes that the rooms below name become the reasons that a flow's record shows.
#pragma once

#include "hbone/tunnel.h"
#include "relay/leg.h"
#include "stats/reason.h"
#include "tcp/types.h"

namespace isthmus::gateway {

// Reason::count_ where the ending is an orderly one.
stats::Reason reason_of(relay::Cause cause);
stats::Reason reason_of(tcp::Failure failure);
// Of a relayed flow: what we ended the connection below its tunnel for goes first.
stats::Reason reason_of(relay::Cause cause, const hbone::Tunnel& tunnel);
// The TLS alert that we sent for it; 0: none.
uint8_t alert_of(const hbone::Failure& failure);

}  // namespace isthmus::gateway
