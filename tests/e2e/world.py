# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Everything of the plan, up and running: nodes, pods, peers, redirection, gateways."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e import plan
from tests.e2e.capture import GENEVE_PORT, Capture
from tests.e2e.gateway import config, mesh, yaml
from tests.e2e.gateway.process import Gateway
from tests.e2e.peers import certificates
from tests.e2e.peers.start import Pods
from tests.e2e.topology.fabric import Fabric
from tests.e2e.topology.lab import Lab, Namespace, wait_for
from tests.e2e.topology.node import GATEWAY_DEVICE, BareNode, KernelNode

FILE_BYTES = 256 << 20


class World:
    def __init__(self, lab: Lab, workers: int = 1) -> None:
        self.lab = lab
        self.fabric = Fabric(lab)
        self.nodes = {node: KernelNode(lab, node, plan.pods_on(node)) for node in plan.NODES
                      if node.has_host}
        self.bare = {node: BareNode(lab, node, plan.pods_on(node)) for node in plan.NODES
                     if not node.has_host}
        for kernel in self.nodes.values():
            self.fabric.join(kernel)
        self.pods: dict[plan.Pod, Namespace] = {}
        for kernel in self.nodes.values():
            self.pods |= kernel.pods
        for bare in self.bare.values():
            self.pods |= bare.pods
        certificates.issue(lab.state / "certs", plan.PODS)
        self.file = lab.state / "file"
        self.peers = Pods(lab, self.pods, lab.state / "certs", self.file)
        self.gateways = self._configure(workers)

    def _configure(self, workers: int) -> dict[plan.Node, Gateway]:
        state = self.lab.state
        (state / "mesh.yaml").write_text(yaml.dump(mesh.model()))
        gateways = {}
        for node, kernel in self.nodes.items():
            if node.has_gateway:
                described = config.one_armed(kernel, state, workers)
                gateways[node] = Gateway(self.lab, node.name, described, workers)
        for node, bare in self.bare.items():
            underlay = self.fabric.join_bare(bare)
            described = config.pod_and_underlay(bare, self.fabric, underlay, state, workers)
            gateways[node] = Gateway(self.lab, node.name, described, workers)
        return gateways

    def start(self) -> None:
        with self.file.open("wb") as file:
            subprocess.run(["head", "-c", str(FILE_BYTES), "/dev/urandom"], stdout=file,
                           check=True)
        self.peers.start()
        self.peers.start_outside(self.fabric.outside)
        # The gateways' legs of Geneve, watched from the first packet on.
        self.geneve = {}
        for node, kernel in self.nodes.items():
            if node.has_gateway:
                self.geneve[node] = Capture(kernel.netns, GATEWAY_DEVICE,
                                            f"udp port {GENEVE_PORT}", f"geneve-{node.name}")
        for gateway in self.gateways.values():
            gateway.start()
        for node, kernel in self.nodes.items():
            if node.has_gateway:
                kernel.redirect("up", *plan.ambient_on(node))
        self.peers.ready()

    def access_log(self, pod: plan.Pod, *words: str) -> str:
        """The last line of a pod's Envoy log with all these words; waits for it a little."""
        log: Path = self.peers.access_log(pod)
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in log.read_text(errors="replace").splitlines()
                        if all(word in line for word in words)]
            return bool(found)

        wait_for(f"{' '.join(words)} in the access log of {pod.name}", look, 5)
        return found[-1]
