# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Cases by name: each is a function that raises when a promise is not kept."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any

from tests.runner.report import Report


class Broken(Exception):
    """A promise that was not kept."""


# May give what it saw, for people.
Case = Callable[[], list[str] | None]


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Broken(otherwise)


def expect_equal(seen: Any, wanted: Any, what: str) -> None:
    expect(seen == wanted, f"{what}: {seen!r}, not {wanted!r}")


def title(case: Callable[..., None]) -> str:
    """The first line of what a case says of itself."""
    return (case.__doc__ or case.__name__).strip().splitlines()[0].rstrip(".")


def run(report: Report, group: str, cases: Iterable[tuple[str, Case]]) -> None:
    for called, case in cases:
        name = f"{group} {called}"
        try:
            seen = case() or []
        except Broken as broken:
            report.fail(name, str(broken))
        except Exception as error:  # also a peer that said nothing in time
            report.fail(name, f"{error!r}\n{traceback.format_exc()}")
        else:
            report.ok(name)
            for witness in seen:
                print(f"     saw: {witness}", flush=True)
