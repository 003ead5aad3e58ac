# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The negative matrix: whom the gateway refuses in both roles, by which alert (RFC 8446 section
6.2), counted as what. OpenSSL's own programs are the peers. Nobody reaches an upstream."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e import plan
from tests.e2e.topology.lab import wait_for
from tests.interop import authority
from tests.interop.authority import Authority, Leaf
from tests.interop.cases import Broken, expect, expect_equal
from tests.interop.node import PEER, POD, SECOND, Node, inside

APP = 8080
# A whole HTTP/2 flight that asks for a tunnel, in bytes that are text as well: client preface,
# empty SETTINGS, CONNECT with literal fields.
_AUTHORITY = f"{POD.address}:{APP}"
_BLOCK = f"\x02\x07CONNECT\x01{chr(len(_AUTHORITY))}{_AUTHORITY}"
FLIGHT = ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0\0\0\x04\0\0\0\0\0"
          + f"\0\0{chr(len(_BLOCK))}\x01\x04\0\0\0\x01" + _BLOCK)


@dataclass(frozen=True)
class Refusal:
    """A peer, the alert that it must get, and the reason that must be counted once."""

    who: str
    alert: int
    reason: str
    certificate: Callable[[Matrix], tuple[str, str] | None]
    arguments: tuple[str, ...] = ("-tls1_3", "-alpn", "h2")


class Matrix:
    """The peers' certificates. Make it before the gateway starts, which reads the revocations."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.mesh = Authority(node.lab.state / "mesh-ca", node.certificates)
        self.impostor = Authority(node.lab.state / "impostor-ca", node.certificates, impostor=True)
        self._issued: dict[str, tuple[str, str]] = {}
        self.revoked = self.issue(Leaf("revoked", (ID,)))
        self.mesh.revoke(self.revoked[0])
        self.mesh.list_revoked(node.certificates / "ca-crl.pem")

    def issue(self, leaf: Leaf, by: Authority | None = None) -> tuple[str, str]:
        """One certificate of each name."""
        if leaf.name not in self._issued:
            self._issued[leaf.name] = (by or self.mesh).issue(leaf)
        return self._issued[leaf.name]


ID = PEER.identity
_COMMON = (
    Refusal("another CA of the same name", 48, "unknown_ca",
            lambda m: m.issue(Leaf("other-ca", (ID,)), m.impostor)),
    Refusal("an expired certificate", 45, "expired",
            lambda m: m.issue(authority.expired("expired", ID))),
    Refusal("a certificate that is not valid yet", 42, "not_yet_valid",
            lambda m: m.issue(authority.not_yet_valid("early", ID))),
    Refusal("a certificate without SPIFFE id", 42, "no_spiffe_id",
            lambda m: m.issue(Leaf("nameless"))),
    Refusal("a URI that is no SPIFFE id", 42, "no_spiffe_id",
            lambda m: m.issue(Leaf("no-spiffe", ("https://cluster.local/ns/a/sa/b",)))),
    Refusal("a revoked certificate", 44, "revoked", lambda m: m.revoked),
    Refusal("two SPIFFE ids", 42, "several_spiffe_ids",
            lambda m: m.issue(Leaf("two-faced", (ID, SECOND.identity)))),
)
AS_SERVER = (
    Refusal("no certificate", 116, "no_certificate", lambda m: None),
    *_COMMON,
    Refusal("another trust domain", 46, "wrong_trust_domain",
            lambda m: m.issue(Leaf("foreign", ("spiffe://other.example/ns/a/sa/b",)))),
    Refusal("a certificate for servers only", 43, "wrong_usage",
            lambda m: m.issue(Leaf("server-only", (ID,), usage="serverAuth"))),
    Refusal("TLS 1.2 at most", 70, "protocol_version", lambda m: m.node.pem(PEER.name),
            ("-tls1_2", "-alpn", "h2")),
    Refusal("protocols without h2", 120, "no_alpn", lambda m: m.node.pem(PEER.name),
            ("-tls1_3", "-alpn", "http/1.1")),
    Refusal("ChaCha20 alone", 40, "no_shared_parameters", lambda m: m.node.pem(PEER.name),
            ("-tls1_3", "-alpn", "h2", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")),
    Refusal("a group that is not offered", 40, "no_shared_parameters",
            lambda m: m.node.pem(PEER.name), ("-tls1_3", "-alpn", "h2", "-groups", "X448")),
)
AS_CLIENT = (
    *_COMMON,
    Refusal("another trust domain", 46, "wrong_identity",
            lambda m: m.issue(Leaf("foreign", ("spiffe://other.example/ns/a/sa/b",)))),
    Refusal("another pod's certificate", 46, "wrong_identity",
            lambda m: m.node.pem(SECOND.name)),
    Refusal("a certificate for clients only", 43, "wrong_usage",
            lambda m: m.issue(Leaf("client-only", (ID,), usage="clientAuth"))),
)


def _alert(said: str) -> int | None:
    found = re.search(r"SSL alert number (\d+)", said)
    return int(found[1]) if found else None


def _counted(node: Node, before: dict[str, int]) -> dict[str, int]:
    """TLS's reasons that have grown."""
    return {reason: count - before.get(reason, 0) for reason, count in node.reasons("tls").items()
            if count != before.get(reason, 0)}


def _s_client(node: Node, pem: tuple[str, str] | None, arguments: tuple[str, ...]) -> str:
    """What it says, until the gateway has closed or a second has passed."""
    files = ("-cert", pem[0], "-key", pem[1]) if pem else ()
    connect = ("openssl", "s_client", "-connect", f"{POD.address}:{plan.HBONE_PORT}")
    try:
        done = node.network.run(*connect, *files, *arguments, "-ign_eof", check=False, timeout=2,
                                stdin=FLIGHT)
    except subprocess.TimeoutExpired as slow:
        return (slow.stdout or b"").decode(errors="replace")
    return done.stdout + done.stderr


def _reaches(listener: socket.socket) -> bool:
    listener.settimeout(0.2)
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


def as_server(matrix: Matrix, refusal: Refusal) -> None:
    node = matrix.node
    pem = refusal.certificate(matrix)
    before = node.reasons("tls")
    with node.listen(APP) as listener:
        said = _s_client(node, pem, refusal.arguments)
        expect_equal(_alert(said), refusal.alert, f"alert in {said[-300:]!r}")
        expect(not _reaches(listener), "it reached the application")
    expect_equal(_counted(node, before), {refusal.reason: 1}, "counted")
    _logged(node, refusal, "inbound")


def _logged(node: Node, refusal: Refusal, direction: str) -> None:
    """The access log tells the reason and the alert."""
    def told() -> bool:
        errors = [str(line["error"]) for line in node.access_lines()
                  if line["message"] == "connection failed" and line["direction"] == direction]
        return any(error.startswith(f"tls.{refusal.reason}: ")
                   and f", TLS alert {refusal.alert} (" in error for error in errors)

    wait_for(f"{refusal.reason} in the access log", told, 5)


def good_client(matrix: Matrix) -> None:
    """s_client with a good certificate reaches the application by the same bytes"""
    before = matrix.node.reasons("tls")
    with matrix.node.listen(APP) as listener:
        for pem in (matrix.node.pem(PEER.name), matrix.issue(Leaf("good", (ID,))),
                    matrix.issue(Leaf("rsa", (ID,), key=("rsa:2048",)))):
            said = _s_client(matrix.node, pem, ("-tls1_3", "-alpn", "h2"))
            expect(_reaches(listener), f"it does not: {said[-300:]}")
    expect_equal(_counted(matrix.node, before), {}, "counted")


class _Server:
    """openssl s_server in the place of the peer's HBONE port."""

    def __init__(self, node: Node, pem: tuple[str, str]) -> None:
        self.process = node.network.start(
            "s_server", "openssl", "s_server", "-accept", f"{PEER.address}:{plan.HBONE_PORT}",
            "-cert", pem[0], "-key", pem[1], "-CAfile", node.certificates / "ca.crt", "-Verify",
            "2", "-verify_return_error", "-tls1_3", "-alpn", "h2", "-naccept", "1", "-rev")
        self._before = len(self.process.output())
        wait_for("s_server", lambda: str(plan.HBONE_PORT) in node.network.run("ss", "-ltnH").stdout,
                 5)

    @property
    def said(self) -> str:
        return self.process.output()[self._before:]

    @property
    def established(self) -> bool:
        return "CONNECTION ESTABLISHED" in self.said

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop(1)


def _pod_connects(node: Node) -> bool:
    """A pod's connection to the peer through the gateway, when it stays for a moment."""
    made = inside(node.pod, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with made:
        made.settimeout(1)
        try:
            made.connect((PEER.address, APP))
            made.sendall(b"secret")
            return made.recv(1) != b""
        except (ConnectionRefusedError, ConnectionResetError):
            return False
        except TimeoutError:
            return True


def as_client(matrix: Matrix, refusal: Refusal) -> None:
    node = matrix.node
    pem = refusal.certificate(matrix)
    if pem is None:
        raise Broken("a server has a certificate")
    before = node.reasons("tls")
    with _Server(node, pem) as server:
        expect(not _pod_connects(node), "the pod was connected")
        _wait(lambda: _alert(server.said) is not None)
        said = server.said
        expect_equal(_alert(said), refusal.alert, f"alert in {said[-300:]!r}")
        expect(not server.established, "the handshake was completed")
        expect("secret" not in said, "the pod's bytes went out")
    expect_equal(_counted(node, before), {refusal.reason: 1}, "counted")
    _logged(node, refusal, "outbound")


def _wait(ready: Callable[[], bool]) -> None:
    limit = time.monotonic() + 2
    while not ready() and time.monotonic() < limit:
        time.sleep(0.05)


def good_server(matrix: Matrix) -> None:
    """s_server with the peer's certificate is connected"""
    before = matrix.node.reasons("tls")
    with _Server(matrix.node, matrix.issue(Leaf("good", (ID,)))) as server:
        _pod_connects(matrix.node)
        _wait(lambda: server.established)
        expect(server.established, f"the handshake is not complete: {server.said[-300:]}")
    expect_equal(_counted(matrix.node, before), {}, "counted")


def cases(matrix: Matrix) -> list[tuple[str, Callable[[], None]]]:
    return [
        ("as server: " + (good_client.__doc__ or ""), lambda: good_client(matrix)),
        *((f"as server: refuses {each.who}", lambda each=each: as_server(matrix, each))
          for each in AS_SERVER),
        ("as client: " + (good_server.__doc__ or ""), lambda: good_server(matrix)),
        *((f"as client: refuses {each.who}", lambda each=each: as_client(matrix, each))
          for each in AS_CLIENT),
    ]
