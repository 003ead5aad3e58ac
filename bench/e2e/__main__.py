# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""iperf3 from pod to pod: through two gateways, through two Envoys that do the same HBONE job, and
directly, all in one run. Prints Gbit/s and what the proxies spent."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field

from tests.e2e import plan
from tests.e2e.capture import Capture, cipher
from tests.e2e.gateway import config, mesh, yaml
from tests.e2e.gateway.process import Gateway, process_usage
from tests.e2e.peers import certificates, envoy
from tests.e2e.peers.start import SIDECAR_CAPTURE, envoy_ready, listens, start_envoy
from tests.e2e.topology.fabric import Fabric
from tests.e2e.topology.lab import Lab, Namespace, wait_for
from tests.e2e.topology.node import BareNode, KernelNode

STREAMS = (1, 4, 16)

# Bare nodes for the gateways, ordinary ones for the references.
_BARE = (plan.Node("left", 21, has_host=False), plan.Node("right", 22, has_host=False))
_PLAIN = (plan.Node("west", 23, has_gateway=False), plan.Node("east", 24, has_gateway=False))
_AMBIENT = tuple(plan.Pod(f"ambient-{node.name}", node, 5, plan.Kind.AMBIENT) for node in _BARE)
_SIDECARS = tuple(plan.Pod(f"sidecar-{node.name}", node, 6, plan.Kind.SIDECAR_HBONE)
                  for node in _PLAIN)
_DIRECT = tuple(plan.Pod(f"direct-{node.name}", node, 7, plan.Kind.SIDECAR_CLIENT)
                for node in _PLAIN)
_SERVICES = (plan.Service("east", "10.96.1.1", _SIDECARS[1], (plan.IPERF_PORT,)),)


@dataclass(frozen=True)
class Way:
    """From a client to a server; proxies are the processes whose time counts, client's first."""

    name: str
    client: Namespace
    address: str
    proxies: tuple[int, ...] = ()


@dataclass
class Result:
    gbits: float
    seconds_per_gb: tuple[float, ...] = field(default=())


def measure(way: Way, streams: int, reverse: bool, seconds: int) -> Result:
    before = [process_usage(pid).cpu_seconds for pid in way.proxies]
    done = way.client.run("iperf3", "-c", way.address, "-p", str(plan.IPERF_PORT), "-t",
                          str(seconds), "-P", str(streams), "-J", *(["-R"] if reverse else []),
                          timeout=seconds + 60, check=False)
    spent = [process_usage(pid).cpu_seconds - was for pid, was in zip(way.proxies, before)]
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise RuntimeError(f"{way.name}: iperf3: {answer['error']}")
    received = answer["end"]["sum_received"]
    gigabytes = received["bytes"] / 1e9
    return Result(received["bits_per_second"] / 1e9,
                  tuple(cpu / gigabytes if gigabytes else 0.0 for cpu in spent))


class Bench:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fabric = Fabric(lab, wire=False)
        bare = [BareNode(lab, node, [pod]) for node, pod in zip(_BARE, _AMBIENT)]
        plain = [KernelNode(lab, node, pods) for node, pods in
                 zip(_PLAIN, zip(_SIDECARS, _DIRECT))]
        for kernel in plain:
            self.fabric.join(kernel)
        self.netns: dict[plan.Pod, Namespace] = {}
        for kernel in plain:
            self.netns |= kernel.pods
        for node in bare:
            self.netns |= node.pods
        certificates.issue(lab.state / "certs", (*_AMBIENT, *_SIDECARS))
        (lab.state / "mesh.yaml").write_text(yaml.dump(mesh.open_model(_AMBIENT, ())))
        self.gateways = []
        for node in bare:
            underlay = self.fabric.join_bare(node)
            described = config.pod_and_underlay(node, self.fabric, underlay, lab.state, 1)
            self.gateways.append(Gateway(lab, node.node.name, described))

    def start(self, gateways: bool) -> list[Way]:
        for pod in (_AMBIENT[1], _SIDECARS[1], _DIRECT[1]):
            netns = self.netns[pod]
            netns.start(f"{pod.name}-iperf", "iperf3", "-s", "-p", str(plan.IPERF_PORT))
            wait_for("iperf3", lambda: listens(netns, plan.IPERF_PORT))
        envoys = []
        for pod in _SIDECARS:
            log = self.lab.logs / f"{pod.name}.access"
            self.netns[pod].nft(SIDECAR_CAPTURE)
            envoys.append(start_envoy(self.netns[pod], envoy.sidecar(
                pod, self.lab.state / "certs", log, _SERVICES), log))
        for process in envoys:
            wait_for(process.name, lambda: envoy_ready(process), 60)
        ways = [Way("direct", self.netns[_DIRECT[0]], _DIRECT[1].address),
                Way("two Envoys", self.netns[_SIDECARS[0]], _SERVICES[0].address,
                    tuple(process.pid for process in envoys))]
        if gateways:
            for gateway in self.gateways:
                gateway.start()
            ways.append(Way("two gateways", self.netns[_AMBIENT[0]], _AMBIENT[1].address,
                            tuple(gateway.process.pid for gateway in self.gateways)))
        return ways

    def ciphers(self, ways: list[Way]) -> str:
        """What each pair of proxies agrees on, as the wire between them shows it."""
        found = []
        for way, port in zip(ways[1:], ("f-west", "f-left"), strict=False):
            capture = Capture(self.fabric.netns, port, f"tcp port {plan.HBONE_PORT}", port)
            measure(way, 1, False, 1)
            capture.stop()
            found.append(f"{way.name} {cipher(capture.frames()) or 'not seen'}")
        return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench e2e")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--references", action="store_true", help="without the gateways")
    arguments = parser.parse_args()
    with Lab() as lab:
        bench = Bench(lab)
        ways = bench.start(gateways=not arguments.references)
        print(f"TLS 1.3: {bench.ciphers(ways)}; no authorization policy; one worker, one Envoy"
              " thread")
        print(f"{'':14}{'streams':>8}{'direction':>11}{'Gbit/s':>8}   proxy CPU s/GB:"
              " client's + server's = both")
        for streams in STREAMS:
            for reverse in (False, True):
                for way in ways:
                    result = measure(way, streams, reverse, arguments.seconds)
                    spent = " + ".join(f"{value:.2f}" for value in result.seconds_per_gb)
                    if spent:
                        spent += f" = {sum(result.seconds_per_gb):.2f}"
                    print(f"{way.name:14}{streams:8}{'to client' if reverse else 'to server':>11}"
                          f"{result.gbits:8.2f}   {spent}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
