// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "flow/walk.h"

#include <fmt/format.h>

#include "stats/reason.h"

namespace isthmus::flow {
namespace {

// Writes the steps of one record. Each member function adds the steps of one stretch of the way.
class Walker {
 public:
  Walker(const Report& report, const Names& names) : r_(report), names_(names) {}

  std::vector<Step> run() {
    switch (r_.capture) {
      case capture::Class::outbound_15001:
        outbound();
        break;
      case capture::Class::inbound_hbone_15008:
      case capture::Class::inbound_plaintext_15006:
        inbound();
        break;
      case capture::Class::bypass:
      case capture::Class::drop:
        add("", fmt::format("{} came in {}", tuple(r_.client), arrival()));
        add("", fmt::format("capture: {}", capture::to_string(r_.capture)));
        break;
    }
    outcome();
    return std::move(steps_);
  }

 private:
  void add(std::string number, std::string text) {
    steps_.push_back({std::move(number), std::move(text)});
  }

  bool happened(Moment moment) const { return r_.at.happened(moment); }
  static std::string at(timer::Duration after) { return fmt::format(" at +{} us", after.count()); }
  // " at +12 us", counted from capture; nothing when it did not happen.
  std::string when(Moment moment) const { return happened(moment) ? at(r_.at.after(moment)) : ""; }
  // "10.0.1.5:80 (default/sleep)"
  std::string named(const packet::Endpoint& endpoint) const {
    const std::string name = names_.address(endpoint.address);
    return name.empty() ? endpoint.to_string() : fmt::format("{} ({})", endpoint.to_string(), name);
  }
  std::string named(const packet::IpAddress& address) const {
    const std::string name = names_.address(address);
    return name.empty() ? address.to_string() : fmt::format("{} ({})", address.to_string(), name);
  }
  static std::string tuple(const packet::Tuple& tuple) { return tuple.to_string(); }
  std::string interface(uint16_t index) const {
    const std::string name = names_.interface(index);
    return name.empty() ? std::string("an interface that is gone") : fmt::format("'{}'", name);
  }
  std::string on_interface(uint16_t index) const {
    if (index == kNoInterface) return "";
    return fmt::format(" on {}", interface(index));
  }
  std::string arrival() const {
    if (r_.vni == 0) return fmt::format("plain{}", on_interface(r_.in_interface));
    return fmt::format("in Geneve VNI {} from {}{}", r_.vni, r_.geneve_source.to_string(),
                       on_interface(r_.in_interface));
  }
  std::string identity(uint32_t id) const {
    const std::string uri = names_.identity(id);
    return uri.empty() ? std::string("no identity") : uri;
  }
  std::string authority() const {
    return flow::authority(r_, names_.hostname(r_.authority_service));
  }
  // A leg that waits for its tunnel has no source port yet.
  static std::string leg(const packet::Tuple& tuple) {
    return tuple.source.port == 0 ? fmt::format("to {}", tuple.destination.to_string())
                                  : fmt::format("as {}", tuple.to_string());
  }
  // A flow that was refused keeps what was decided before.
  bool was_hbone() const {
    return r_.kind == Kind::outbound_hbone || (r_.kind == Kind::refused && r_.has_authority());
  }
  bool refused_by_upstream() const { return r_.reason == stats::Reason::gateway_upstream_refused; }
  bool has_upstream() const { return r_.upstream != packet::Tuple{}; }

  // (1) to (8) of A2S: from the pod's socket to the application.
  void outbound() {
    const std::string syn = fmt::format("SYN {}", tuple(r_.client));
    if (r_.vni != 0) {
      add("(1)(2)(3)",
          fmt::format("pod {} -> veth -> mark -> istioout: {} in Geneve VNI {} from {}",
                      named(r_.client.source.address), syn, r_.vni, r_.geneve_source.to_string()));
      add("(4)(5)", fmt::format("gateway decapsulates{}: outbound capture, port class 15001",
                                on_interface(r_.in_interface)));
    } else {
      add("(1)", fmt::format("pod {}: {} came plain{}{}", named(r_.client.source.address), syn,
                             on_interface(r_.in_interface),
                             names_.is_pod_interface(r_.in_interface) ? ", the pod's own" : ""));
      add("(4)(5)", "outbound capture, port class 15001; no Geneve on the way");
    }
    if (r_.kind == Kind::refused && !has_upstream()) return;
    decision();
    upstream_leg();
    application("(8)");
  }

  void decision() {
    std::string text;
    const std::string target = named(r_.client.destination);
    switch (r_.kind) {
      case Kind::passthrough:
        text = fmt::format("{} is not in the mesh: passed through packet by packet", target);
        break;
      case Kind::local:
        text = fmt::format("{} -> {}: a pod of this node, joined here", target, named(r_.endpoint));
        break;
      case Kind::direct:
        text = fmt::format("{} -> endpoint {}: speaks plaintext", target, named(r_.endpoint));
        break;
      default:
        text = fmt::format("{} -> {} {}", target, r_.through_waypoint ? "waypoint" : "endpoint",
                           named(r_.endpoint));
        break;
    }
    if (r_.source_identity != 0) text += fmt::format(", as {}", identity(r_.source_identity));
    add("(6)", text + when(kDecided));
    if (has_upstream()) {
      add("(6)", fmt::format("leaves{} {}{}", on_interface(r_.out_interface), leg(r_.upstream),
                             when(kDialled)));
    }
  }

  void upstream_leg() {
    if (was_hbone()) {
      hbone_upstream();
      return;
    }
    if (!happened(kUpstream)) return;
    const packet::Endpoint to = has_upstream() ? r_.upstream.destination : r_.client.destination;
    std::string text = fmt::format("plain TCP to {}, {}{}", named(to),
                                   refused_by_upstream() ? "refused" : "answered", when(kUpstream));
    if (r_.kind == Kind::direct) text += " (where a sidecar captures it: to its 15006)";
    if (r_.kind == Kind::passthrough) text += " (outside the mesh)";
    add("(7)", text);
  }

  void hbone_upstream() {
    std::string text =
        fmt::format("HBONE to {}", r_.through_waypoint ? "the waypoint" : "the peer");
    if (has_upstream()) text += fmt::format(" {}", named(r_.upstream.destination));
    if (r_.has_authority()) text += fmt::format(", CONNECT {}", authority());
    if (!r_.peer.empty()) {
      text += fmt::format(", it proved {}", r_.peer);
    } else if (r_.destination_identity != 0) {
      text += fmt::format(", expected {}", identity(r_.destination_identity));
    }
    if (r_.http_status != 0) text += fmt::format(", answered {}", r_.http_status);
    add("(7)", text + when(kUpstream));
  }

  // (1) to (9) of S2A, also the last part of S2W2A.
  void inbound() {
    const bool hbone = r_.capture == capture::Class::inbound_hbone_15008;
    const char* what = hbone ? "HBONE" : "plain TCP";
    const char* who = r_.through_waypoint ? "waypoint" : "client";
    add("(1)-(4)",
        fmt::format("{} {} -> {}: {} to {}", who, named(r_.client.source.address),
                    r_.client.destination.to_string(), what, named(r_.client.destination.address)));
    const std::string class_text =
        fmt::format("inbound capture, port class {}", hbone ? "15008 (HBONE)" : "15006 (plain)");
    if (r_.vni != 0) {
      add("(5)(6)", fmt::format("pod route -> istioin: SYN {} in Geneve VNI {} from {}",
                                tuple(r_.client), r_.vni, r_.geneve_source.to_string()));
      add("(7)(8)",
          fmt::format("gateway decapsulates{}: {}", on_interface(r_.in_interface), class_text));
    } else {
      add("(5)(6)", fmt::format("SYN {} came plain{}: no Geneve on the way", tuple(r_.client),
                                on_interface(r_.in_interface)));
      add("(7)(8)", fmt::format("gateway: {}", class_text));
    }
    if (hbone) tunnel_side();
    if (r_.kind == Kind::tunnel) return;
    if (r_.kind == Kind::refused && !has_upstream()) return;
    to_pod();
  }

  void tunnel_side() {
    if (!r_.peer.empty()) {
      std::string text = fmt::format("TLS: the peer proved {}", r_.peer);
      if (r_.destination_identity != 0) {
        text += fmt::format("; shown to it: {}", identity(r_.destination_identity));
      }
      add("(7)(8)", text);
    }
    if (r_.kind == Kind::tunnel) {
      if (happened(kAccepted)) add("(7)(8)", fmt::format("TCP accepted{}", when(kAccepted)));
      return;
    }
    if (!r_.has_authority()) return;
    std::string text = fmt::format("CONNECT {}", authority());
    if (r_.tunnel != 0) text += fmt::format(" in the tunnel of flow {}", r_.tunnel);
    add("(7)(8)", text);
  }

  void to_pod() {
    std::string verdict = "policy allows";
    if (r_.source_identity != 0) verdict += fmt::format(" {}", identity(r_.source_identity));
    if (happened(kDecided)) add("(7)(8)", verdict + when(kDecided));
    if (!happened(kDialled) && !has_upstream()) return;
    const packet::Endpoint to = has_upstream() ? r_.upstream.destination : r_.endpoint;
    std::string text = fmt::format("pod {}{}", named(to), on_interface(r_.out_interface));
    if (has_upstream()) text += fmt::format(" {}", leg(r_.upstream));
    text += when(kDialled);
    if (happened(kUpstream)) {
      text +=
          fmt::format(", {}{}", refused_by_upstream() ? "refused" : "answered", when(kUpstream));
    }
    add("(9)", text);
    if (r_.http_status != 0) {
      add("", fmt::format("CONNECT answered {}{}", r_.http_status, when(kAccepted)));
    }
    application("");
  }

  void application(std::string number) {
    if (refused_by_upstream()) return;
    if (!happened(kFirstByte) && r_.bytes_to_upstream == 0 && r_.bytes_to_client == 0) return;
    std::string text = "application:";
    if (happened(kFirstByte)) text += fmt::format(" first byte back{},", when(kFirstByte));
    text += fmt::format(" {} bytes to it, {} bytes back", r_.bytes_to_upstream, r_.bytes_to_client);
    add(std::move(number), std::move(text));
  }

  void outcome() {
    if (r_.reason != stats::Reason::count_) {
      const stats::ReasonInfo& info = stats::info(r_.reason);
      std::string text =
          fmt::format("{}: {} ({}.{})", r_.kind == Kind::refused ? "refused" : "failed", info.text,
                      info.room, info.name);
      if (r_.policy != mesh::kNoName) text += fmt::format(", policy {}", names_.policy(r_.policy));
      if (r_.http_status != 0) text += fmt::format(", HTTP {}", r_.http_status);
      if (r_.tls_alert != 0) text += fmt::format(", TLS alert {}", r_.tls_alert);
      if (r_.source_identity != 0) text += fmt::format(", source {}", identity(r_.source_identity));
      add("", text);
    } else if (r_.kind == Kind::refused) {
      add("", "refused");
    }
    std::string text = to_string(r_.state);
    if (r_.state == State::closed) text += at(r_.closed - r_.at.captured());
    add("", text);
  }

  const Report& r_;
  const Names& names_;
  std::vector<Step> steps_;
};

}  // namespace

const char* to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::passthrough:
      return "passthrough";
    case Kind::direct:
      return "direct";
    case Kind::local:
      return "local";
    case Kind::inbound_plain:
      return "inbound_plain";
    case Kind::outbound_hbone:
      return "outbound_hbone";
    case Kind::tunnel:
      return "tunnel";
    case Kind::inbound_stream:
      return "inbound_stream";
    case Kind::refused:
      return "refused";
  }
  return "?";
}

const char* to_string(State state) noexcept {
  switch (state) {
    case State::opening:
      return "opening";
    case State::open:
      return "open";
    case State::closing:
      return "closing";
    case State::closed:
      return "closed";
  }
  return "?";
}

std::string title(const Record& record) {
  switch (record.capture) {
    case capture::Class::outbound_15001:
      return "from an ambient pod (A2S and its kin)";
    case capture::Class::inbound_hbone_15008:
      return record.through_waypoint ? "from a waypoint to an ambient pod (S2W2A, last part)"
                                     : "HBONE to an ambient pod (S2A)";
    case capture::Class::inbound_plaintext_15006:
      return "plaintext to an ambient pod (S2A)";
    case capture::Class::bypass:
      return "not captured";
    case capture::Class::drop:
      return "refused";
  }
  return "?";
}

std::vector<Step> walk(const Report& report, const Names& names) {
  return Walker(report, names).run();
}

std::string authority(const Report& report, std::string_view hostname) {
  if (!report.refused_authority.empty()) return std::string(report.refused_authority.view());
  if (report.authority.port == 0) return "";
  if (report.authority_service == mesh::kNoName) return report.authority.to_string();
  return fmt::format("{}:{}", hostname, report.authority.port);
}

}  // namespace isthmus::flow
