# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""One attempt of a path: what was sent, what was seen, and whether that is what was promised."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e import plan
from tests.e2e.capture import Capture
from tests.e2e.gateway.process import Gateway
from tests.e2e.topology.lab import LabError, Namespace, run, wait_for
from tests.e2e.world import World


@dataclass(frozen=True)
class Case:
    """Something to try, by name."""

    name: str
    title: str
    run: Callable[[Trial], None]


class Failed(Exception):
    """The path did not do what was promised."""


@dataclass(frozen=True)
class Reply:
    """What curl says: its exit status, 0 for a whole HTTP response, and that response."""

    exit: int
    error: str
    status: int
    headers: dict[str, str]
    body: str
    seconds: float
    local_port: int

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcome(self) -> str:
        return f"HTTP {self.status}" if self.exit == 0 else f"curl exit {self.exit}: {self.error}"


# curl's exit statuses for a connection that never was, and one that ended without an answer.
REFUSED, TIMED_OUT = 7, 28


def curl(netns: Namespace, url: str, *arguments: str, seconds: float = 10) -> Reply:
    facts = "%{exitcode} %{http_code} %{time_total} %{local_port} %{errormsg}"
    done = run("ip", "netns", "exec", netns.full, "curl", "-s", "-i", "-m", str(seconds), "-w",
               "\\n" + facts, *arguments, url, check=False, timeout=seconds + 30)
    message, _, last = done.stdout.rpartition("\n")
    exit_, status, taken, port, error = last.split(" ", 4)
    head, _, body = message.replace("\r\n", "\n").partition("\n\n")
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
    return Reply(int(exit_), error, int(status), headers, body, float(taken), int(port))


class Trial:
    """Carries one path's evidence. expect() fails the path or adds a witness to the list."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.marker = secrets.token_hex(16)
        self.witnesses: list[str] = []
        self.walks: list[str] = []

    def expect(self, true: bool, witness: str, otherwise: str = "") -> None:
        if not true:
            raise Failed(otherwise or f"not seen: {witness}")
        self.witnesses.append(witness)

    def curl(self, client: plan.Pod, url: str, *arguments: str, seconds: float = 10) -> Reply:
        """A request that carries the marker."""
        return curl(self.world.pods[client], url, "-H", f"x-marker: {self.marker}", *arguments,
                    seconds=seconds)

    def http(self, client: plan.Pod, url: str, server: plan.Pod | None, hidden: bool) -> Reply:
        """A request that must be answered 200. The marker must pass the server's pod, and with
        `hidden` it must not be readable between the nodes."""
        captures = [Capture(self.world.fabric.netns, "any", name="between-nodes")]
        if server:
            captures.append(Capture(self.world.pods[server], "any", name="server"))
        try:
            reply = self.curl(client, url)
            # Between the nodes the packets went past before the server's pod had them all.
            with contextlib.suppress(LabError):
                wait_for("the marker", lambda: captures[-1].has(self.marker), 3)
            time.sleep(0.2)
        finally:
            for capture in captures:
                capture.stop()
        self.expect(reply.exit == 0 and reply.status == 200,
                    f"{client.name}'s curl: HTTP 200 in {reply.seconds * 1000:.0f} ms",
                    f"{client.name}'s curl of {url}: {reply.outcome} {reply.body[:200]}")
        if server:
            self.expect(captures[1].has(self.marker),
                        f"the payload marker is in the capture of {server.name}'s pod")
        if hidden:
            between = len(captures[0].frames())
            self.expect(between > 0 or (server is not None and server.node is client.node),
                        f"{between} packets between the nodes", "nothing went between the nodes")
            self.expect(not captures[0].has(self.marker),
                        "the payload marker is in none of them",
                        "the payload marker is readable between the nodes")
        return reply

    def log(self, pod: plan.Pod, *words: str) -> None:
        """Envoy's access log of a pod is a witness."""
        line = self.world.access_log(pod, *words)
        self.witnesses.append(f"Envoy of {pod.name}: {line}")

    def walk(self, node: plan.Node, client: plan.Pod, reply: Reply) -> None:
        """The gateway's own account of the flow that curl just had."""
        self._walk(self.world.gateways[node], f"{client.address}:{reply.local_port}")

    def _walk(self, gateway: Gateway, client: str, destination: str = "") -> None:
        number = gateway.last_flow(client, destination)
        if number is None:
            raise Failed(f"gateway {gateway.name} knows no flow {client} → {destination or 'any'}")
        self.walks.append(gateway.ask(f"show flow {number} walk"))

    def walk_inbound(self, node: plan.Node, client: plan.Pod, server: plan.Pod) -> None:
        """The account of the gateway in front of the server."""
        gateway = self.world.gateways[node]
        self._walk(gateway, f"{client.address}:", f"{server.address}:")


def attempt(world: World, case: Case) -> bool:
    """Tries one and prints its verdict, witnesses and walks."""
    trial = Trial(world)
    started = time.monotonic()
    try:
        case.run(trial)
        why = ""
    except Failed as failure:
        why = str(failure)
    except Exception as error:  # a broken trial is a failed one; say where
        why = f"{error!r}\n{traceback.format_exc()}"
    verdict = "FAIL" if why else "PASS"
    print(f"{verdict} {case.name}: {case.title} ({time.monotonic() - started:.1f} s)")
    for witness in trial.witnesses:
        print(f"     saw: {witness}")
    if why:
        print(f"     but: {why}")
    for walk in trial.walks:
        print("".join(f"     | {line}\n" for line in walk.splitlines()), end="")
    print(flush=True)
    return not why
