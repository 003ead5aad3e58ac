# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Certificates that nobody should accept, of the mesh's CA or of one that only looks like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.topology.lab import run

_CONFIG = """
[ca]
default_ca = mesh
[mesh]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {certificate}
private_key = {key}
default_md = sha256
default_days = 1
default_crl_days = 30
unique_subject = no
policy = any
[any]
organizationName = optional
commonName = optional
"""
# Seconds before which, and after which, a certificate holds good; far from any clock's error.
_LONG_AGO, _LATELY, _LATER = "20200101000000Z", "20200201000000Z", "20990101000000Z"


@dataclass(frozen=True)
class Leaf:
    """What a leaf says. Its defaults are those of a good one, but for the names."""

    name: str
    uris: tuple[str, ...] = ()
    usage: str = "serverAuth,clientAuth"
    not_before: str = _LONG_AGO
    not_after: str = _LATER
    key: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def expired(name: str, uri: str) -> Leaf:
    return Leaf(name, (uri,), not_after=_LATELY)


def not_yet_valid(name: str, uri: str) -> Leaf:
    return Leaf(name, (uri,), not_before="20980101000000Z")


class Authority:
    """Signs with the CA in `certificates`, or with one of its own that has the same name."""

    def __init__(self, folder: Path, certificates: Path, impostor: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        certificate, key = certificates / "ca.crt", certificates / "ca.key"
        if impostor:
            subject = run("openssl", "x509", "-in", certificate, "-noout", "-subject", "-nameopt",
                          "compat").stdout.strip().removeprefix("subject=").strip()
            certificate, key = folder / "ca.crt", folder / "ca.key"
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-keyout", key, "-out", certificate, "-subj", subject, "-days", "10")
        self.certificate = certificate
        self._config = folder / "ca.conf"
        self._config.write_text(
            _CONFIG.format(folder=folder, certificate=certificate, key=key))

    def issue(self, leaf: Leaf) -> tuple[str, str]:
        """Files with the certificate and its key."""
        key, request = self.folder / f"{leaf.name}.key", self.folder / f"{leaf.name}.csr"
        certificate, extensions = self.folder / f"{leaf.name}.crt", self.folder / "extensions"
        run("openssl", "req", "-new", "-newkey", *leaf.key, "-nodes", "-keyout", key, "-out",
            request, "-subj", f"/O={leaf.name}")
        said = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={leaf.usage}",
                "keyUsage=critical,digitalSignature"]
        if leaf.uris:
            said.append("subjectAltName=" + ",".join(f"URI:{uri}" for uri in leaf.uris))
        extensions.write_text("\n".join(said))
        run("openssl", "ca", "-batch", "-notext", "-config", self._config, "-in", request, "-out",
            certificate, "-extfile", extensions, "-startdate", leaf.not_before, "-enddate",
            leaf.not_after)
        return str(certificate), str(key)

    def revoke(self, certificate: str) -> None:
        run("openssl", "ca", "-config", self._config, "-revoke", certificate)

    def list_revoked(self, file: Path) -> None:
        """Writes the CRL."""
        run("openssl", "ca", "-config", self._config, "-gencrl", "-out", file)
