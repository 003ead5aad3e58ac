# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Bulk over a link that loses, reorders, duplicates and damages packets by a seed, each direction
with its own draws; large packets are cut to the MTU first, so that it is segments that are lost."""

from __future__ import annotations

import functools
import time
from typing import Any

import kernel
from cells import cell
from peer import Json, Peer
from transfer import check, next_port, transfer

MEGABYTE = 1 << 20
DELAY = 500  # microseconds, each way


def lossy(peer: Peer, link: Json, direction: str, size: int = 2 * MEGABYTE, **more: Any) -> str:
    before = peer.stats()
    peer.impair(delay=DELAY, **link)
    try:
        outcome = transfer(peer, size=size, kernel_sends=direction != "from us",
                           we_send=direction != "to us", **more)
    finally:
        peer.do("unimpair")
    after = peer.stats()
    lost = {end: after[f"lost_{end}"] - before[f"lost_{end}"] for end in ("ours", "kernels")}
    passed = {end: after[f"linked_{end}"] - before[f"linked_{end}"] for end in ("ours", "kernels")}
    check("loss" not in link or lost["ours"] + lost["kernels"] > 0, "nothing was lost")
    return (f"{outcome}; lost {lost['ours']} of our {passed['ours']}, {lost['kernels']} of the"
            f" kernel's {passed['kernels']}")


LINKS: dict[str, Json] = {
    "loss 1 %": {"loss": 0.01},
    "loss 5 %": {"loss": 0.05},
    "bursts of losses": {"bursts": 0.003},
    "reordering 5 %": {"reorder": 0.05, "reorder_delay": 2000},
    "loss 2 %, reordering, duplicates, damage": {
        "loss": 0.02, "reorder": 0.05, "reorder_delay": 2000, "duplicate": 0.02, "corrupt": 0.005},
    "10 MB/s, queue of 64 KB": {"bits_per_second": 80_000_000, "queue_bytes": 64 << 10},
}
for title, link in LINKS.items():
    for cc in kernel.algorithms():
        cell("loss", f"{title}, kernel's {cc} to us",
             functools.partial(lossy, link=link, direction="to us", cc=cc))
    for ours in ("cubic", "reno"):
        cell("loss", f"{title}, our {ours} from us",
             functools.partial(lossy, link=link, direction="from us",
                               options={"congestion": ours}))
    cell("loss", f"{title}, both ways, IPv6",
         functools.partial(lossy, link=link, direction="both ways", kernel_opens=False, v6=True))


def marked(peer: Peer, *, direction: str) -> str:
    """A queue that marks instead of dropping (RFC 3168): the sender slows down, nothing is lost."""
    link = {"delay": DELAY, "bits_per_second": 80_000_000, "mark_bytes": 15_000,
            "queue_bytes": 1 << 20}
    before = peer.stats()
    peer.impair(**link)
    try:
        with kernel.sysctl(tcp_ecn=1):
            outcome = transfer(peer, size=4 * MEGABYTE, kernel_sends=direction == "to us",
                               we_send=direction == "from us")
    finally:
        peer.do("unimpair")
    after = peer.stats()
    end = "kernels" if direction == "to us" else "ours"
    marks = after[f"marked_{end}"] - before[f"marked_{end}"]
    check(outcome.kernel.ecn and marks > 0, f"{marks} packets were marked")
    check(after[f"lost_{end}"] == before[f"lost_{end}"], "packets were lost")
    if direction == "to us":
        check(outcome.kernel.delivered_ce > 0, "the kernel heard of no mark")
        told = (f"the kernel heard of {outcome.kernel.delivered_ce}, cwnd {outcome.kernel.cwnd}"
                f" segments, {outcome.kernel.rtt} us")
    else:
        # Without an answer to the marks the window would have grown to the queue's end.
        told = f"cwnd {outcome.ours['cwnd']}, {outcome.ours['rtt']} us"
        check(outcome.ours["rtt"] < 50_000, f"{outcome.ours['rtt']} us: the marks are not heard")
    # Who took every mark for a loss of all would have a segment a round trip, a seventh. No more is
    # asked for: where others have the processors, marks come late and the link waits.
    check(outcome.size * 8 / outcome.seconds > 0.3 * 80e6, f"{outcome}")
    return f"{outcome}; {marks} marks, {told}"


for direction in ("to us", "from us"):
    cell("loss", f"10 MB/s, marks by ECN, {direction}",
         functools.partial(marked, direction=direction))


def tails(peer: Peer) -> str:
    """Requests of 4 KB whose last segment is often lost: repaired by probes, seldom by timeout."""
    port, size, rounds = next_port(), 4000, 60
    lossy_end, clean = {"delay": DELAY, "tail_loss": 0.1}, {"delay": DELAY}
    peer.impair(kernels=clean, **lossy_end)
    before = peer.stats()
    started = time.monotonic()
    try:
        peer.listen(port, echo=True)
        with kernel.connect(port) as sock:
            for _ in range(rounds):
                sock.sendall(bytes(size))
                left = size
                while left:
                    left -= len(sock.recv(left))
        ours = peer.ended(port=port)
    finally:
        peer.do("unimpair")
    after = peer.stats()
    seconds = time.monotonic() - started
    check(ours["end"] == "closed" and ours["taken"] == size * rounds, f"{ours['end']}")
    lost = after["lost_ours"] - before["lost_ours"]
    check(lost > 0 and ours["tail_probes"] > 0, f"{lost} lost, {ours['tail_probes']} probes")
    check(ours["timeouts"] <= lost // 3 + 1, f"{ours['timeouts']} RTO for {lost} lost")
    return (f"{lost} of our last segments lost, {ours['tail_probes']} TLP, {ours['timeouts']} RTO,"
            f" {seconds / rounds * 1e3:.1f} ms a round")


cell("loss", "tails of our answers", tails)
