# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The matrix: groups of cells, each a function that returns its figures or raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernel
from peer import Peer

INTERFACE = "tcp0"


@dataclass(frozen=True)
class Cell:
    group: str
    name: str
    run: Callable[[Peer], str]
    config: tuple[tuple[str, Any], ...]  # of the peer; cells of one configuration share a process


CELLS: list[Cell] = []


def cell(group: str, name: str, run: Callable[[Peer], str], **config: Any) -> None:
    CELLS.append(Cell(group, name, run, tuple(sorted(config.items()))))


def start(program: Path, config: tuple[tuple[str, Any], ...]) -> Peer:
    peer = Peer(program, INTERFACE, **dict(config))
    kernel.configure(INTERFACE)
    return peer
