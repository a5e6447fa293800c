"""The page's server: it answers for the one scene it was started with, and opens nothing that a request names."""

from __future__ import annotations

import json
import secrets
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from geosr.errors import GeosrError, InputError, one_line
from geosr.viewer.desk import BusyError, LeftError
from geosr.viewer.export import Exports
from geosr.viewer.pages import Pages
from geosr.viewer.scene import Viewed

_MOST_CONNECTIONS = 48
"""Connections at a time; one more is told to come again."""
_IDLE = 30.0
"""Seconds that a connection may say nothing."""
_LONGEST_BODY = 2**16
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FILES = {"": "page.html", "viewer.js": "viewer.js", "swipe.js": "swipe.js", "viewer.css": "viewer.css"}
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

    def __init__(self, viewed: Viewed, host: str, port: int, folder: Path) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.token = secrets.token_urlsafe(18)
        self.exports = Exports(viewed, folder)
        self.viewed, self.pages = viewed, Pages(viewed, self.exports)
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


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE

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

    def _answer(self, route: Callable[[str, dict[str, str]], None]) -> None:
        url = urlsplit(self.path)
        start, token, rest = url.path.partition("/")[0], *url.path[1:].partition("/")[::2]
        if not self._is_meant(token) or start:
            self._send(HTTPStatus.FORBIDDEN, b"", "text/plain")
            return
        try:
            asked = parse_qs(url.query, max_num_fields=16)
            route(rest, {name: values[0] for name, values in asked.items()})
        except LeftError:
            self.close_connection = True
        except BusyError as error:
            self._tell(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        except (InputError, ValueError, KeyError, TypeError) as error:
            told = str(error) if isinstance(error, GeosrError) else "the request is none that the page makes"
            self._tell(HTTPStatus.BAD_REQUEST, {"error": told})
        except GeosrError as error:
            self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)})
        except OSError:
            raise  # of the connection
        except Exception as error:  # the page goes on, and says so
            self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": one_line(error)})

    def _is_meant(self, token: str) -> bool:
        """True where a request knows the token, and is none that another page sends under a name of its own."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        known = not self.server.local or host in self.server.hosts
        return (
            known
            and origin in (None, f"http://{host}")
            and secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        )

    def _get(self, path: str, asked: dict[str, str]) -> None:
        if path in _FILES:
            name = _FILES[path]
            self._send(HTTPStatus.OK, files("geosr.viewer").joinpath(name).read_bytes(), _TYPES[Path(name).suffix])
            return
        kind, _, rest = path.partition("/")
        if kind == "tile":
            self._send(HTTPStatus.OK, self.server.pages.tile(rest, asked, self._has_left), "image/png")
        elif (tell := self.server.pages.facts.get(path)) is not None:
            self._tell(HTTPStatus.OK, tell(asked, self._has_left))
        else:
            self._tell(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})

    def _post(self, path: str, asked: dict[str, str]) -> None:
        length = int(self.headers.get("Content-Length", "-1"))
        if path != "export" or not 0 < length <= _LONGEST_BODY:
            self.close_connection = True  # the body was not read
            raise InputError(f"expected an export of at most {_LONGEST_BODY} bytes")
        wanted = json.loads(self.rfile.read(length))
        self._tell(HTTPStatus.ACCEPTED, self.server.pages.export(wanted))

    def _tell(self, status: HTTPStatus, facts: Any) -> None:
        self._send(status, json.dumps(facts).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _has_left(self) -> bool:
        """True where the client has closed its end, as a page does that doesn't want a tile any more."""
        try:
            readable = select.select([self.connection], [], [], 0)[0]
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True
