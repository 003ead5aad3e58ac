# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The quickstart's addresses: who lives where, and what each is called. Everything else (routes,
redirection, Envoy's and the gateways' configurations, the mesh file) is derived from this page.

    node A 10.244.1.0/24   ambient and sidecar clients          one-armed gateway
    node B 10.244.2.0/24   servers: sidecar and ambient         one-armed gateway
    node C 10.244.3.0/24   the waypoint                         no gateway
    node D 10.244.4.0/24   the server behind the waypoint       one-armed gateway
    node E 10.244.5.0/24   an ambient client, no host between   gateway with pod and underlay ports
    services 10.96.0.0/24  virtual addresses
    fabric 172.31.N.0/30   .1 the router between the nodes, .2 node number N
    outside 192.0.2.0/24   .1 the router, .2 a server that knows nothing of pods
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

TRUST_DOMAIN = "cluster.local"
NAMESPACE = "default"

POD_NETWORK = "10.244.0.0/16"
POD_GATEWAY = "169.254.1.1"  # next hop of every pod, answered by its node
OUTSIDE_ROUTER, OUTSIDE_SERVER = "192.0.2.1", "192.0.2.2"
# A service that the mesh does not know: kube-proxy on the client's node translates it.
OUTSIDE_SERVICE = ("10.96.0.20", 80)
OUTSIDE_BACKEND = (OUTSIDE_SERVER, 8080)

HTTPBIN_PORT = 8000
HELLOWORLD_PORT = 5000
FILES_PORT = 8080
IPERF_PORT = 5201
CLOSED_PORT = 9999  # nobody listens here
HBONE_PORT = 15008


class Kind(Enum):
    """What stands between a pod and the network."""

    AMBIENT = "the node's gateway"
    SIDECAR_CLIENT = "an Envoy that captures what the pod sends"
    SIDECAR_SERVER = "an Envoy that captures what the pod receives: plaintext or mTLS on 15006"
    SIDECAR_HBONE = "the same, which the mesh also knows to speak HBONE on 15008"
    WAYPOINT = "an Envoy that is the pod"


@dataclass(frozen=True)
class Node:
    """A node with host networking has its gateway at `gateway`, next to the kernel at `host`; on
    one without, the gateway is the node and `gateway` its address in the underlay."""

    name: str
    number: int
    has_gateway: bool = True
    has_host: bool = True

    @property
    def pods(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def host(self) -> str:
        return f"10.244.{self.number}.1"

    @property
    def gateway(self) -> str:
        return f"10.244.{self.number}.9" if self.has_host else self.uplink

    @property
    def uplink(self) -> str:
        return f"172.31.{self.number}.2"

    @property
    def router(self) -> str:
        return f"172.31.{self.number}.1"


@dataclass(frozen=True)
class Pod:
    name: str
    node: Node
    last: int  # last number of its address
    kind: Kind

    @property
    def address(self) -> str:
        return self.node.pods.replace("0/24", str(self.last))

    @property
    def identity(self) -> str:
        """Every pod has a service account of its own name."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{self.name}"


@dataclass(frozen=True)
class Service:
    """A virtual address in front of one pod, all of its ports unchanged."""

    name: str
    address: str
    pod: Pod
    ports: tuple[int, ...]
    waypoint: bool = False

    @property
    def hostname(self) -> str:
        return f"{self.name}.{NAMESPACE}.svc.cluster.local"


A, B, D = Node("a", 1), Node("b", 2), Node("d", 4)
C = Node("c", 3, has_gateway=False)
E = Node("e", 5, has_host=False)
NODES = (A, B, C, D, E)

SLEEP = Pod("sleep", A, 5, Kind.AMBIENT)
SLEEP_SIDECAR = Pod("sleep-sidecar", A, 6, Kind.SIDECAR_CLIENT)
NEIGHBOUR = Pod("neighbour", A, 7, Kind.AMBIENT)  # a server on the clients' node
INTRUDER = Pod("intruder", A, 8, Kind.AMBIENT)  # whom policy denies
HTTPBIN_PLAIN = Pod("httpbin-plain", B, 5, Kind.SIDECAR_SERVER)
HTTPBIN_HBONE = Pod("httpbin-hbone", B, 6, Kind.SIDECAR_HBONE)
HTTPBIN = Pod("httpbin", B, 7, Kind.AMBIENT)
STRICT = Pod("strict", B, 8, Kind.AMBIENT)  # takes mTLS alone
WAYPOINT = Pod("waypoint", C, 3, Kind.WAYPOINT)
HELLOWORLD = Pod("helloworld", D, 5, Kind.AMBIENT)  # behind the waypoint
SLEEP_BARE = Pod("sleep-bare", E, 5, Kind.AMBIENT)
PODS = (SLEEP, SLEEP_SIDECAR, NEIGHBOUR, INTRUDER, HTTPBIN_PLAIN, HTTPBIN_HBONE, HTTPBIN, STRICT,
        WAYPOINT, HELLOWORLD, SLEEP_BARE)

_HTTP = (HTTPBIN_PORT, FILES_PORT, IPERF_PORT, CLOSED_PORT)
SERVICES = (
    Service("httpbin-plain", "10.96.0.11", HTTPBIN_PLAIN, _HTTP),
    Service("httpbin-hbone", "10.96.0.12", HTTPBIN_HBONE, _HTTP),
    Service("httpbin", "10.96.0.13", HTTPBIN, _HTTP),
    Service("helloworld", "10.96.0.14", HELLOWORLD, (HELLOWORLD_PORT, FILES_PORT), waypoint=True),
    Service("neighbour", "10.96.0.15", NEIGHBOUR, _HTTP),
    Service("strict", "10.96.0.16", STRICT, _HTTP),
)


def service(pod: Pod) -> Service:
    return next(service for service in SERVICES if service.pod is pod)


def pods_on(node: Node) -> tuple[Pod, ...]:
    return tuple(pod for pod in PODS if pod.node is node)


def ambient_on(node: Node) -> tuple[Pod, ...]:
    return tuple(pod for pod in pods_on(node) if pod.kind is Kind.AMBIENT)
