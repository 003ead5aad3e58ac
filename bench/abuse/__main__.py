# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The floods of docs/hbone.md, each for a minute, at a gateway that carries a hundred good streams:
what is left of these, what the gateway's memory does, and by which GOAWAY the attacker is closed.

The good streams come from an Envoy at a steady rate that the machine can carry, for everything here
shares its processors; the attacker begins anew as soon as it has been closed."""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from tests.e2e import plan
from tests.e2e.gateway.process import process_usage
from tests.e2e.peers.start import PYTHON, listens
from tests.e2e.topology.lab import Lab, Namespace, wait_for
from tests.interop.beside_envoy import AMBIENT, CLIENT, MOVE, SIDECAR, BesideEnvoy
from tests.interop.floods import APP, FLOODS, Flood
from tests.interop.node import inside
from tests.interop.peer import Peer

STREAMS = 100
RATE = 200_000  # bytes a second, of a stream
RECORDS_PER_KEY = 1 << 20
NICE = 10  # the attacker's: it is to load the gateway, not the processors of its victims' clients


@dataclass(frozen=True)
class Origin:
    """Where the attacker is; what Peer asks of a node."""

    netns: Namespace
    certificates: Path

    def pem(self, _: str) -> tuple[str, str]:
        return (str(self.certificates / f"{SIDECAR.name}.crt"),
                str(self.certificates / f"{SIDECAR.name}.key"))

    def dial(self) -> socket.socket:
        made = inside(self.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.settimeout(5)
        made.connect((AMBIENT.address, plan.HBONE_PORT))
        return made


def attack(origin: Origin, flood: Flood, stop: Event, ends: Queue[str]) -> None:
    """Floods until told to stop; says how each connection ended."""
    os.nice(NICE)
    while not stop.is_set():
        try:
            with Peer(origin) as peer:  # type: ignore[arg-type]
                try:
                    for piece in flood.frames(peer):
                        peer.send_raw(piece)
                except (ConnectionError, ssl.SSLError):
                    pass  # its GOAWAY waits in front of the end
                ends.put(f"GOAWAY {peer.goaway()}")
        except (OSError, EOFError) as error:
            ends.put(type(error).__name__)


@dataclass
class Result:
    mbits: float
    most_kb: int  # resident memory: the most that was seen
    left_kb: int
    ends: collections.Counter[str]


class Bench:
    def __init__(self, lab: Lab) -> None:
        self.site = BesideEnvoy(lab, RECORDS_PER_KEY)
        self.site.start()
        ambient = self.site.netns[AMBIENT]
        ambient.start("app", PYTHON, MOVE, "serve", str(APP))
        wait_for("the application", lambda: listens(ambient, APP), 10)
        self.origin = Origin(self.site.network, lab.state / "certs")
        self.site.warm(CLIENT)

    def resident(self) -> int:
        return process_usage(self.site.gateway.process.pid).resident_kb

    def measure(self, seconds: float, flood: Flood | None) -> Result:
        stop = multiprocessing.Event()
        ends: Queue[str] = multiprocessing.Queue()
        attacker = None
        if flood:
            attacker = multiprocessing.Process(target=attack,
                                               args=(self.origin, flood, stop, ends))
            attacker.start()
        size, most = int(RATE * seconds), 0
        move = self.site.move(CLIENT, size, 0, count=STREAMS, rate=RATE)
        while move.alive:
            most = max(most, self.resident())
            time.sleep(0.2)
        taken = self.site.moved(move, 1)
        seen: collections.Counter[str] = collections.Counter()
        if attacker:
            stop.set()
            while attacker.is_alive() or not ends.empty():
                if not ends.empty():
                    seen[ends.get()] += 1
            attacker.join()
        return Result(STREAMS * size * 8e-6 / taken, most, self.resident(), seen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench abuse")
    parser.add_argument("--seconds", type=float, default=60, help="of each attack")
    parser.add_argument("pieces", nargs="*", help="pieces of attacks' names")
    arguments = parser.parse_args()
    with Lab() as lab:
        bench = Bench(lab)
        alone = bench.measure(min(arguments.seconds, 20), None)
        print(f"{STREAMS} good streams without an attack: {alone.mbits:.0f} Mbit/s;"
              f" gateway's memory {alone.left_kb / 1024:.0f} MB; target: 80 % beside an attack")
        print(f"{'':36}{'Mbit/s':>8}{'of that':>9}{'memory: most, after (MB)':>27}   closed by")
        bad = 0
        for flood in FLOODS:
            if arguments.pieces and not any(piece in flood.title for piece in arguments.pieces):
                continue
            result = bench.measure(arguments.seconds, flood)
            share = result.mbits / alone.mbits
            bad += share < 0.8
            ends = ", ".join(f"{how}: {count}" for how, count in result.ends.most_common())
            print(f"{flood.title:36}{result.mbits:8.0f}{share:8.0%} {result.most_kb / 1024:15.0f}"
                  f"{result.left_kb / 1024:11.0f}   {ends}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
