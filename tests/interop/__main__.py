# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Suites and peers of others against one real gateway: python -m tests.interop h2 [CASE...]"""

from __future__ import annotations

import argparse
import sys

from tests.e2e.topology.lab import Lab
from tests.interop import (cases, conformance, console, floods, identities, records, tunnels,
                           windows)
from tests.interop.node import Node
from tests.runner.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.interop")
    parser.add_argument("suite", choices=("h2", "tls", "console"))
    parser.add_argument("pieces", nargs="*", help="pieces of the names of single cases")
    arguments = parser.parse_args()
    report = Report()
    with Lab() as lab:
        node = Node(lab)
        matrix = identities.Matrix(node) if arguments.suite == "tls" else None
        node.start()
        if matrix:
            named = [*identities.cases(matrix), *records.cases(matrix)]
        elif arguments.suite == "console":
            named = [(cases.title(case), lambda case=case: case(node)) for case in console.CASES]
        else:
            if not arguments.pieces:
                conformance.check(report, node)
            named = [(cases.title(case), lambda case=case: case(node))
                     for case in (*tunnels.CASES, *windows.CASES)]
            named += floods.cases(node)
        cases.run(report, arguments.suite, [
            (name, case) for name, case in named
            if not arguments.pieces or any(piece in name for piece in arguments.pieces)])
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
