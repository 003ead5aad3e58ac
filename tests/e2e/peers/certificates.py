# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""A P-256 CA and SPIFFE leaves as istiod issues them, by openssl: NAME.crt, NAME.key, ca.crt."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import plan
from tests.e2e.topology.lab import run

_LEAF = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=critical,URI:{identity}
"""


class Authority:
    """A folder of certificates and the CA that signs them. Peers under other users read it."""

    def __init__(self, folder: Path, organisation: str = plan.TRUST_DOMAIN) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        _key(folder / "ca.key")
        run("openssl", "req", "-x509", "-new", "-key", folder / "ca.key", "-sha256", "-days", "30",
            "-subj", f"/O={organisation}", "-out", folder / "ca.crt",
            "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name: str, identity: str, days: int = 2) -> None:
        key, request = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        _key(key)
        extensions.write_text(_LEAF.format(identity=identity))
        run("openssl", "req", "-new", "-key", key, "-subj", "/", "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.folder / "ca.crt", "-CAkey",
            self.folder / "ca.key", "-CAcreateserial", "-sha256", "-days", str(days), "-extfile",
            extensions, "-out", self.folder / f"{name}.crt")
        request.unlink()
        extensions.unlink()


def _key(path: Path) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-out", path)
    path.chmod(0o644)
