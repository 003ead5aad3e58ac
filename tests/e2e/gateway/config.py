# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The gateways' configurations, derived from the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e import plan
from tests.e2e.topology.fabric import Fabric
from tests.e2e.topology.node import GATEWAY_DEVICE, BareNode, KernelNode


def one_armed(node: KernelNode, folder: Path, workers: int) -> dict[str, Any]:
    """Beside a host kernel: one port, to the host, with a queue for each worker."""
    port = {
        "name": "node",
        "role": "node",
        "device": {"driver": "vtap", "iface": GATEWAY_DEVICE, "netns": node.netns.full,
                   "queues": workers},
        "addresses": [f"{node.node.gateway}/32"],
    }
    routes = [{"prefix": f"{node.node.host}/32", "port": "node"},
              {"prefix": "0.0.0.0/0", "via": node.node.host, "port": "node"}]
    return _gateway(node.node, folder, [port], routes)


def pod_and_underlay(node: BareNode, fabric: Fabric, underlay: str, folder: Path,
                     workers: int) -> dict[str, Any]:
    """In the host's place: its pods on queues of one port, the network on another."""
    ports: list[dict[str, Any]] = [{
        "name": "pods",
        "role": "pod",
        "device": {"driver": "vtap"},
        "addresses": [f"{plan.POD_GATEWAY}/32"],
        "pods": [{"name": pod.name, "address": pod.address, "netns": netns.full, "iface": "eth0"}
                 for pod, netns in node.pods.items()],
    }, {
        "name": "underlay",
        "role": "underlay",
        "device": {"driver": "vtap", "iface": underlay, "netns": fabric.netns.full,
                   "queues": workers, "offload": not fabric.wire},
        "addresses": [f"{node.node.uplink}/30"],
    }]
    routes = [{"prefix": "0.0.0.0/0", "via": node.node.router, "port": "underlay"}]
    return _gateway(node.node, folder, ports, routes)


def _gateway(node: plan.Node, folder: Path, ports: list[dict[str, Any]],
             routes: list[dict[str, Any]]) -> dict[str, Any]:
    certificates = str(folder / "certs")
    # Most read what a CA laid down for them; one signs for its own pods with the lab's root.
    identity: dict[str, Any] = {"pem_dir": certificates}
    if node is plan.D:
        identity = {"test_ca": {"root_dir": certificates}}
    config: dict[str, Any] = {
        "profile": "1.18",
        "node": {"name": node.name, "trust_domain": plan.TRUST_DOMAIN},
        "ports": ports,
        "routes": routes,
        "mesh": {"file": str(folder / "mesh.yaml")},
        "identity": identity,
        "console": {"socket": str(folder / f"gateway-{node.name}.sock")},
    }
    if node.has_host:
        config["node"]["hosts"] = [node.host]
    return config
