# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Long and many streams between the gateway and Envoy, new keys under them, and drains."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.e2e.topology.lab import Process, wait_for
from tests.interop.beside_envoy import CLIENT, ROLES, SERVER, BesideEnvoy, Role
from tests.interop.cases import Case, expect, expect_equal

MIB = 1 << 20
RECORD = 16384  # plaintext of a full one
STREAMS = 100
STREAM_BYTES = MIB // 2
DRAIN_SECONDS = 5.0  # Envoy's, and the gateway's where it isn't told otherwise


@dataclass(frozen=True)
class Size:
    """Of one stream each way, and how many records a key lives meanwhile."""

    bytes: int
    records_per_key: int
    seconds: float


MODEST = Size(128 * MIB, 64, 60)
LONG = Size(10240 * MIB, 1 << 16, 3000)


def cases(site: BesideEnvoy, size: Size) -> Iterable[tuple[str, Case]]:
    """By name; each gives what was seen."""
    for role in ROLES:
        yield (f"as {role.envoy}: {size.bytes // MIB} MiB each way through one stream, KeyUpdate"
               f" every {size.records_per_key} records",
               lambda role=role: one_stream(site, role, size))
    for role in ROLES:
        yield (f"as {role.envoy}: {STREAMS} streams at once on one connection",
               lambda role=role: many_streams(site, role))
    yield "both ways: SIGTERM to the gateway in mid-transfer", lambda: gateway_drains(site)
    # Last: this Envoy says GOAWAY from then on.
    yield "both ways: Envoy drains in mid-transfer", lambda: envoy_drains(site)


def one_stream(site: BesideEnvoy, role: Role, size: Size) -> list[str]:
    site.warm(role)
    counters = (role.connections, role.requests)
    before, tls_before = [site.count(name) for name in counters], site.tls()
    taken = site.moved(site.move(role, size.bytes, size.bytes), size.seconds)
    connections, requests = [site.count(name) - was for name, was in zip(counters, before)]
    tls = {name: value - tls_before[name] for name, value in site.tls().items()}
    expect_equal((connections, requests), (0, 1), "new connections and CONNECTs in Envoy")
    # Full records are the fewest that there can be. Our own keys end where they should; Envoy's
    # when it has been asked, read that, and sent what was already on its way.
    least = size.bytes // RECORD // size.records_per_key - 1
    for name, fewest in (("key_updates_sent", least), ("key_updates_received", least // 2)):
        expect(tls[name] >= max(fewest, 1), f"{name}: {tls[name]}, fewer than {fewest}")
    return [f"{size.bytes} bytes up and as many down in {taken:.1f} s,"
            f" {2 * size.bytes * 8 / taken / 1e6:.0f} Mbit/s, SHA-256 is right both times",
            f"one CONNECT on a connection that was there ({role.requests})",
            f"KeyUpdates: {tls['key_updates_sent']} sent, {tls['key_updates_received']} received;"
            f" records: {tls['records_sealed']} sealed, {tls['records_opened']} opened"]


def many_streams(site: BesideEnvoy, role: Role) -> list[str]:
    site.warm(role)
    before = site.count(role.connections), site.count(role.requests)
    keys_before = site.tls()
    move = site.move(role, STREAM_BYTES, STREAM_BYTES, count=STREAMS)
    most, tunnels = 0, 0
    while move.alive:
        rows = site.tunnels(role)
        most = max(most, sum(row["streams"] for row in rows))
        tunnels = max(tunnels, len(rows))
        time.sleep(0.05)
    taken = site.moved(move, 60)
    keys = site.tls()
    made = site.count(role.connections) - before[0]
    expect_equal(site.count(role.requests) - before[1], STREAMS, "CONNECTs in Envoy")
    expect(most == STREAMS, f"{most} streams were open together, not {STREAMS}")
    expect_equal((tunnels, made), (1, 0), "TLS connections: all, and made for this")
    sent, received = (keys[name] - keys_before[name]
                      for name in ("key_updates_sent", "key_updates_received"))
    return [f"{STREAMS} streams were open together; {STREAM_BYTES >> 10} KiB up and down on each,"
            f" every SHA-256 right, in {taken:.1f} s",
            f"TLS connections: {tunnels}; {made} were made for it ({role.connections})",
            f"KeyUpdates: {sent} sent, {received} received"]


def gateway_drains(site: BesideEnvoy) -> list[str]:
    close_notify = "cluster.connect_originate.upstream_cx_close_notify"
    told = site.count(close_notify)
    rate, total = 16 * MIB, 24 * MIB  # a second and a half each way
    moves = _under_way(site, total, rate)
    statuses: list[int | None] = []
    stopping = threading.Thread(target=lambda: statuses.append(site.gateway.stop()))
    started = time.monotonic()
    stopping.start()
    time.sleep(0.3)
    late = [site.move(role, 1, 1) for role in ROLES]
    refused = [site.refused(move, 5) for move in late]
    expect(all(move.alive for move in moves), "the transfers were over before the drain was")
    for move in moves:
        site.moved(move, 20)
    stopping.join()
    taken = time.monotonic() - started
    expect_equal(statuses, [0], "exit status")
    expect(taken < DRAIN_SECONDS + 1, f"it took {taken:.1f} s to stop")
    told = site.count(close_notify) - told
    expect(told >= 1, "Envoy saw no GOAWAY")
    site.gateway.start()
    for role in ROLES:
        site.moved(site.move(role, MIB, MIB), 20)
    return [f"{total // MIB} MiB each way from and to Envoy came whole past SIGTERM",
            f"the gateway ended by itself {taken:.1f} s after it, exit status 0",
            f"Envoy as client was told to go: {close_notify} +{told}",
            f"new connections meanwhile: from the ambient pod {refused[0]}; through Envoy"
            f" {refused[1]}",
            "started again it serves both"]


def envoy_drains(site: BesideEnvoy) -> list[str]:
    # Envoy tells the more of those who come the longer it drains, all of them after five seconds;
    # five more later comes its second GOAWAY. This takes twelve.
    rate, total = 8 * MIB, 48 * MIB
    moves = _under_way(site, total, rate)
    made = site.count(SERVER.connections)
    expect_equal(len(site.tunnels(SERVER)), 1, "connections to Envoy")
    started = time.monotonic()
    # It goes on listening: those who come again get a new connection.
    answer = site.admin("/drain_listeners?graceful&skip_exit", "-X", "POST").strip()
    visits, drained_after = 0, 0.0
    while all(move.alive for move in moves):
        site.moved(site.move(SERVER, 4096, 4096), 20)
        visits += 1
        rows = site.tunnels(SERVER)
        if not drained_after and any(row["state"] == "draining" and row["streams"] for row in rows):
            drained_after = time.monotonic() - started
        time.sleep(0.1)
    expect(drained_after > 0, f"no GOAWAY for the connection in use: {visits} visits, {answer}")
    over_after = time.monotonic() - started
    expect(over_after > drained_after + DRAIN_SECONDS,
           f"GOAWAY after {drained_after:.1f} s, transfer over after {over_after:.1f} s")
    for move in moves:
        site.moved(move, 30)
    made = site.count(SERVER.connections) - made
    expect(made >= 1, "the pool never made another connection")
    wait_for("the drained connections' end",
             lambda: all(not row["streams"] for row in site.tunnels(SERVER)), 5)
    return [f"Envoy's answer to drain_listeners: {answer}",
            f"its GOAWAY came to the connection in use after {drained_after:.1f} s; what it carried"
            f" ended after {over_after:.1f} s, {total // MIB} MiB each way, both roles, whole",
            f"{visits} further streams meanwhile, every one served, on {made} new connections"]


def _under_way(site: BesideEnvoy, total: int, rate: int) -> list[Process]:
    """A paced transfer in each role, half a second old."""
    moves = [site.move(role, total, total, rate=rate) for role in ROLES]
    for role in (SERVER, CLIENT):
        wait_for(f"a stream with Envoy as {role.envoy}", lambda: site.streams(role) > 0, 10)
    time.sleep(0.5)
    return moves
