# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Bulk and numbers: large files with and without loss, a flushed conntrack, crowds."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.e2e import plan
from tests.e2e.gateway.process import Gateway
from tests.e2e.peers.start import APPLICATIONS, PYTHON
from tests.e2e.trial import Case, Failed, Trial
from tests.e2e.world import FILE_BYTES

# A transfer that takes longer than this has stalled.
SECONDS = 120.0
SETTLE_SECONDS = 60.0
LOSS_PERCENT = 1


@dataclass(frozen=True)
class Route:
    name: str
    client: plan.Pod
    server: plan.Pod

    @property
    def url(self) -> str:
        return f"http://{plan.service(self.server).address}:{plan.FILES_PORT}/file"


A2S = Route("a2s", plan.SLEEP, plan.HTTPBIN_HBONE)
S2A = Route("s2a", plan.SLEEP_SIDECAR, plan.HTTPBIN)
S2W2A = Route("s2w2a", plan.SLEEP_SIDECAR, plan.HELLOWORLD)
ROUTES = (A2S, S2A, S2W2A)


def transfers(trial: Trial, route: Route) -> None:
    """The file down and up, and its SHA-256 at the far end of each."""
    expected = _sha256(trial)
    for what, transfer in (("down", _download), ("up", _upload)):
        started = time.monotonic()
        digest = transfer(trial, route)
        taken = time.monotonic() - started
        trial.expect(digest == expected,
                     f"{route.name} {what}: {FILE_BYTES >> 20} MiB in {taken:.1f} s,"
                     f" {FILE_BYTES * 8 / taken / 1e6:.0f} Mbit/s, SHA-256 is right",
                     f"{route.name} {what}: SHA-256 {digest}, not {expected}")


def lossy_transfers(trial: Trial, route: Route) -> None:
    """The same with some of the packets between the nodes dropped at random."""
    fabric = trial.world.fabric
    fabric.lose(LOSS_PERCENT)
    try:
        transfers(trial, route)
        lost, passed = fabric.lost()
    finally:
        fabric.lose(0)
    trial.expect(lost > 0, f"{lost} of {passed} packets between the nodes were dropped")


def conntrack_flushed(trial: Trial) -> None:
    """Both nodes forget every connection while the file is on its way."""
    expected = _sha256(trial)
    netns = trial.world.pods[A2S.client]
    target = trial.world.lab.state / "flushed"
    download = netns.start("curl-flushed", "curl", "-s", "-S", "-m", str(int(SECONDS)),
                           "--limit-rate", "64M", "-o", target, A2S.url)
    flushes = 0
    while download.alive:
        time.sleep(0.5)
        if not download.alive:
            break
        for node in (plan.A, plan.B):
            trial.world.nodes[node].netns.run("conntrack", "-F")
        flushes += 1
    digest = _digest(target)
    target.unlink()
    trial.expect(flushes > 0 and download.popen.returncode == 0 and digest == expected,
                 f"{FILE_BYTES >> 20} MiB came through {flushes} times conntrack -F on both nodes",
                 f"curl {download.popen.returncode} after {flushes} flushes: {download.output()}")


def many_connections(trial: Trial, at_once: int, then: int) -> None:
    """Connections that are open together, then one after the other; then nothing may be left."""
    gateways = [trial.world.gateways[node] for node in (plan.A, plan.B)]
    netns = trial.world.pods[plan.SLEEP]

    def crowd(at_once: int, then: int) -> str:
        done = netns.run(PYTHON, APPLICATIONS / "crowd.py", plan.service(plan.HTTPBIN).address,
                         str(plan.FILES_PORT), str(at_once), str(then), timeout=300, check=False)
        if done.returncode != 0:
            raise Failed(f"{done.stdout.strip()} {done.stderr[-500:]}")
        return done.stdout.strip().replace("\n", "; ")

    # What is kept for good (pooled tunnels, tables that grow once) is there after a first crowd.
    crowd(at_once, 0)
    before = [_settled(gateway, {}) for gateway in gateways]
    resident = [gateway.usage().resident_kb for gateway in gateways]
    trial.witnesses.append(crowd(at_once, then))
    for gateway, was, was_kb in zip(gateways, before, resident):
        now, now_kb = _settled(gateway, was), gateway.usage().resident_kb
        trial.expect(all(now[name] <= was[name] for name in now) and now_kb < was_kb * 1.1,
                     f"gateway {gateway.name} before: {was}, {was_kb} kB resident;"
                     f" after: {now}, {now_kb} kB",
                     f"gateway {gateway.name} keeps {now}, {now_kb} kB; before {was}, {was_kb} kB")


def _settled(gateway: Gateway, wanted: dict[str, int]) -> dict[str, int]:
    """What it holds once that changes no more, or is no more than wanted."""
    limit = time.monotonic() + SETTLE_SECONDS
    last: dict[str, int] = {}
    still_since = time.monotonic()
    while True:
        now = gateway.holds()
        if wanted and all(now[name] <= wanted[name] for name in now):
            return now
        if now != last:
            last, still_since = now, time.monotonic()
        quiet = time.monotonic() - still_since > (SETTLE_SECONDS if wanted else 3)
        if quiet or time.monotonic() > limit:
            return now
        time.sleep(0.2)


def _download(trial: Trial, route: Route) -> str:
    target = trial.world.lab.state / "downloaded"
    _curl(trial, route, "-o", str(target))
    digest = _digest(target)
    target.unlink()
    return digest


def _upload(trial: Trial, route: Route) -> str:
    return _curl(trial, route, "-T", str(trial.world.file), "-H", "expect:")


def _curl(trial: Trial, route: Route, *arguments: str) -> str:
    done = trial.world.pods[route.client].run("curl", "-s", "-S", "-f", "-m", str(int(SECONDS)),
                                              *arguments, route.url, timeout=SECONDS + 30,
                                              check=False)
    if done.returncode != 0:
        raise Failed(f"curl of {route.url}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _sha256(trial: Trial) -> str:
    """Of the file that the pods serve; it is the same for a whole run."""
    return _digest(trial.world.file)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PATHS = (
    *(Case(f"bulk-{route.name}", f"{FILE_BYTES >> 20} MiB down and up",
           partial(transfers, route=route)) for route in ROUTES),
    *(Case(f"loss-{route.name}", f"the same with {LOSS_PERCENT} % of the packets lost",
           partial(lossy_transfers, route=route)) for route in ROUTES),
    Case("conntrack", "conntrack -F on both nodes in mid-transfer", conntrack_flushed),
    Case("crowd", "1,000 connections at once, then 10,000 short ones, and nothing left over",
         partial(many_connections, at_once=1000, then=10000)),
)
