# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""curl and OpenSSL's s_client against the test listener (tests/interop/tls): our TCP, handshakes and
record layer behind a TAP interface, RSA and ECDSA chains, clients with and without certificates."""

from __future__ import annotations

import concurrent.futures
import itertools
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.topology.lab import Lab, Namespace, run, wait_for
from tests.e2e.topology.node import ROOT
from tests.interop.authority import Authority, Leaf
from tests.interop.cases import expect, expect_equal

_PROGRAM = ROOT / "build/release/tests/interop/tls_listener"
_MAC = "02:00:00:00:00:01"  # of the listener's host
_KEYS = {"rsa": ("rsa:2048",), "ecdsa": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")}
_PORTS = {"rsa": 4433, "ecdsa": 4434}
_ANSWER = "Isthmus\n"
_REQUEST = "GET / HTTP/1.0\r\n\r\n"


def _name(who: str) -> str:
    return f"spiffe://cluster.local/ns/default/sa/{who}"


@dataclass(frozen=True)
class Host:
    """A listener behind an interface of its own."""

    netns: Namespace
    address: str

    def url(self, kind: str) -> str:
        return f"https://{self.address}:{_PORTS[kind]}/"


class Listeners:
    """One host that asks clients for certificates, one that doesn't, one that changes keys."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.state / "listener"
        self.folder.mkdir()
        self.authorities = {kind: self._authority(kind) for kind in _KEYS}
        self.roots = self.folder / "roots.crt"
        self.roots.write_text("".join(each.certificate.read_text()
                                      for each in self.authorities.values()))
        self.clients = {kind: self.authorities[kind].issue(
            Leaf(f"client-{kind}", (_name("client"),), key=_KEYS[kind])) for kind in _KEYS}
        self._serve = [f"{_PORTS[kind]},{','.join(self.authorities[kind].issue(leaf))}"
                       for kind in _KEYS
                       for leaf in (Leaf(f"server-{kind}", (_name(kind),), key=_KEYS[kind]),)]
        self.netns = lab.namespace("listener")
        self.mutual = self._start(lab, 1)
        self.open = self._start(lab, 2, "--no-client-certificates")
        self.updating = self._start(lab, 3, "--no-client-certificates", "--request-updates")

    def _authority(self, kind: str) -> Authority:
        root = self.folder / f"{kind}-root"
        root.mkdir()
        run("openssl", "req", "-x509", "-newkey", *_KEYS[kind], "-nodes", "-keyout",
            root / "ca.key", "-out", root / "ca.crt", "-subj", f"/O={kind} root", "-days", "10")
        return Authority(self.folder / f"{kind}-ca", root)

    def _start(self, lab: Lab, number: int, *arguments: str) -> Host:
        interface, host = f"tls{number}", Host(self.netns, f"10.97.{number}.2")
        process = self.netns.start(
            f"listener-{number}", _PROGRAM, "--no-huge", "-m", "384", "--no-pci", "--no-telemetry",
            "--no-shconf", "--lcores=0@0-1", "--log-level=4",
            f"--file-prefix={lab.prefix}listener{number}", "--", "--interface", interface,
            "--roots", self.roots, *itertools.chain(*(("--serve", each) for each in self._serve)),
            *arguments)
        wait_for(process.name, lambda: "ready" in process.output(), 20)
        self.netns.ip(f"addr add 10.97.{number}.1/24 dev {interface}",
                      f"neigh replace {host.address} lladdr {_MAC} nud permanent dev {interface}")
        return host

    def s_client(self, host: Host, kind: str, *arguments: str | Path) -> str:
        """What it says of a request and its answer. It ends by itself, for the listener closes."""
        done = self.netns.run("openssl", "s_client", "-connect", f"{host.address}:{_PORTS[kind]}",
                              "-CAfile", self.roots, "-ign_eof", *arguments, check=False,
                              timeout=10, stdin=_REQUEST)
        return done.stdout + done.stderr

    def curl(self, host: Host, kind: str, *arguments: str | Path) -> str:
        """The answer's body. No ALPN; a SPIFFE id is no host name."""
        return self.netns.run("curl", "-sS", "-k", "--no-alpn", "--max-time", "10", *arguments,
                              host.url(kind)).stdout


def _answered(said: str) -> None:
    expect("200 OK" in said and _ANSWER in said, f"no answer in {said[-400:]!r}")
    expect("Verification: OK" in said, "the chain was not verified")


def with_curl(site: Listeners) -> None:
    """curl gets an answer, RSA and ECDSA, without a certificate and with one"""
    for kind in _KEYS:
        expect_equal(site.curl(site.open, kind), _ANSWER, f"{kind}, anonymous")
        expect_equal(site.curl(site.open, kind, "--http1.0", "--tlsv1.3"), _ANSWER, "HTTP/1.0")
        for own in _KEYS:
            certificate, key = site.clients[own]
            expect_equal(site.curl(site.mutual, kind, "--cert", certificate, "--key", key),
                         _ANSWER, f"{kind}, an {own} client")


def with_s_client(site: Listeners) -> None:
    """s_client verifies both chains, with each cipher and group, with RSA and ECDSA of its own"""
    for kind, cipher, group in itertools.product(
            _KEYS, ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"), ("X25519", "P-256")):
        said = site.s_client(site.open, kind, "-ciphersuites", cipher, "-groups", group)
        _answered(said)
        expect(f"Cipher is {cipher}" in said, f"not {cipher}")
        expect(("X25519" in said) == (group == "X25519"), f"not {group}")
    for kind, own in itertools.product(_KEYS, _KEYS):
        certificate, key = site.clients[own]
        _answered(site.s_client(site.mutual, kind, "-cert", certificate, "-key", key))


def retries(site: Listeners) -> None:
    """HelloRetryRequest leads to P-256"""
    for kind in _KEYS:
        said = site.s_client(site.open, kind, "-groups", "P-384:P-256", "-msg")
        _answered(said)
        expect_equal(len(re.findall(r">>> .*ClientHello", said)), 2, "ClientHellos")
        expect_equal(len(re.findall(r"<<< .*ServerHello", said)), 2, "ServerHellos")


def key_updates(site: Listeners) -> None:
    """KeyUpdates of a client, asking for one and not, and of the server ahead of its answer"""
    for kind, letter in itertools.product(_KEYS, "kK"):
        client = subprocess.Popen(
            ["ip", "netns", "exec", site.netns.full, "openssl", "s_client", "-connect",
             f"{site.open.address}:{_PORTS[kind]}", "-CAfile", site.roots, "-msg"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert client.stdin is not None
        time.sleep(0.5)  # a command stands at the beginning of what it reads at once
        for line in (letter, letter, letter, _REQUEST):
            client.stdin.write(line + "\n")
            client.stdin.flush()
            time.sleep(0.2)
        said = client.communicate(timeout=10)[0]
        _answered(said)
        expect_equal(len(re.findall(r">>> .*KeyUpdate", said)), 3, "KeyUpdates sent")
        expect_equal(len(re.findall(r"<<< .*KeyUpdate", said)), 3 if letter == "K" else 0,
                     "KeyUpdates in return")
    for kind in _KEYS:
        said = site.s_client(site.updating, kind, "-msg")
        _answered(said)
        expect_equal(len(re.findall(r"<<< .*KeyUpdate", said)), 1, "KeyUpdates of the server")


def closes(site: Listeners) -> None:
    """The answer ends by close_notify"""
    for kind in _KEYS:
        said = site.s_client(site.open, kind, "-msg")
        _answered(said)
        expect(re.search(r"<<< .*Alert.*warning close_notify", said) is not None, "no close_notify")


def refuses(site: Listeners) -> None:
    """No certificate, no TLS 1.3, no common cipher or group, no h2 in ALPN: the right alert"""
    for host, alert, arguments in (
            (site.mutual, 116, ()),
            (site.open, 70, ("-tls1_2",)),
            (site.open, 40, ("-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")),
            (site.open, 40, ("-groups", "X448")),
            (site.open, 120, ("-alpn", "http/1.1"))):
        said = site.s_client(host, "ecdsa", *arguments)
        expect(f"SSL alert number {alert}" in said, f"no alert {alert} in {said[-300:]!r}")
        expect("200 OK" not in said, "it was answered")


def many(site: Listeners) -> None:
    """Two hundred clients, sixteen at once"""
    kinds = list(itertools.islice(itertools.cycle(_KEYS), 200))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda kind: site.curl(site.open, kind), kinds))
    expect_equal(bodies.count(_ANSWER), len(kinds), "answers")


CASES: tuple[Callable[[Listeners], None], ...] = (
    with_curl, with_s_client, retries, key_updates, closes, refuses, many)


def cases(site: Listeners) -> list[tuple[str, Callable[[], None]]]:
    return [(f"listener: {(case.__doc__ or '').splitlines()[0]}", lambda case=case: case(site))
            for case in CASES]
