# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Everybody's certificates, from the embedded test CA: NAME.crt, NAME.key, ca.crt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.e2e import plan
from tests.e2e.topology.lab import run
from tests.e2e.topology.node import ROOT

CA = ROOT / "build/release/app/isthmus-ca/isthmus-ca"


def issue(folder: Path, pods: Iterable[plan.Pod]) -> None:
    """Makes the folder with a CA and a leaf for each pod."""
    run(CA, "--out", folder, "--trust-domain", plan.TRUST_DOMAIN,
        *(f"{pod.name}={pod.identity}" for pod in pods))
    for key in folder.glob("*.key"):
        key.chmod(0o644)  # an Envoy reads its own under another user
