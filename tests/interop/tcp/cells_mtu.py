# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""MTUs, equal and unequal at the two ends, with the port's offloads and without."""

from __future__ import annotations

import functools

import kernel
from cells import INTERFACE, cell
from peer import Peer
from transfer import check, transfer

MEGABYTE = 1 << 20
LOSS = {"delay": 500, "loss": 0.01}


def sized(peer: Peer, *, mtu: int, v6: bool, kernel_opens: bool, ours: int, loss: bool) -> str:
    """The kernel's MTU and ours; what goes out must suit both."""
    kernel.set_mtu(INTERFACE, mtu)
    size = MEGABYTE if loss else 8 * MEGABYTE
    if loss:
        peer.impair(mtu=min(mtu, ours), **LOSS)
    try:
        outcome = transfer(peer, size=size, kernel_opens=kernel_opens, kernel_sends=True,
                           we_send=True, v6=v6, options={"mtu": ours})
    finally:
        peer.do("unimpair")
        kernel.set_mtu(INTERFACE, 1500)
        kernel.configure_v6(INTERFACE)
    # Of a full segment: what the headers (with timestamps) leave of the smaller MTU.
    expected = min(mtu, ours) - (40 if v6 else 20) - 32
    for name, got in (("the kernel's", outcome.kernel.snd_mss), ("our", outcome.ours["mss"])):
        check(got == expected, f"{name} segments are of {got} bytes, not {expected}")
    return f"MSS {outcome.kernel.snd_mss} and {outcome.ours['mss']}, {outcome}"


for mtu, ours in ((576, 576), (576, 1500), (1280, 1280), (1500, 576), (9000, 9000), (9000, 1500),
                  (1500, 9000)):
    for v6 in (False, True):
        if v6 and min(mtu, ours) < 1280:
            continue
        for offload in (True, False):
            cell("mtu", f"MTU {mtu}, ours {ours}, IPv{6 if v6 else 4}"
                            f"{'' if offload else ', no offloads'}",
                 functools.partial(sized, mtu=mtu, v6=v6, kernel_opens=not v6, ours=ours,
                                   loss=False), offload=offload)
for mtu in (576, 9000):
    cell("mtu", f"MTU {mtu}, loss 1 %",
         functools.partial(sized, mtu=mtu, v6=False, kernel_opens=True, ours=mtu, loss=True))
