"""The page's server: it answers for the one scene it was started with, and opens nothing that a request names."""

from __future__ import annotations

import io
import math
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geosr.viewer.desk import LeftError
from geosr.viewer.export import Exports
from geosr.viewer.ground import FileGround
from geosr.viewer.pages import Answer, Pages, sources
from geosr.viewer.scene import Viewed

_MOST_CONNECTIONS = 48
"""Connections at a time; one more is told to come again."""
_IDLE = 30.0
"""Seconds in which a connection has to say all of a request, from the end of the last one on; and to take an answer."""
_LONGEST_BODY = 2**16
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILES = {"": "page.html"} | {name: name for name in ("swipe.js", "tiles.js", "viewer.js", "page.js", "viewer.css")}
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ViewServer(ThreadingHTTPServer):
    """A server of the page of one scene. Who doesn't know its token gets nothing."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, ground: FileGround, host: str, port: int, folder: Path) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.token = secrets.token_urlsafe(18)
        self.viewed, self.exports = Viewed(ground), Exports(ground, folder)
        self.pages = Pages(self.viewed, self.exports)
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)
        shown = f"[{host}]" if ":" in host else host
        self.origin = f"http://{shown}:{self.server_port}"
        self.hosts = {f"{name}:{self.server_port}" for name in (shown, "127.0.0.1", "localhost", "[::1]")}
        self.local = host in _LOOPBACK

    @property
    def url(self) -> str:
        """The address to open."""
        return f"{self.origin}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, where there is room."""
        if not self._room.acquire(blocking=False):
            with suppress(OSError):
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See `ThreadingMixIn`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no failure."""

    def close(self) -> None:
        """Answer no more, and begin no more work."""
        self.server_close()
        self.exports.close()
        self.viewed.close()


class _Hasty(io.RawIOBase):
    """The words of a connection, until a time: who says them byte by byte has no longer than others."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self.until = connection, math.inf

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`. Raises `TimeoutError` when the time has come."""
        self._connection.settimeout(max(1e-3, self.until - time.monotonic()))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(_IDLE)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE

    def setup(self) -> None:
        """See `StreamRequestHandler`."""
        super().setup()
        self.rfile.close()
        self._said = _Hasty(self.connection)
        self.rfile = io.BufferedReader(self._said)

    def handle_one_request(self) -> None:
        """See `BaseHTTPRequestHandler`."""
        self._said.until = time.monotonic() + _IDLE
        super().handle_one_request()

    def version_string(self) -> str:
        """The server's name, without versions."""
        return "geosr"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the token would be in it."""

    def do_GET(self) -> None:
        """Answers what only looks."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answers what changes something."""
        self._answer(self._post)

    def _answer(self, route: Callable[[str, str], Answer]) -> None:
        url = urlsplit(self.path)
        start, token, rest = url.path.partition("/")[0], *url.path[1:].partition("/")[::2]
        if not self._is_meant(token) or start:
            self._send(Answer(HTTPStatus.FORBIDDEN, "text/plain", b""))
            return
        query = f"?{url.query}" if url.query else ""
        try:
            self._send(route(rest, query))
        except LeftError:
            self.close_connection = True

    def _is_meant(self, token: str) -> bool:
        """True where a request knows the token, and is none that another page sends under a name of its own."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        known = not self.server.local or host in self.server.hosts
        return (
            known
            and origin in (None, f"http://{host}")
            and secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        )

    def _get(self, path: str, query: str) -> Answer:
        if path in _FILES:
            name = _FILES[path]
            return Answer(HTTPStatus.OK, _TYPES[Path(name).suffix], sources(name).encode())
        return self.server.pages.answer(path + query, self._has_left)

    def _post(self, path: str, query: str) -> Answer:
        told = self.headers.get("Content-Length", "")
        length = int(told) if told.isascii() and told.isdecimal() and len(told) < 10 else 0
        if path != "export" or not 0 < length <= _LONGEST_BODY:
            self.close_connection = True  # the body was not read
            return Answer.failing(f"expected an export of at most {_LONGEST_BODY} bytes", HTTPStatus.BAD_REQUEST)
        return self.server.pages.answer(path, self._has_left, self.rfile.read(length))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _has_left(self) -> bool:
        """True where the client has closed its end, as a page does that doesn't want a tile any more."""
        try:
            readable = select.select([self.connection], [], [], 0)[0]
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True
