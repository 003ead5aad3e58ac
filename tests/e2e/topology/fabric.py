# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The network between the nodes: one router, where packets can be lost on purpose and are seen by
the captures between nodes, and the outside world behind it."""

from __future__ import annotations

import json

from tests.e2e import plan
from tests.e2e.topology.lab import Lab
from tests.e2e.topology.node import BareNode, KernelNode


class Fabric:
    def __init__(self, lab: Lab, wire: bool = True) -> None:
        """With `wire` every packet between nodes is at most an MTU long, as on a wire; without,
        the kernel hands over whole TCP segments of up to 64 KB, as between virtual machines."""
        self.wire = wire
        self.netns = lab.namespace("fabric")
        self.netns.sysctl("net.ipv4.ip_forward=1")
        self.outside = lab.namespace("outside")
        self.netns.ip(f"link add f-out type veth peer name eth0 netns {self.outside.full}",
                      "link set f-out up", f"addr add {plan.OUTSIDE_ROUTER}/24 dev f-out")
        # The outside has no way back to a pod's address: it must be masqueraded.
        self.outside.ip("link set eth0 up", f"addr add {plan.OUTSIDE_SERVER}/24 dev eth0",
                        f"route add 172.31.0.0/16 via {plan.OUTSIDE_ROUTER}")

    def join(self, node: KernelNode) -> None:
        port = f"f-{node.node.name}"
        self.netns.ip(f"link add {port} type veth peer name uplink netns {node.netns.full}",
                      f"addr add {node.node.router}/30 dev {port}", f"link set {port} up",
                      f"route add {node.node.pods} via {node.node.uplink}")
        node.netns.ip(f"addr add {node.node.uplink}/30 dev uplink", "link set uplink up",
                      f"route add default via {node.node.router}")
        if self.wire:
            for netns, device in ((node.netns, "uplink"), (self.netns, port)):
                netns.run("ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off")

    def join_bare(self, node: BareNode) -> str:
        """Makes the TAP that is the gateway's underlay port; its name in the fabric."""
        port = f"f-{node.node.name}"
        self.netns.ip(f"tuntap add dev {port} mode tap vnet_hdr multi_queue",
                      f"addr add {node.node.router}/30 dev {port}", f"link set {port} up",
                      f"route add {node.node.pods} via {node.node.uplink}")
        return port

    def lose(self, percent: int) -> None:
        """Drops that share of the packets between nodes at random, from now on."""
        rule = f"numgen random mod 100 < {percent} counter drop" if percent else ""
        self.netns.nft(f"""
            table ip loss
            delete table ip loss
            table ip loss {{
              chain forward {{
                type filter hook forward priority filter;
                counter
                {rule}
              }}
            }}""")

    def lost(self) -> tuple[int, int]:
        """Packets dropped on purpose, and packets that came."""
        listing = self.netns.run("nft", "-j", "list", "chain", "ip", "loss", "forward")
        counters = [item["counter"]["packets"] for entry in json.loads(listing.stdout)["nftables"]
                    if "rule" in entry for item in entry["rule"]["expr"] if "counter" in item]
        return (counters[1] if len(counters) > 1 else 0), counters[0]
