# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Suites and peers of others against one real gateway: python -m tests.interop h2 [CASE...]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from tests.e2e.topology.lab import Lab
from tests.interop import (cases, conformance, console, envoy_cases, floods, identities, listener,
                           records, tunnels, windows)
from tests.interop.beside_envoy import BesideEnvoy
from tests.interop.node import Node
from tests.runner.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.interop")
    parser.add_argument("suite", choices=("h2", "tls", "console", "envoy"))
    parser.add_argument("--long", action="store_true", help="full sizes, no time limits")
    parser.add_argument("pieces", nargs="*", help="pieces of the names of single cases")
    arguments = parser.parse_args()
    report = Report()
    with Lab() as lab:
        if arguments.suite == "envoy":
            size = envoy_cases.LONG if arguments.long else envoy_cases.MODEST
            site = BesideEnvoy(lab, size.records_per_key)
            site.start()
            _run(report, arguments, envoy_cases.cases(site, size))
            return report.close()
        node = Node(lab)
        matrix = identities.Matrix(node) if arguments.suite == "tls" else None
        node.start()
        if matrix:
            named = [*identities.cases(matrix), *records.cases(matrix),
                     *listener.cases(listener.Listeners(lab))]
        elif arguments.suite == "console":
            named = [(cases.title(case), lambda case=case: case(node)) for case in console.CASES]
        else:
            if not arguments.pieces:
                conformance.check(report, node)
            named = [(cases.title(case), lambda case=case: case(node))
                     for case in (*tunnels.CASES, *windows.CASES)]
            named += floods.cases(node)
        _run(report, arguments, named)
    return report.close()


def _run(report: Report, arguments: argparse.Namespace,
         named: Iterable[tuple[str, cases.Case]]) -> None:
    cases.run(report, arguments.suite, [
        (name, case) for name, case in named
        if not arguments.pieces or any(piece in name for piece in arguments.pieces)])


if __name__ == "__main__":
    sys.exit(main())
