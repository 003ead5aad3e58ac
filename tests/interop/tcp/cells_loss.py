# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Bulk over a link that loses, reorders, duplicates and damages packets by a seed, each direction
with its own draws; large packets are cut to the MTU first, so that it is segments that are lost."""

from __future__ import annotations

import functools
from typing import Any

import kernel
from cells import cell
from peer import Json, Peer
from transfer import check, transfer

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
