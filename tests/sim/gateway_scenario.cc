// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <fmt/format.h>

#include "sim/dice.h"
#include "sim/gateway_world.h"

namespace isthmus::sim {
namespace {

// Who may call whom; b2 admits a2 only, and asks for an identity.
struct Relation {
  Place client;
  Place server;
  Fate fate;
};
constexpr Relation kRelations[] = {
    {kA1, kB1, Fate::served},       // through the tunnel
    {kA2, kB2, Fate::served},       // through the tunnel, allowed by policy
    {kB1, kA1, Fate::served},       // through the tunnel, the other way
    {kB2, kA2, Fate::served},       //
    {kA1, kOutside, Fate::served},  // passed through, translated
    {kB1, kOutside, Fate::served},  //
    {kOutside, kA1, Fate::served},  // inbound plaintext, translated
    {kOutside, kB1, Fate::served},  //
    {kA1, kA2, Fate::served},       // on one node
    {kA1, kB2, Fate::denied},       // by policy, 401
    {kOutside, kB2, Fate::denied},  // by policy, for want of an identity
};
// The first ones go through the tunnel: most flows do.
constexpr size_t kTunnelled = 4;

Behaviour random_behaviour(Dice& dice, bool server) {
  Behaviour user;
  user.bytes = dice.one_in(5) ? dice.upto(3) : dice.upto(uint64_t{1} << (6 + dice.upto(11)));
  user.chunk = static_cast<uint32_t>(512 + dice.upto(16'000));
  if (dice.one_in(4)) user.read = static_cast<uint32_t>(1 + dice.upto(10'000));
  if (dice.one_in(4)) user.read_pause = std::chrono::microseconds(100 + dice.upto(3'000));
  if (dice.one_in(8)) {
    user.stall_at = dice.upto(60'000);
    user.stall_for = std::chrono::milliseconds(dice.upto(8'000));
  }
  if (dice.one_in(10)) user.abort_at = 1 + dice.upto(60'000);
  user.close_after_peer = server && dice.one_in(3);
  return user;
}

FlowPlan random_flow(Dice& dice) {
  const size_t relations = std::size(kRelations);
  const Relation& relation =
      kRelations[dice.one_in(3) ? dice.upto(relations - 1) : dice.upto(kTunnelled - 1)];
  FlowPlan flow;
  flow.client = relation.client;
  flow.server = relation.server;
  flow.fate = relation.fate;
  if (flow.fate == Fate::served && dice.one_in(12)) flow.fate = Fate::refused;
  for (unsigned who = 0; who < 2; ++who) flow.user[who] = random_behaviour(dice, who == 1);
  flow.start = std::chrono::microseconds(dice.upto(300'000));
  return flow;
}

}  // namespace

GatewayScenario random_gateways(uint64_t seed) {
  Dice dice(seed);
  GatewayScenario s;
  s.seed = seed;
  s.workers = 1 + static_cast<unsigned>(dice.upto(1));
  s.profile = dice.one_in(2) ? proxy::Profile::head : proxy::Profile::v1_18;
  s.link.delay = std::chrono::microseconds(20 + dice.upto(20'000) / (1 + dice.upto(20)));
  s.link.jitter = std::chrono::microseconds(dice.one_in(2) ? dice.upto(2'000) : 0);
  // Half of the seeds have the full five percent, with reordering.
  s.link.loss = dice.one_in(2) ? 0.05 : 0.001 * static_cast<double>(dice.upto(30));
  s.link.reorder = s.link.loss == 0.05 || dice.one_in(2) ? 0.05 : 0;
  s.link.reorder_delay = std::chrono::microseconds(1 + dice.upto(8'000));
  s.link.duplicate = dice.one_in(3) ? 0.02 : 0;
  s.link.corrupt = dice.one_in(3) ? 0.005 : 0;
  s.link.segment = !dice.one_in(4);
  s.kernel = dice.one_in(2);
  if (s.kernel && dice.one_in(2)) {
    s.forget_at = std::chrono::microseconds(1 + dice.upto(400'000));
    s.forget_for_good = dice.one_in(2);
  }
  s.offload = dice.one_in(2);
  const size_t flows = 1 + dice.upto(7);
  for (size_t i = 0; i < flows; ++i) s.flows.push_back(random_flow(dice));
  return s;
}

std::string describe(const GatewayScenario& s) {
  return fmt::format(
      "{} workers, {}, {}{}, offload {}, delay {} us jitter {} us loss {} reorder {} duplicate {} "
      "corrupt {} cut {}, {} flows",
      s.workers, s.profile == proxy::Profile::head ? "head" : "1.18",
      s.kernel ? "one-armed" : "pod + underlay",
      s.forget_at == timer::Duration() ? "" : ", conntrack lost", s.offload, s.link.delay.count(),
      s.link.jitter.count(), s.link.loss, s.link.reorder, s.link.duplicate, s.link.corrupt,
      s.link.segment, s.flows.size());
}

}  // namespace isthmus::sim
