# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""What the kernel offers and what it doesn't (its sysctls): on a clean link, and over one that
loses, where the options matter. The kernel's tcp_info says what was negotiated."""

from __future__ import annotations

import functools

import kernel
from cells import cell
from peer import Peer
from transfer import check, transfer

MEGABYTE = 1 << 20
LOSS = {"delay": 500, "loss": 0.01}


def negotiated(peer: Peer, *, kernel_opens: bool, loss: bool, timestamps: bool, sack: bool,
               scaling: bool) -> str:
    settings = {"tcp_timestamps": int(timestamps), "tcp_sack": int(sack),
                "tcp_window_scaling": int(scaling)}
    size = MEGABYTE if loss else 8 * MEGABYTE
    if loss:
        peer.impair(**LOSS)
    try:
        with kernel.sysctl(**settings):
            outcome = transfer(peer, size=size, kernel_opens=kernel_opens, kernel_sends=True,
                               we_send=True)
    finally:
        peer.do("unimpair")
    for name, value in (("timestamps", timestamps), ("sack", sack)):
        check(getattr(outcome.kernel, name) == value == outcome.ours[name],
              f"{name} not as offered")
    check(outcome.kernel.scaling == scaling, "window scaling not as offered")
    check(scaling or outcome.ours["send_window"] <= 65535, "a window that cannot be said")
    return str(outcome)


for timestamps, sack, scaling in ((False, True, True), (True, False, True), (True, True, False),
                                  (False, False, True), (False, False, False)):
    absent = [name for name, there in (("timestamps", timestamps), ("SACK", sack),
                                       ("window scaling", scaling)) if not there]
    for kernel_opens in (True, False):
        for loss in (False, True):
            cell("options", f"no {' nor '.join(absent)}, {'kernel' if kernel_opens else 'we'} open"
                            f"{', loss 1 %' if loss else ''}",
                 functools.partial(negotiated, kernel_opens=kernel_opens, loss=loss,
                                   timestamps=timestamps, sack=sack, scaling=scaling))


def ecn(peer: Peer, *, kernel_opens: bool, setting: int, ours: str) -> str:
    """The kernel's setting 1: asks and answers; 2: answers. Ours: active and passive."""
    with kernel.sysctl(tcp_ecn=setting):
        outcome = transfer(peer, size=8 * MEGABYTE, kernel_opens=kernel_opens, kernel_sends=True,
                           we_send=True, options={"ecn": ours})
    asked = setting == 1 if kernel_opens else ours == "active"
    answered = ours != "off" if kernel_opens else setting != 0
    check(outcome.kernel.ecn == (asked and answered), "ECN not as asked for and answered")
    return f"{outcome}; ECN {'agreed' if outcome.kernel.ecn else 'not agreed'}"


for kernel_opens in (True, False):
    for setting in (0, 1, 2):
        for ours in ("off", "passive", "active"):
            cell("options", f"tcp_ecn={setting}, ours {ours}, {'kernel' if kernel_opens else 'we'}"
                            " open",
                 functools.partial(ecn, kernel_opens=kernel_opens, setting=setting, ours=ours))
