# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Serves one file (GET /file), a word (GET of anything else), and tells the SHA-256 of what it is
sent (PUT). Arguments: port, file."""

import hashlib
import http.server
import os
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/file":
            self._answer(b"here\n")
            return
        with open(sys.argv[2], "rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.send_response(200)
            self.send_header("content-length", str(size))
            self.end_headers()
            self.connection.sendfile(file)

    def do_PUT(self) -> None:
        digest = hashlib.sha256()
        left = int(self.headers["content-length"])
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                self.close_connection = True
                return
            digest.update(piece)
            left -= len(piece)
        self._answer(digest.hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A line for each of ten thousand requests tells nothing."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024


if __name__ == "__main__":
    Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
