# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Our TCP against the kernel's, a group of cells at a time.

    run.py TCP_PEER GROUP [PIECE]     a piece of a cell's name chooses

Runs in a network namespace without a name, which ends with its processes however they end. The
figures of each cell are printed; where GTEST_OUTPUT says xml:FILE, the verdicts are written there.
Exit status 77: no privilege to make the namespace."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import time
import traceback
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import TYPE_CHECKING

sys.dont_write_bytecode = True
if TYPE_CHECKING:
    from cells import Cell
    from peer import Peer

MARK = "ISTHMUS_INTEROP_NAMESPACE"


def main() -> int:
    program, group = Path(sys.argv[1]), sys.argv[2]
    piece = sys.argv[3] if len(sys.argv) > 3 else ""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        print("needs CAP_SYS_ADMIN, CAP_NET_ADMIN and /dev/net/tun")
        return 77
    if MARK not in os.environ:
        os.environ[MARK] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    import cells  # reads the namespace's settings
    importlib.import_module(f"cells_{group}")
    chosen = sorted((each for each in cells.CELLS if each.group == group and piece in each.name),
                    key=lambda each: each.config)
    suite = xml.Element("testsuite", name=f"interop-tcp-{group}")
    failures = 0
    for config, share in itertools.groupby(chosen, key=lambda each: each.config):
        with cells.start(program, config) as peer:
            for each in share:
                failures += not _try(each, peer, suite)
    target = os.environ.get("GTEST_OUTPUT", "").removeprefix("xml:")
    if target:
        xml.ElementTree(suite).write(target)
    return 0 if chosen and failures == 0 else 1


def _try(each: Cell, peer: Peer, suite: xml.Element) -> bool:
    case = xml.SubElement(suite, "testcase", classname=each.group, name=each.name)
    started = time.monotonic()
    try:
        figures, good = each.run(peer), True
    except Exception as error:
        figures, good = f"{error}", False
        traceback.print_exc(file=sys.stdout)
        xml.SubElement(case, "failure", message=figures)
    print(f"{'PASS' if good else 'FAIL'} {each.name} ({time.monotonic() - started:.2f} s):"
          f" {figures}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
