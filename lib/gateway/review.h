// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a new plan means for flows that were opened under an earlier one: a policy may deny them
// now, a pod may be gone, an address may have another identity, a peer's certificate may have been
// taken back. Each turn looks at a few, so that a reload delays nobody; connections that the pool
// shares are few and are looked at in one go.
#pragma once

#include <cstdint>
#include <optional>

#include "gateway/context.h"
#include "hbone/tunnel.h"

namespace isthmus::gateway {

class Inbound;
class Outbound;
class Plain;

// Why a live flow must end under the context's plan; nothing when it may go on.
stats::Refusal objection_to_outbound(const Context& context, const flow::Record& record);
stats::Refusal objection_to_stream(const Context& context, const flow::Record& record,
                                   const hbone::Tunnel& tunnel);
stats::Refusal objection_to_plain(const Context& context, const flow::Record& record);

class Review {
 public:
  Review(hbone::Engine& hbone, Outbound& outbound, Inbound& inbound, Plain& plain)
      : hbone_(hbone), outbound_(outbound), inbound_(inbound), plain_(plain) {}

  // Ends connections between addresses of which one has another identity than before, and begins
  // with the flows anew.
  void start(const Plan& before, const Plan& now);
  // The next few flows. Returns how many places it looked at; 0 when it is through.
  unsigned run();

 private:
  enum class Stage : uint8_t { peers, outbound, inbound, plain, done };

  hbone::Engine& hbone_;
  Outbound& outbound_;
  Inbound& inbound_;
  Plain& plain_;
  Stage stage_ = Stage::done;
  uint32_t next_ = 0;  // place in the stage's table
};

}  // namespace isthmus::gateway
