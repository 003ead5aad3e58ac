# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""TLS 1.3 record by record against port 15008: tlslite-ng shakes hands, and then its keys seal what
no ordinary client sends. Each case names the alert of RFC 8446, or that the connection lives on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.constants import AlertDescription as Alert
from tlslite.constants import ContentType, HandshakeType, KeyUpdateMessageType
from tlslite.errors import TLSRemoteAlert
from tlslite.messages import CertificateVerify, Finished, Message

from tests.interop.authority import Leaf
from tests.interop.cases import Broken, expect, expect_equal
from tests.interop.identities import ID, Matrix
from tests.interop.peer import PREFACE

DATA, HANDSHAKE, ALERT, CCS = (ContentType.application_data, ContentType.handshake,
                               ContentType.alert, ContentType.change_cipher_spec)
MOST = 1 << 14
_SETTINGS = bytes(3) + b"\x04\0" + bytes(4)
_PING = b"\0\0\x08\x06\0\0\0\0\0"
_PONG = b"\0\0\x08\x06\x01\0\0\0\0"


class _Bending(TLSConnection):
    """A client whose handshake messages may be changed on their way out."""

    bend: Callable[[Any], Any] = staticmethod(lambda message: message)

    def _sendMsg(self, msg: Any, *args: Any, **named: Any) -> Any:  # tlslite's name
        bent = self.bend(msg)
        return super()._sendMsg(bent, *args, **named) if bent is not None else iter(())


@dataclass
class Wish:
    """What a client asks for beside the usual."""

    rsa: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    alpn: tuple[bytes, ...] = (b"h2",)
    bend: Callable[[Any], Any] = staticmethod(lambda message: message)


class Client:
    """A connection that has shaken hands, unless it was refused."""

    def __init__(self, matrix: Matrix, wish: Wish | None = None) -> None:
        wish = wish or Wish()
        leaf = Leaf("rsa", (ID,), key=("rsa:2048",)) if wish.rsa else Leaf("good", (ID,))
        certificate, key = matrix.issue(leaf)
        chain = X509CertChain()
        chain.parsePemList(Path(certificate).read_text())
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 4)
        settings.use_heartbeat_extension = False
        # It would send a compressed certificate to servers that did not ask for one.
        settings.certificate_compression_send = []
        settings.certificate_compression_receive = []
        for name, value in wish.settings.items():
            setattr(settings, name, value)
        self.socket = matrix.node.dial()
        self.tls = _Bending(self.socket)
        self.tls.bend = wish.bend
        self.tls.handshakeClientCert(chain, parsePEMKey(Path(key).read_text(), private=True),
                                     settings=settings,
                                     alpn=[bytearray(name) for name in wish.alpn] or None)
        self._pings = 0
        self.heard = b""
        self.say(PREFACE + _SETTINGS)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, plaintext: bytes) -> None:
        self.tls.sendall(bytearray(plaintext))

    def seal(self, inner: bytes) -> bytes:
        """A record with this inner plaintext, whatever its type and padding."""
        layer = self.tls._recordLayer
        sealed = bytes(layer._encryptThenSeal(bytearray(inner), DATA))
        return bytes((DATA, 3, 3)) + len(sealed).to_bytes(2, "big") + sealed

    def send(self, *records: bytes) -> None:
        self.socket.sendall(b"".join(records))

    def records(self, kind: int, *fragments: bytes, padding: int = 0) -> None:
        """Each fragment as a record of its own."""
        self.send(*(self.seal(fragment + bytes((kind,)) + bytes(padding))
                    for fragment in fragments))

    def key_update(self, request: bool = False) -> None:
        """Sends a KeyUpdate and changes keys."""
        kind = (KeyUpdateMessageType.update_requested if request
                else KeyUpdateMessageType.update_not_requested)
        for _ in self.tls.send_keyupdate_request(kind):
            pass

    def alive(self) -> None:
        """A PING is answered: all that was sent before was taken."""
        opaque = self._pings.to_bytes(8, "big")
        self._pings += 1
        self.say(_PING + opaque)
        while _PONG + opaque not in self.heard:
            piece = self.tls.read(max=65536)
            expect(piece != b"", "the connection ended")
            self.heard += piece

    def alert(self) -> int:
        """The alert that ends the connection."""
        try:
            while self.tls.read(max=65536):
                pass
        except TLSRemoteAlert as alert:
            return int(alert.description)
        raise Broken("the connection ended without an error alert")


def _update(value: int) -> bytes:
    return bytes((HandshakeType.key_update, 0, 0, 1, value))


def lives(*wishes: Wish) -> Callable[[Matrix], None]:
    """A handshake of each kind, and a conversation."""
    def case(matrix: Matrix) -> None:
        for wish in wishes:
            with Client(matrix, wish) as client:
                client.alive()
                client.alive()
    return case


def refused(alert: int, wish: Wish) -> Callable[[Matrix], None]:
    """A handshake that fails, or an alert behind it."""
    def case(matrix: Matrix) -> None:
        try:
            with Client(matrix, wish) as client:
                got = client.alert()
        except TLSRemoteAlert as early:
            got = int(early.description)
        expect_equal(got, alert, "alert")
    return case


def fatal(alert: int, act: Callable[[Client], None]) -> Callable[[Matrix], None]:
    """Something after the handshake that ends the connection."""
    def case(matrix: Matrix) -> None:
        with Client(matrix) as client:
            client.alive()
            with contextlib.suppress(ConnectionError):
                act(client)
            expect_equal(client.alert(), alert, "alert")
    return case


def harmless(act: Callable[[Client], None]) -> Callable[[Matrix], None]:
    """Something after the handshake that changes nothing."""
    def case(matrix: Matrix) -> None:
        with Client(matrix) as client:
            client.alive()
            act(client)
            client.alive()
            client.alive()
    return case


def _bend(kind: type, how: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda message: how(message) if isinstance(message, kind) else message


def _flip(name: str) -> Callable[[Any], Any]:
    """The message with the first bit of a field changed."""
    def how(message: Any) -> Any:
        value = bytearray(getattr(message, name))
        value[-1] ^= 1
        setattr(message, name, value)
        return message
    return how


def _shorter(message: Any) -> Any:
    """The message without its last byte."""
    body = message.write()[4:-1]
    return Message(HANDSHAKE, bytearray(
        bytes((HandshakeType.finished,)) + len(body).to_bytes(3, "big") + body))


def _requested_updates(client: Client) -> None:
    """Each request is answered by new keys of the server before its next data."""
    for _ in range(5):
        before = bytes(client.tls.session.sr_app_secret)
        client.key_update(request=True)
        client.alive()
        expect(bytes(client.tls.session.sr_app_secret) != before, "the server kept its keys")


def _updates(count: int) -> Callable[[Client], None]:
    return lambda client: [client.key_update() for _ in range(count)] and None


def _pieces(client: Client) -> None:
    """A KeyUpdate in five records, one byte each."""
    client.records(HANDSHAKE, *(bytes((byte,)) for byte in _update(0)))
    session = client.tls.session
    session.cl_app_secret, session.sr_app_secret = (
        client.tls._recordLayer.calcTLS1_3KeyUpdate_reciever(
            session.cipherSuite, session.cl_app_secret, session.sr_app_secret))


def _padded(client: Client) -> None:
    for padding in (1, 15, 16, 255, 1000, MOST - 17):
        client.records(DATA, _PING + bytes(8), padding=padding)


def _tampered(at: int) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        record = bytearray(client.seal(_PING + bytes(8) + bytes((DATA,))))
        record[at] ^= 1
        client.send(bytes(record))
    return act


def _interleaved(client: Client) -> None:
    client.records(HANDSHAKE, _update(0)[:3])
    client.records(DATA, _PING + bytes(8))


def _plain(kind: int, body: bytes) -> Callable[[Client], None]:
    return lambda client: client.send(bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body)


def _message(kind: int, body: bytes = b"") -> Callable[[Client], None]:
    return lambda client: client.records(
        HANDSHAKE, bytes((kind,)) + len(body).to_bytes(3, "big") + body)


def no_tickets(matrix: Matrix) -> None:
    """No session ticket comes, and no two connections share a random."""
    randoms = set()
    for _ in range(3):
        with Client(matrix) as client:
            client.alive()
            expect_equal(len(client.tls.tickets), 0, "tickets")
            randoms.add(bytes(client.tls.session.sr_app_secret))
    expect_equal(len(randoms), 3, "different secrets")


def close_notify(matrix: Matrix) -> None:
    """close_notify is answered by close_notify and FIN."""
    with Client(matrix) as client:
        client.alive()
        client.records(ALERT, b"\x01\x00")
        client.socket.shutdown(socket.SHUT_WR)
        while client.tls.read(max=65536):
            pass


def fatal_alert(matrix: Matrix) -> None:
    """A fatal alert ends the connection and is counted."""
    before = matrix.node.reasons("tls").get("peer_alert", 0)
    with Client(matrix) as client:
        client.alive()
        client.records(ALERT, b"\x02\x50")
        with contextlib.suppress(OSError, TLSRemoteAlert):
            while client.tls.read(max=65536):
                pass
    expect_equal(matrix.node.reasons("tls").get("peer_alert", 0), before + 1, "peer_alert counted")


_OVER = bytes(MOST + 1) + bytes((DATA,))
_AES = {256: "aes256gcm", 128: "aes128gcm"}
_unexpected = Alert.unexpected_message

NAMED: tuple[tuple[str, Callable[[Matrix], None]], ...] = (
    # conversation, ecdhe-curves, rsa-signatures, signature-algorithms
    ("AES-256 and AES-128, ECDSA and RSA certificates", lives(
        *(Wish(rsa=rsa, settings={"cipherNames": [name]})
          for name in _AES.values() for rsa in (False, True)))),
    ("X25519 and P-256", lives(
        *(Wish(settings={"eccCurves": [name], "keyShares": [name]})
          for name in ("x25519", "secp256r1")))),
    ("no ALPN", lives(Wish(alpn=()))),
    # hrr, keyshare-omitted, unrecognised-groups
    ("HelloRetryRequest for P-256", lives(
        Wish(settings={"eccCurves": ["secp384r1", "secp256r1"], "keyShares": ["secp384r1"]}))),
    ("HelloRetryRequest without any key share", lives(Wish(settings={"keyShares": []}))),
    ("no group in common", refused(Alert.handshake_failure, Wish(
        settings={"eccCurves": ["secp521r1"], "keyShares": ["secp521r1"], "dhGroups": []}))),
    # nociphers, invalid-ciphers
    ("no cipher in common", refused(Alert.handshake_failure, Wish(
        settings={"cipherNames": ["chacha20-poly1305"]}))),
    # finished, finished-plaintext, certificate-verify, ecdsa-in-certificate-verify
    ("a Finished that is wrong", refused(Alert.decrypt_error, Wish(
        bend=_bend(Finished, _flip("verify_data"))))),
    ("a Finished that is too short", refused(Alert.decode_error, Wish(
        bend=_bend(Finished, _shorter)))),
    ("a CertificateVerify that is wrong", refused(Alert.decrypt_error, Wish(
        rsa=True, bend=_bend(CertificateVerify, _flip("signature"))))),
    ("no CertificateVerify", refused(_unexpected, Wish(
        bend=_bend(CertificateVerify, lambda message: None)))),
    # keyupdate
    ("KeyUpdate between data", harmless(lambda client: [
        (client.key_update(), client.alive()) for _ in range(40)] and None)),
    ("KeyUpdate on request, at once", harmless(_requested_updates)),
    ("KeyUpdate in pieces", harmless(_pieces)),
    ("32 KeyUpdates in a row", harmless(_updates(32))),
    ("33 KeyUpdates in a row", fatal(_unexpected, _updates(33))),
    ("KeyUpdate with an unknown value", fatal(Alert.illegal_parameter, lambda client:
        client.records(HANDSHAKE, _update(2)))),
    ("KeyUpdate of two bytes", fatal(Alert.decode_error, _message(HandshakeType.key_update,
                                                                  b"\0\0"))),
    ("KeyUpdate with something behind it in its record", fatal(_unexpected, lambda client:
        client.records(HANDSHAKE, _update(0) + _update(0)))),
    # record-padding, record-layer-limits
    ("padding up to a full record", harmless(_padded)),
    ("a full record", harmless(lambda client: client.records(
        DATA, b"\0\x3f\xf7\xfa\0\0\0\0\0" + bytes(MOST - 9)))),
    ("a byte more than a full record", fatal(Alert.record_overflow, lambda client:
        client.send(client.seal(_OVER)))),
    ("more padding than a record has room for", fatal(Alert.record_overflow, lambda client:
        client.records(DATA, b"", padding=MOST + 1))),
    ("a record that says it is longer than any", fatal(Alert.record_overflow, lambda client:
        client.send(bytes((DATA, 3, 3)) + (MOST + 257).to_bytes(2, "big") + bytes(MOST + 257)))),
    # zero-length-data, zero-content-type, empty-alert
    ("32 empty records in a row", harmless(lambda client: client.records(DATA, *(b"",) * 32))),
    ("33 empty records in a row", fatal(_unexpected, lambda client:
        client.records(DATA, *(b"",) * 33))),
    ("33 records of padding alone", fatal(_unexpected, lambda client:
        client.records(DATA, *(b"",) * 33, padding=1000))),
    ("a record without type", fatal(_unexpected, lambda client:
        client.send(client.seal(bytes(100))))),
    ("an inner plaintext of nothing", fatal(_unexpected, lambda client:
        client.send(client.seal(b"")))),
    ("an empty handshake record", fatal(_unexpected, lambda client:
        client.records(HANDSHAKE, b""))),
    ("an empty alert", fatal(_unexpected, lambda client: client.records(ALERT, b""))),
    ("an alert of one byte", fatal(Alert.decode_error, lambda client:
        client.records(ALERT, b"\x01"))),
    ("a record of an unknown type", fatal(_unexpected, lambda client: client.records(24, b"x"))),
    # ccs, unencrypted-alert, finished-plaintext
    ("ChangeCipherSpec after the handshake", fatal(_unexpected, _plain(CCS, b"\x01"))),
    ("ChangeCipherSpec inside", fatal(_unexpected, lambda client: client.records(CCS, b"\x01"))),
    ("an alert that is not encrypted", fatal(_unexpected, _plain(ALERT, b"\x02\x28"))),
    ("a handshake message that is not encrypted", fatal(_unexpected,
                                                        _plain(HANDSHAKE, _update(0)))),
    # bad MAC
    ("a changed tag", fatal(Alert.bad_record_mac, _tampered(-1))),
    ("a changed byte", fatal(Alert.bad_record_mac, _tampered(5))),
    ("a changed version in the header", fatal(Alert.bad_record_mac, _tampered(2))),
    ("a record shorter than a tag", fatal(Alert.bad_record_mac, _plain(DATA, bytes(15)))),
    # post-handshake messages
    ("ClientHello again", fatal(_unexpected, _message(HandshakeType.client_hello, bytes(40)))),
    ("Finished again", fatal(_unexpected, _message(HandshakeType.finished, bytes(48)))),
    ("CertificateRequest from a client", fatal(_unexpected, _message(
        HandshakeType.certificate_request, bytes(20)))),
    ("NewSessionTicket from a client", fatal(_unexpected, _message(
        HandshakeType.new_session_ticket, bytes(20)))),
    ("a handshake message with data inside", fatal(_unexpected, _interleaved)),
    # connection-abort, count-tickets, serverhello-random
    ("no tickets, fresh secrets", no_tickets),
    ("close_notify both ways", close_notify),
    ("a fatal alert", fatal_alert),
)


def cases(matrix: Matrix) -> list[tuple[str, Callable[[], None]]]:
    return [(f"records: {name}", lambda case=case: case(matrix)) for name, case in NAMED]
