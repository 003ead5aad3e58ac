# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The paths of the quickstart: what is tried, and what must be seen outside our code."""

from __future__ import annotations

import concurrent.futures

from tests.e2e import plan
from tests.e2e.capture import geneve
from tests.e2e.gateway.process import Gateway
from tests.e2e.peers.envoy import RESPONSE_HEADER
from tests.e2e.trial import REFUSED, TIMED_OUT, Case, Trial, curl


def _url(pod: plan.Pod, path: str, port: int = plan.HTTPBIN_PORT) -> str:
    """By the address of the service in front of the pod."""
    return f"http://{plan.service(pod).address}:{port}{path}"


def _pod_url(pod: plan.Pod, path: str, port: int = plan.HTTPBIN_PORT) -> str:
    return f"http://{pod.address}:{port}{path}"


# --- ambient to sidecar --------------------------------------------------------------------------

def _a2s_plain(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP, _url(plan.HTTPBIN_PLAIN, f"/anything/{trial.marker}"),
                       plan.HTTPBIN_PLAIN, hidden=False)
    trial.log(plan.HTTPBIN_PLAIN, "APPLICATION", trial.marker, "peer=-",
              f"source={plan.SLEEP.address}:")
    trial.walk(plan.A, plan.SLEEP, reply)


def _a2s_hbone(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP, _url(plan.HTTPBIN_HBONE, f"/anything/{trial.marker}"),
                       plan.HTTPBIN_HBONE, hidden=True)
    xfcc = reply.json()["headers"].get("X-Forwarded-Client-Cert", "")
    trial.expect(f"URI={plan.SLEEP.identity}" in xfcc, f"the application was told: {xfcc}")
    trial.log(plan.HTTPBIN_HBONE, "HBONE", f"peer={plan.SLEEP.identity}")
    trial.walk(plan.A, plan.SLEEP, reply)


# --- sidecar to ambient --------------------------------------------------------------------------

def _s2a_hbone(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP_SIDECAR, _url(plan.HTTPBIN, f"/anything/{trial.marker}"),
                       plan.HTTPBIN, hidden=True)
    trial.log(plan.SLEEP_SIDECAR, "ORIGINATE", f"to={plan.HTTPBIN.address}:{plan.HBONE_PORT}",
              f"peer={plan.HTTPBIN.identity}")
    _application_saw(trial, reply.json()["origin"], plan.SLEEP_SIDECAR)
    trial.walk_inbound(plan.B, plan.SLEEP_SIDECAR, plan.HTTPBIN)


def _s2a_plain(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP_SIDECAR, _pod_url(plan.HTTPBIN, f"/anything/{trial.marker}"),
                       plan.HTTPBIN, hidden=False)
    _application_saw(trial, reply.json()["origin"], plan.SLEEP_SIDECAR)
    trial.walk_inbound(plan.B, plan.SLEEP_SIDECAR, plan.HTTPBIN)


def _s2w2a(trial: Trial) -> None:
    url = _url(plan.HELLOWORLD, f"/hello?{trial.marker}", plan.HELLOWORLD_PORT)
    reply = trial.http(plan.SLEEP_SIDECAR, url, plan.HELLOWORLD, hidden=True)
    _through_waypoint(trial, reply.headers, plan.SLEEP_SIDECAR)
    trial.log(plan.SLEEP_SIDECAR, "ORIGINATE", f"to={plan.WAYPOINT.address}:{plan.HBONE_PORT}",
              f"peer={plan.WAYPOINT.identity}")
    trial.walk_inbound(plan.D, plan.WAYPOINT, plan.HELLOWORLD)


def _through_waypoint(trial: Trial, headers: dict[str, str], client: plan.Pod) -> None:
    name, value = RESPONSE_HEADER
    trial.expect(headers.get(name) == value, f"the response has the waypoint's {name}: {value}")
    trial.log(plan.WAYPOINT, "WAYPOINT", trial.marker, f"peer={client.identity}")
    trial.log(plan.WAYPOINT, "ORIGINATE", f"to={plan.HELLOWORLD.address}:{plan.HBONE_PORT}",
              f"peer={plan.HELLOWORLD.identity}")


def _application_saw(trial: Trial, origin: str, client: plan.Pod) -> None:
    trial.expect(client.address in origin, f"the application saw the client as {origin}",
                 f"the application saw {origin}, not {client.address}")


# --- ambient to ambient, and out -----------------------------------------------------------------

def _a2a(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP, _url(plan.HTTPBIN, f"/anything/{trial.marker}"), plan.HTTPBIN,
                       hidden=True)
    _application_saw(trial, reply.json()["origin"], plan.SLEEP)
    trial.walk(plan.A, plan.SLEEP, reply)
    trial.walk_inbound(plan.B, plan.SLEEP, plan.HTTPBIN)


def _a2a_local(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP, _url(plan.NEIGHBOUR, f"/anything/{trial.marker}"),
                       plan.NEIGHBOUR, hidden=True)
    _application_saw(trial, reply.json()["origin"], plan.SLEEP)
    trial.walk(plan.A, plan.SLEEP, reply)


def _a2w2a(trial: Trial) -> None:
    url = _url(plan.HELLOWORLD, f"/hello?{trial.marker}", plan.HELLOWORLD_PORT)
    reply = trial.http(plan.SLEEP, url, plan.HELLOWORLD, hidden=True)
    _through_waypoint(trial, reply.headers, plan.SLEEP)
    trial.walk(plan.A, plan.SLEEP, reply)


def _bare(trial: Trial) -> None:
    reply = trial.http(plan.SLEEP_BARE, _url(plan.HTTPBIN, f"/anything/{trial.marker}"),
                       plan.HTTPBIN, hidden=True)
    _application_saw(trial, reply.json()["origin"], plan.SLEEP_BARE)
    trial.walk(plan.E, plan.SLEEP_BARE, reply)


def _outside(trial: Trial) -> None:
    address, port = plan.OUTSIDE_BACKEND
    reply = trial.http(plan.SLEEP, f"http://{address}:{port}/hello", None, hidden=False)
    _masqueraded(trial, reply.body)
    trial.walk(plan.A, plan.SLEEP, reply)


def _outside_service(trial: Trial) -> None:
    address, port = plan.OUTSIDE_SERVICE
    reply = trial.http(plan.SLEEP, f"http://{address}:{port}/hello", None, hidden=False)
    _masqueraded(trial, reply.body)
    trial.walk(plan.A, plan.SLEEP, reply)


def _masqueraded(trial: Trial, body: str) -> None:
    trial.expect(f"client: {plan.A.uplink}" in body,
                 f"the server outside saw the node: {body.strip()}")


def _ping(trial: Trial) -> None:
    done = trial.world.pods[plan.SLEEP].run("ping", "-c", "3", "-i", "0.2", "-W", "2",
                                            plan.HTTPBIN.address, check=False)
    summary = next((line for line in done.stdout.splitlines() if "packet loss" in line), "")
    trial.expect(" 0% packet loss" in summary, f"ping: {summary}")
    for node in (plan.A, plan.B):
        inner = [geneve(frame) for frame in trial.world.geneve[node].frames()]
        trial.expect(any(packet and packet.kind == "icmp" for packet in inner),
                     f"node {node.name} sent ICMP to its gateway through istioin")


# --- refusals ------------------------------------------------------------------------------------

def _denied(trial: Trial) -> None:
    url = _url(plan.HTTPBIN, "/get")
    reply = trial.curl(plan.INTRUDER, url)
    trial.expect(reply.exit not in (0, TIMED_OUT), f"intruder's {reply.outcome}",
                 f"intruder's curl of {url}: {reply.outcome}")
    drops = trial.world.gateways[plan.B].ask("show drops")
    trial.expect("rbac" in drops.lower(), "node b's gateway counts it: " + next(
        (line.strip() for line in drops.splitlines() if "rbac" in line.lower()), ""))
    trial.http(plan.SLEEP, url, plan.HTTPBIN, hidden=True)


def _refused(trial: Trial) -> None:
    for what, target in (("behind HBONE", plan.HTTPBIN), ("on its own node", plan.NEIGHBOUR)):
        open_ = trial.curl(plan.SLEEP, _url(target, "/get"))
        trial.expect(open_.status == 200, f"{what}: port {plan.HTTPBIN_PORT}: {open_.outcome}")
        reply = trial.curl(plan.SLEEP, _url(target, "/", plan.CLOSED_PORT))
        # Late accept: the client's own SYN is refused, and at once, not by a timeout.
        trial.expect(reply.exit == REFUSED and reply.seconds < 2,
                     f"{what}: {reply.outcome} in {reply.seconds * 1000:.0f} ms",
                     f"{what}: {reply.outcome} after {reply.seconds:.1f} s, not refused at once")


def _strict(trial: Trial) -> None:
    reply = trial.curl(plan.SLEEP_SIDECAR, _pod_url(plan.STRICT, "/get"))
    # The client's own Envoy accepts first, and then has no upstream.
    trial.expect(reply.exit not in (0, TIMED_OUT), f"plaintext: {reply.outcome}")
    trial.http(plan.SLEEP_SIDECAR, _url(plan.STRICT, "/get"), plan.STRICT, hidden=True)


def _beside(trial: Trial) -> None:
    trial.http(plan.SLEEP_SIDECAR, _url(plan.NEIGHBOUR, f"/anything/{trial.marker}"),
               plan.NEIGHBOUR, hidden=True)
    trial.log(plan.SLEEP_SIDECAR, "ORIGINATE", f"to={plan.NEIGHBOUR.address}:{plan.HBONE_PORT}",
              f"peer={plan.NEIGHBOUR.identity}")
    captured = [packet for frame in trial.world.geneve[plan.A].frames()
                if (packet := geneve(frame)) and packet.vni == 1001]
    trial.expect(all(packet.source != plan.SLEEP_SIDECAR.address for packet in captured),
                 "istioout carried nothing that the sidecar pod sent",
                 "the sidecar pod was captured")


def _probe(trial: Trial) -> None:
    """The kubelet's way to a pod: from the node's own address."""
    reply = curl(trial.world.nodes[plan.B].netns, _pod_url(plan.STRICT, "/ip"))
    trial.expect(reply.status == 200 and plan.B.host in reply.body,
                 f"the strict pod answered its node {plan.B.host}", reply.outcome)


# --- what must hold for all of them --------------------------------------------------------------

def _geneve(trial: Trial) -> None:
    for node, capture in trial.world.geneve.items():
        packets = [packet for frame in capture.frames() if (packet := geneve(frame))]
        from_host = [packet for packet in packets if packet.outer_source == node.host]
        to_host = [packet for packet in packets if packet.outer_source == node.gateway]
        tcp = [packet for packet in from_host if packet.kind == "tcp"]
        late = [packet for packet in tcp if not packet.is_syn]
        odd = [packet for packet in to_host if packet.kind != "arp reply"]
        trial.expect(bool(tcp) and not late,
                     f"node {node.name} to its gateway: {len(tcp)} TCP packets, all SYN",
                     f"node {node.name}: {len(late)} TCP packets of {len(tcp)} are no SYN")
        trial.expect(bool(to_host) and not odd,
                     f"gateway {node.name} to its node: {len(to_host)} packets, all ARP replies",
                     f"gateway {node.name} sent through Geneve: {odd[:3]}")


_CURLS = {
    "a2s-plain": (plan.SLEEP, _url(plan.HTTPBIN_PLAIN, "/get")),
    "a2s-hbone": (plan.SLEEP, _url(plan.HTTPBIN_HBONE, "/get")),
    "s2a-hbone": (plan.SLEEP_SIDECAR, _url(plan.HTTPBIN, "/get")),
    "s2a-plain": (plan.SLEEP_SIDECAR, _pod_url(plan.HTTPBIN, "/get")),
    "s2w2a": (plan.SLEEP_SIDECAR, _url(plan.HELLOWORLD, "/hello", plan.HELLOWORLD_PORT)),
    "a2a": (plan.SLEEP, _url(plan.HTTPBIN, "/get")),
    "a2a-local": (plan.SLEEP, _url(plan.NEIGHBOUR, "/get")),
    "a2w2a": (plan.SLEEP, _url(plan.HELLOWORLD, "/hello", plan.HELLOWORLD_PORT)),
    "bare": (plan.SLEEP_BARE, _url(plan.HTTPBIN, "/get")),
    "outside": (plan.SLEEP, "http://{}:{}/hello".format(*plan.OUTSIDE_BACKEND)),
    "outside-service": (plan.SLEEP, "http://{}:{}/hello".format(*plan.OUTSIDE_SERVICE)),
}


def _stopped(trial: Trial) -> None:
    world = trial.world
    with concurrent.futures.ThreadPoolExecutor() as pool:
        statuses = list(pool.map(Gateway.stop, world.gateways.values()))
    for gateway, status in zip(world.gateways.values(), statuses, strict=True):
        trial.expect(status == 0, f"gateway {gateway.name}: SIGTERM, exit status 0",
                     f"gateway {gateway.name} after SIGTERM: {status}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        replies = pool.map(lambda item: curl(world.pods[item[0]], item[1], seconds=4),
                           _CURLS.values())
    for name, reply in zip(_CURLS, replies, strict=True):
        # A sidecar answers for an upstream that it cannot reach.
        trial.expect(reply.exit != 0 or reply.status == 503, f"{name} fails: {reply.outcome}",
                     f"{name} still works: {reply.outcome}")


PATHS = (
    Case("a2s-plain", "ambient sleep (A) → httpbin behind a sidecar (B), plaintext to 15006",
         _a2s_plain),
    Case("a2s-hbone", "ambient sleep (A) → httpbin behind a sidecar (B) that speaks HBONE",
         _a2s_hbone),
    Case("s2a-hbone", "sleep behind a sidecar (A) → ambient httpbin (B), HBONE to 15008",
         _s2a_hbone),
    Case("s2a-plain", "sleep behind a sidecar (A) → ambient httpbin (B), plaintext, 15006",
         _s2a_plain),
    Case("s2w2a", "sleep behind a sidecar (A) → waypoint (C) → ambient helloworld (D)", _s2w2a),
    Case("a2a", "ambient sleep (A) → ambient httpbin (B)", _a2a),
    Case("a2a-local", "ambient sleep (A) → ambient neighbour (A), joined in memory", _a2a_local),
    Case("a2w2a", "ambient sleep (A) → waypoint (C) → ambient helloworld (D)", _a2w2a),
    Case("bare", "ambient pod on the gateway's own interface (E) → ambient httpbin (B)", _bare),
    Case("outside", "ambient sleep (A) → a server outside the mesh, through the host's masquerade",
         _outside),
    Case("outside-service", "ambient sleep (A) → the same by a service that kube-proxy translates",
         _outside_service),
    Case("ping", "ping from ambient sleep (A) to ambient httpbin (B), through both gateways",
         _ping),
    Case("denied", "a client that policy denies", _denied),
    Case("refused", "a port where nobody listens refuses", _refused),
    Case("strict", "plaintext is refused where STRICT holds", _strict),
    Case("beside", "a sidecar pod beside an ambient pod (A) is not captured", _beside),
    Case("probe", "the node's own probes reach a strict pod", _probe),
    Case("geneve", "through Geneve come SYNs, and go ARP replies", _geneve),
    Case("stopped", "with the gateways stopped nothing passes", _stopped),
)
