// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Flows whose both legs are plaintext TCP: outside the mesh, a plaintext endpoint, a pod of this
// node, plaintext towards a pod (class 15006). They stay packets; here their flow records follow
// what the translation sees.
#pragma once

#include "gateway/context.h"
#include "packet/parse.h"

namespace isthmus::gateway {

class Edge;

class Plain final : private nat::PortsInUse {
 public:
  Plain(Context& context, Edge& edge) : context_(context), edge_(edge) {}

  // Opens a flow to upstream, seen there as source (the port is chosen here), and sends the SYN on.
  // Takes the mbuf and the record.
  void open(packet::Parsed& syn, flow::Record& record, const packet::IpAddress& source,
            const packet::Endpoint& upstream);
  // A packet of a known flow: translated and sent; the mbuf is taken. False: not known.
  bool forward(packet::Parsed& packet);
  // An ICMP error about a packet (embedded) of a known flow: likewise.
  bool forward_error(const packet::Tuple& embedded, packet::Parsed& packet);
  // Forgets what has been idle for too long.
  void advance();
  void refresh();
  // Resets both sides of those of the next `limit` flows that the plan no longer allows. Returns
  // how many it looked at: 0 at the end.
  uint32_t review(uint32_t& next, uint32_t limit);
  // Resets both sides of every flow.
  void close_all(stats::Reason reason);

 private:
  // What follow() has to know of a packet that was translated.
  struct Seen {
    bool reset;  // and believed
    bool first;  // of its side
    bool payload;
  };

  void translate(const nat::Found& found, packet::Parsed& packet);
  void follow(nat::Entry& entry, nat::Side from, const Seen& seen);
  void cut(nat::Entry& entry, stats::Reason reason);
  void end(nat::Entry& entry, stats::Reason reason);
  bool in_use(const packet::Tuple& upstream) const override;

  Context& context_;
  Edge& edge_;
};

}  // namespace isthmus::gateway
