# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Suites and peers of others against one real gateway: python -m tests.interop h2 [CASE...]"""

from __future__ import annotations

import argparse
import sys

from tests.e2e.topology.lab import Lab
from tests.interop import cases, conformance, tunnels, windows
from tests.interop.node import Node
from tests.runner.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.interop")
    parser.add_argument("suite", choices=("h2",))
    parser.add_argument("pieces", nargs="*", help="pieces of the names of single cases")
    arguments = parser.parse_args()
    report = Report()
    with Lab() as lab:
        node = Node(lab)
        node.start()
        if not arguments.pieces:
            conformance.check(report, node)
        chosen = [case for case in (*tunnels.CASES, *windows.CASES)
                  if not arguments.pieces
                  or any(piece in cases.title(case) for piece in arguments.pieces)]
        cases.run(report, "h2", chosen, node)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
