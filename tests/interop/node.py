# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""One gateway between two namespaces: the network, where a peer is, and a pod behind port 15008."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from tests.e2e import plan
from tests.e2e.gateway import config, mesh, yaml
from tests.e2e.gateway.process import Gateway
from tests.e2e.peers import certificates
from tests.e2e.topology.fabric import Fabric
from tests.e2e.topology.lab import Lab, Namespace, wait_for
from tests.e2e.topology.node import BareNode

NODE = plan.Node("interop", 9, has_host=False)
ELSEWHERE = plan.Node("elsewhere", 8, has_host=False)
POD = plan.Pod("server", NODE, 5, plan.Kind.AMBIENT)
SECOND = plan.Pod("second", NODE, 6, plan.Kind.AMBIENT)  # another pod of the node
PEER = plan.Pod("peer", ELSEWHERE, 5, plan.Kind.SIDECAR_HBONE)

T = TypeVar("T")


class Node:
    """The gateway is in front of POD and SECOND; PEER's address is in the network's namespace."""

    def __init__(self, lab: Lab, profile: str = "1.18") -> None:
        self.lab = lab
        self.certificates = lab.state / "certs"
        certificates.issue(self.certificates, (POD, SECOND, PEER))
        bare = BareNode(lab, NODE, (POD, SECOND))
        self.pod: Namespace = bare.pods[POD]
        fabric = Fabric(lab)
        underlay = fabric.join_bare(bare)
        self.network = fabric.netns
        self.network.ip(f"addr add {PEER.address}/32 dev lo",
                        f"route replace {NODE.pods} via {NODE.uplink} src {PEER.address}")
        (lab.state / "mesh.yaml").write_text(yaml.dump(mesh.open_model((POD, SECOND, PEER), ())))
        described = config.pod_and_underlay(bare, fabric, underlay, lab.state, 1)
        described["profile"] = profile
        self.access_log = lab.state / "access.log"
        described["access_log"] = {"file": str(self.access_log), "format": "json"}
        self.gateway = Gateway(lab, NODE.name, described)

    def start(self) -> None:
        self.gateway.start()

    def access_lines(self) -> list[dict[str, object]]:
        whole = self.access_log.read_text().rpartition("\n")[0]  # the last may be half written
        return [json.loads(line) for line in whole.splitlines()]

    def accessed(self, fields: dict[str, object]) -> dict[str, object]:
        """A line of the access log with these values; waits for it a little."""
        found: list[dict[str, object]] = []

        def look() -> bool:
            found[:] = [line for line in self.access_lines() if fields.items() <= line.items()]
            return bool(found)

        wait_for(f"{fields} in the access log", look, 5)
        return found[-1]

    def pem(self, name: str) -> tuple[str, str]:
        """Files with a certificate and its key."""
        return (str(self.certificates / f"{name}.crt"), str(self.certificates / f"{name}.key"))

    def dial(self, port: int = plan.HBONE_PORT, pod: plan.Pod = POD,
             seconds: float = 5) -> socket.socket:
        """A TCP connection from the network to a pod."""
        made = inside(self.network, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.settimeout(seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect((pod.address, port))
        return made

    def listen(self, port: int) -> socket.socket:
        """A listening socket in the pod."""
        made = inside(self.pod, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(5)
        made.bind((POD.address, port))
        made.listen(256)
        return made

    def reasons(self, room: str) -> dict[str, int]:
        """What a room of the gateway has counted so far."""
        return {row["reason"]: row["count"] for row in self.gateway.ask_json("show drops")
                if row["stage"] == room}


def inside(netns: Namespace, make: Callable[[], T]) -> T:
    """Calls `make` in a network namespace: a socket stays where it was made."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newnet = 0x40000000
    made: list[T] = []
    failed: list[OSError] = []

    def enter() -> None:
        fd = os.open(netns.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, clone_newnet) != 0:
                failed.append(OSError(ctypes.get_errno(), f"setns {netns.full}"))
                return
            made.append(make())
        except OSError as error:
            failed.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter)  # the namespace is the thread's alone
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
