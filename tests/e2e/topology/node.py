# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Nodes as network namespaces, and their pods."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.e2e import plan
from tests.e2e.topology.lab import Lab, Namespace, run

ROOT = Path(__file__).resolve().parents[3]
GATEWAY_DEVICE = "vgw"  # a TAP: the kernel's end is the node's interface towards the gateway


class KernelNode:
    """A node whose kernel owns pods, routes and service translation. The gateway, where there is
    one, is a pod of it behind a TAP that stays when the gateway goes."""

    def __init__(self, lab: Lab, node: plan.Node, pods: Iterable[plan.Pod]) -> None:
        self.lab, self.node = lab, node
        self.netns = lab.namespace(node.name)
        self.pods: dict[plan.Pod, Namespace] = {}
        self.netns.sysctl("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
                          "net.ipv4.conf.default.rp_filter=0")
        self.netns.ip(f"addr add {node.host}/32 dev lo")
        for pod in pods:
            self._add_pod(pod)
        if node.has_gateway:
            self.netns.ip(f"tuntap add dev {GATEWAY_DEVICE} mode tap vnet_hdr multi_queue",
                          f"link set {GATEWAY_DEVICE} up",
                          f"route add {node.gateway} dev {GATEWAY_DEVICE} src {node.host}")
        self._kube_proxy()

    def _add_pod(self, pod: plan.Pod) -> None:
        netns = self.lab.namespace(pod.name)
        self.pods[pod] = netns
        veth = f"v-{pod.last}"
        self.netns.ip(f"link add {veth} type veth peer name eth0 netns {netns.full}",
                      f"link set {veth} up",
                      f"addr add {plan.POD_GATEWAY}/32 dev {veth}")
        netns.ip("link set eth0 up", f"addr add {pod.address}/32 dev eth0",
                 f"route add {plan.POD_GATEWAY} dev eth0",
                 f"route add default via {plan.POD_GATEWAY}")
        self.netns.ip(f"route add {pod.address} dev {veth} src {self.node.host}")

    def _kube_proxy(self) -> None:
        """What a node does beside the redirection: it translates a service's address to a backend
        and hides pods behind its own address towards the outside."""
        address, port = plan.OUTSIDE_SERVICE
        backend, backend_port = plan.OUTSIDE_BACKEND
        self.netns.nft(f"""
            table ip kube_proxy {{
              chain prerouting {{
                type nat hook prerouting priority dstnat;
                ip daddr {address} tcp dport {port} counter dnat to {backend}:{backend_port}
              }}
              chain postrouting {{
                type nat hook postrouting priority srcnat;
                ip saddr {plan.POD_NETWORK} ip daddr != {plan.POD_NETWORK} oifname "uplink" \
                  counter masquerade
              }}
            }}""")

    def redirect(self, action: str, *pods: plan.Pod) -> None:
        """scripts/node-redirect for this node."""
        state = self.lab.state / f"ovs-{self.node.name}"
        # Its daemons keep what they inherit: no pipe of ours may be among it.
        with (self.lab.logs / f"redirect-{self.node.name}.log").open("w") as log:
            subprocess.run(
                [ROOT / "scripts/node-redirect", action, "--netns", self.netns.full, "--host",
                 self.node.host, "--gateway", self.node.gateway, "--device", GATEWAY_DEVICE,
                 "--geneve", "ovs", "--state", state, *(pod.address for pod in pods)],
                check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if action == "up":
            self.lab.remember_daemon(state / "ovsdb.pid")
            self.lab.remember_daemon(state / "vswitchd.pid")


class BareNode:
    """A node without host networking: its pods' and its network's interfaces are TAPs, and the
    gateway has the other ends of all of them."""

    def __init__(self, lab: Lab, node: plan.Node, pods: Iterable[plan.Pod]) -> None:
        self.lab, self.node = lab, node
        self.pods = {pod: lab.namespace(pod.name) for pod in pods}
        for netns in self.pods.values():
            netns.ip("tuntap add dev eth0 mode tap vnet_hdr multi_queue", "link set eth0 up")
        for pod, netns in self.pods.items():
            netns.ip(f"addr add {pod.address}/32 dev eth0",
                     f"route add {plan.POD_GATEWAY} dev eth0",
                     f"route add default via {plan.POD_GATEWAY}")


def ping(netns: Namespace, address: str) -> bool:
    return run("ip", "netns", "exec", netns.full, "ping", "-c1", "-W2", address,
               check=False).returncode == 0
