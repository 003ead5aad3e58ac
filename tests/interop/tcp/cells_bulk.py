# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Bulk on a clean link: both families, both openers, every direction, the kernel's congestion
controls, with the port's offloads and without."""

from __future__ import annotations

import functools

import kernel
from cells import cell
from peer import Peer
from transfer import transfer

MEGABYTE = 1 << 20


def bulk(peer: Peer, size: int, opener: str, direction: str, **more: object) -> str:
    outcome = transfer(peer, size=size, kernel_opens=opener == "kernel",
                       kernel_sends=direction != "from us", we_send=direction != "to us",
                       **more)  # type: ignore[arg-type]
    return str(outcome)


for v6 in (False, True):
    for opener in ("kernel", "we"):
        for direction in ("to us", "from us", "both ways"):
            cell("bulk", f"IPv{6 if v6 else 4}, {opener} open, {direction}",
                 functools.partial(bulk, size=48 * MEGABYTE, opener=opener, direction=direction,
                                   v6=v6))
for cc in kernel.algorithms():
    cell("bulk", f"kernel's {cc}, to us",
         functools.partial(bulk, size=48 * MEGABYTE, opener="kernel", direction="to us", cc=cc))
cell("bulk", "our reno, from us",
     functools.partial(bulk, size=48 * MEGABYTE, opener="kernel", direction="from us",
                       options={"congestion": "reno"}))
for direction in ("to us", "from us", "both ways"):
    cell("bulk", f"no offloads, {direction}",
         functools.partial(bulk, size=16 * MEGABYTE, opener="kernel", direction=direction),
         offload=False)
