// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// ICMP errors that concern a connection: RFC 5927's checks, RFC 1122 section 4.2.3.9, path MTU.
#include <algorithm>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

enum class Meaning : uint8_t { ignored, soft, hard, too_big };

Meaning meaning(const IcmpError& error) {
  if (error.tuple.source.address.is_v4()) {
    if (error.type != 3) return Meaning::ignored;  // MUST-55: source quench, and all others
    if (error.code == 4) return Meaning::too_big;
    return error.code == 2 || error.code == 3 || error.code == 9 || error.code == 10 ||
                   error.code == 13
               ? Meaning::hard
               : Meaning::soft;
  }
  if (error.type == 2) return Meaning::too_big;
  if (error.type != 1) return Meaning::ignored;
  return error.code == 1 || error.code == 4 ? Meaning::hard : Meaning::soft;
}

}  // namespace

void Connection::on_icmp(const IcmpError& error) {
  const Meaning what = meaning(error);
  // RFC 5927 section 4.1: only a segment that is in flight can have met an obstacle.
  const bool in_flight = seq_leq(snd_una_, error.sequence) && seq_lt(error.sequence, snd_nxt_);
  if (what == Meaning::ignored || !in_flight) return core_->drop(stats::Reason::tcp_icmp_ignored);
  if (what == Meaning::too_big) return lower_mtu(error.mtu);
  // MUST-56: once synchronized, every error is soft (RFC 5927 section 5.2).
  if (what == Meaning::hard && state_ == State::syn_sent) fail(Failure::unreachable);
}

}  // namespace isthmus::tcp
