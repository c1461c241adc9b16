"""A scripted HTTP proxy between a worker and its server: cuts, delays, drops and changes what passes."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Exchange:
    """A request, and its answer once there is one."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    status: int = 0
    answer: bytes = b""
    answer_headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a script says in place of the server.

    Where `sent` is given, only so many bytes of the body leave; then the connection is closed, or stands
    still until `silence` is set.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    sent: int | None = None
    silence: threading.Event | None = None


class Drop(Exception):
    """Raised by a script: close the connection without an answer."""


class Proxy:
    """Passes requests on; a context manager.

    `before` sees a request: it may return an `Answer` instead of the server's, block to delay it, or raise
    `Drop` so that the server never gets it. `after` sees the exchange: it may return another `Answer`, or
    raise `Drop` so that the client never gets the server's.

    With `keeps_host` the server sees the proxy's address as its own, so that URLs it makes lead here as well.
    """

    def __init__(self, target: str, *, keeps_host: bool = False) -> None:
        self._target = urllib.parse.urlsplit(target)
        self._dropped = {"content-length", "connection", "accept-encoding"}
        if not keeps_host:
            self._dropped.add("host")
        self.before: Callable[[Exchange], Answer | None] = lambda _: None
        self.after: Callable[[Exchange], Answer | None] = lambda _: None
        self.exchanges: list[Exchange] = []
        self.is_cut = False
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}{self._target.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def cut(self) -> None:
        """Close every connection and every new one, without an answer."""
        self.is_cut = True
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def restore(self) -> None:
        """Pass requests on again."""
        self.is_cut = False

    def seen(self, method: str, part: str) -> list[Exchange]:
        """Return the exchanges with this method whose path contains `part`."""
        return [one for one in list(self.exchanges) if one.method == method and part in one.path]

    def forward(self, request: Exchange) -> Exchange:
        """Ask the server."""
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            connection.request(request.method, request.path, request.body or None, request.headers)
            answer = connection.getresponse()
            passed = {
                name: value for name, value in answer.getheaders() if name.lower() not in _OF_CONNECTION
            }
            return replace(request, status=answer.status, answer=answer.read(), answer_headers=passed)
        finally:
            connection.close()


_OF_CONNECTION = {"connection", "content-length", "date", "keep-alive", "transfer-encoding"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # With the usual five, some connections of a burst are lost, and tried again after a second.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is what tests want."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            proxy._connections.add(self.connection)

        def finish(self) -> None:
            proxy._connections.discard(self.connection)
            super().finish()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _pass(self) -> None:
            if proxy.is_cut:
                self._drop()
                return
            length = int(self.headers.get("Content-Length", 0))
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in proxy._dropped
            }
            request = Exchange(self.command, self.path, self.rfile.read(length), headers)
            try:
                said = proxy.before(request)
                if said is None:
                    exchange = proxy.forward(request)
                    proxy.exchanges.append(exchange)
                    said = proxy.after(exchange) or Answer(
                        exchange.status, exchange.answer, exchange.answer_headers
                    )
                if proxy.is_cut:
                    raise Drop
            except Drop:
                self._drop()
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            # These answers have no body, and no length either (RFC 9110, section 8.6).
            if said.status not in (204, 304):
                self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body[: said.sent])
            if said.sent is not None:
                if said.silence is not None:
                    said.silence.wait(60)
                self._drop()

        def _drop(self) -> None:
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

        do_GET = do_POST = do_PUT = do_DELETE = _pass

    return Handler
