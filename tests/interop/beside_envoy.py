# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""One gateway and one Envoy: an ambient pod and a sidecar pod that speak HBONE with each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import plan
from tests.e2e.gateway import config, mesh, yaml
from tests.e2e.gateway.process import Gateway
from tests.e2e.peers import certificates, envoy
from tests.e2e.peers.start import PYTHON, SIDECAR_CAPTURE, envoy_ready, listens, start_envoy
from tests.e2e.topology.fabric import Fabric
from tests.e2e.topology.lab import Lab, Namespace, Process, wait_for
from tests.e2e.topology.node import BareNode, KernelNode
from tests.interop.cases import expect

MOVE = Path(__file__).parent / "move.py"
MOVE_PORT = 7000

NODE = plan.Node("interop", 9, has_host=False)
ELSEWHERE = plan.Node("elsewhere", 8, has_gateway=False)
AMBIENT = plan.Pod("ambient", NODE, 5, plan.Kind.AMBIENT)
SIDECAR = plan.Pod("sidecar", ELSEWHERE, 5, plan.Kind.SIDECAR_HBONE)
# Envoy finds the ambient pod by its service; the gateway finds the sidecar by its address.
SERVICE = plan.Service("ambient", "10.96.0.31", AMBIENT, (MOVE_PORT,))


@dataclass(frozen=True)
class Role:
    """What Envoy is in the tunnel, who then speaks to whom, and where Envoy counts that."""

    envoy: str
    gateway: str  # as `show tunnels` calls it
    client: plan.Pod
    target: str
    connections: str
    requests: str


SERVER = Role("server", "client", AMBIENT, SIDECAR.address,
              f"listener.0.0.0.0_{plan.HBONE_PORT}.downstream_cx_total",
              "http.inbound_hbone.downstream_rq_total")
CLIENT = Role("client", "server", SIDECAR, SERVICE.address,
              "cluster.connect_originate.upstream_cx_total",
              "cluster.connect_originate.upstream_rq_total")
ROLES = (SERVER, CLIENT)


class BesideEnvoy:
    def __init__(self, lab: Lab, records_per_key: int) -> None:
        """KeyUpdate after so many records, in each direction of each connection."""
        self.lab, self.records_per_key = lab, records_per_key
        bare, kernel = BareNode(lab, NODE, (AMBIENT,)), KernelNode(lab, ELSEWHERE, (SIDECAR,))
        self.netns: dict[plan.Pod, Namespace] = bare.pods | kernel.pods
        fabric = Fabric(lab)
        fabric.join(kernel)
        self.network = fabric.netns
        underlay = fabric.join_bare(bare)
        certificates.issue(lab.state / "certs", (AMBIENT, SIDECAR))
        (lab.state / "mesh.yaml").write_text(yaml.dump(mesh.open_model((AMBIENT, SIDECAR), ())))
        described = config.pod_and_underlay(bare, fabric, underlay, lab.state, 1)
        described["limits"] = {"records_per_key": records_per_key}
        self.gateway = Gateway(lab, NODE.name, described)
        self._moves = 0

    def start(self) -> None:
        for netns in self.netns.values():
            netns.start(f"{netns.name}-move", PYTHON, MOVE, "serve", str(MOVE_PORT))
        log = self.lab.logs / f"{SIDECAR.name}.access"
        netns = self.netns[SIDECAR]
        netns.nft(SIDECAR_CAPTURE)
        described = envoy.sidecar(SIDECAR, self.lab.state / "certs", log, (SERVICE,))
        # Towards us Envoy is as it comes.
        del described["layered_runtime"]
        process = start_envoy(netns, described, log)
        self.gateway.start()
        for pod in self.netns.values():
            wait_for(f"port {MOVE_PORT} of {pod.name}", lambda: listens(pod, MOVE_PORT), 30)
        wait_for(process.name, lambda: envoy_ready(process), 60)

    # -- traffic ---------------------------------------------------------------------------------

    def move(self, role: Role, up: int, down: int, count: int = 1, rate: int = 0) -> Process:
        """Starts that many connections, each a stream, that carry so many bytes each way."""
        self._moves += 1
        return self.netns[role.client].start(
            f"move-{self._moves}", PYTHON, MOVE, "to", role.target, str(MOVE_PORT), "--up",
            str(up), "--down", str(down), "--count", str(count), "--rate", str(rate))

    def warm(self, role: Role) -> None:
        """Sees to it that there is a connection which streams can share."""
        self.moved(self.move(role, 1, 1), 20)

    def moved(self, move: Process, seconds: float) -> float:
        """Waits for its end, which must be a good one; the seconds that it took."""
        status = move.popen.wait(seconds)
        said = move.output().split("\n")
        expect(status == 0, f"{move.name}: {' '.join(said)}")
        return float(said[0])

    def refused(self, move: Process, seconds: float) -> str:
        """The same of one that must not come to anything; what its client said."""
        expect(move.popen.wait(seconds) != 0, f"{move.name} got through")
        return move.output().split("\n")[1]

    # -- what both ends count --------------------------------------------------------------------

    def tunnels(self, role: Role) -> list[dict[str, Any]]:
        return [row for row in self.gateway.ask_json("show tunnels")
                if row["role"] == role.gateway]

    def streams(self, role: Role) -> int:
        return sum(row["streams"] for row in self.tunnels(role))

    def tls(self) -> dict[str, int]:
        """The worker's own counters of records and keys."""
        rows: list[dict[str, int]] = self.gateway.ask_json("show tls")
        return rows[0]

    def admin(self, path: str, *arguments: str) -> str:
        """Envoy's admin interface."""
        return self.netns[SIDECAR].run("curl", "-s", "-S", "-f", *arguments,
                                       f"http://127.0.0.1:15000{path}").stdout

    def count(self, name: str) -> int:
        """One of Envoy's counters; 0 when it has never been touched."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.admin("/stats"), re.MULTILINE)
        return int(found.group(1)) if found else 0
