"""The live view on a page: a server on this machine, for its own browser alone.

Only whoever knows the link comes in: its token becomes a cookie that no other site can send along
(SameSite=Strict, HttpOnly). Requests whose Host or Origin names another place are refused, so that
neither a foreign page nor one that has made its name resolve here (DNS rebinding) reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sgdfit.page.session import Session
from sgdfit.page.view import Emit

if TYPE_CHECKING:
    import socket

    import uvicorn

Array = np.ndarray[Any, Any]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGE = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>sgdfit: watch a fit</title>"
    '<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">'
    '<script type="module" src="view.js"></script></head>'
    '<body class="sgdfit-body"><main><h1>Watch a fit</h1>'
    '<div id="sgdfit-page"></div></main></body></html>\n'
)
KINDS = {"view.js": "text/javascript", "style.css": "text/css"}
# Of messages: the largest that are taken, and how many a second.
MOST_TEXT, MOST_BYTES, MOST_A_SECOND = 100_000, 50_001_000, 300
MOST_SESSIONS = 8


class Live(Protocol):
    """What answers a view."""

    def handle(self, message: Mapping[str, Any], /) -> None:
        """Take a message."""

    def close(self) -> None:
        """Hear that the view is gone."""


class Page:
    """The application, and what its requests have to bring."""

    def __init__(self, begin: Callable[[Emit], Live] = Session, hosts: Sequence[str] = ()) -> None:
        self.begin = begin  # called for each view, with what sends it messages
        self.token = secrets.token_urlsafe(24)
        self.hosts = {"127.0.0.1", "localhost", "[::1]", *hosts}
        self.sessions = 0
        self.app = Starlette(
            routes=[
                Route("/", self.index),
                Route("/{name}", self.static),
                WebSocketRoute("/ws", self.socket),
            ]
        )

    def refused(self, asked: HTTPConnection) -> str:
        """Say why a request is not answered; nothing where it is."""
        host = asked.headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self.hosts:
            return "this server answers its own machine alone"
        origin = asked.headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return "another page may not use this server"
        return ""

    def is_known(self, asked: HTTPConnection) -> bool:
        """Whether a request brings the cookie."""
        return secrets.compare_digest(asked.cookies.get(cookie(asked), ""), self.token)

    async def index(self, request: Request) -> Response:
        """Let in who has the link, and show the page to who has been let in."""
        why = self.refused(request)
        if why:
            return Response(why, 403, HEADERS, "text/plain")
        if secrets.compare_digest(request.query_params.get("token", ""), self.token):
            response: Response = RedirectResponse("/", 303, HEADERS)
            response.set_cookie(cookie(request), self.token, httponly=True, samesite="strict")
            return response
        if not self.is_known(request):
            told = "open the link that 'sgdfit page' printed: it lets this browser in"
            return Response(told, 403, HEADERS, "text/plain")
        return HTMLResponse(PAGE, headers=HEADERS)

    async def static(self, request: Request) -> Response:
        """Send what the page is made of."""
        why = self.refused(request)
        name = request.path_params["name"]
        if why or not self.is_known(request):
            return Response(why or "open the link first", 403, HEADERS, "text/plain")
        if name not in KINDS:
            return Response("there is nothing of that name", 404, HEADERS, "text/plain")
        content = files("sgdfit.page").joinpath("static", name).read_bytes()
        return Response(content, 200, HEADERS, KINDS[name])

    async def socket(self, socket: WebSocket) -> None:
        """Carry messages between a view and its session."""
        if self.refused(socket) or not self.is_known(socket):
            await socket.close(1008)
            return
        await socket.accept()
        if self.sessions >= MOST_SESSIONS:
            told = f"{MOST_SESSIONS} views are open, which is the most; close one and load this"
            await socket.send_bytes(packed({"type": "error", "where": "", "text": told}, ()))
            await socket.close(1013)
            return
        self.sessions += 1
        outgoing = Outgoing(asyncio.get_running_loop())
        try:
            session = await asyncio.to_thread(self.begin, outgoing.put)
            sender = asyncio.create_task(outgoing.send(socket))
            try:
                await self.receive(socket, session)
            finally:
                sender.cancel()
                await asyncio.to_thread(session.close)
        finally:
            self.sessions -= 1

    async def receive(self, socket: WebSocket, session: Live) -> None:
        """Hand on what the view asks, as long as it asks within bounds."""
        begun, count = time.monotonic(), 0
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            now = time.monotonic()
            if now - begun > 1:
                begun, count = now, 0
            count += 1
            if count > MOST_A_SECOND:
                await asyncio.sleep(begun + 1 - now)
            asked = unpacked(message.get("text"), message.get("bytes"))
            if asked is not None:
                session.handle(asked)


def cookie(asked: HTTPConnection) -> str:
    """Return the name of the cookie; browsers share cookies among all ports of a machine."""
    return f"sgdfit-{asked.url.port or 80}"


def unpacked(text: str | None, raw: bytes | None) -> dict[str, Any] | None:
    """Return a message; None where it is none."""
    with contextlib.suppress(ValueError, struct.error):
        if text is not None and len(text) <= MOST_TEXT:
            found = json.loads(text)
            return found if isinstance(found, dict) else None
        if raw is not None and len(raw) <= MOST_BYTES:
            (length,) = struct.unpack_from("<I", raw)
            found = json.loads(raw[4 : 4 + length])
            if isinstance(found, dict):
                begin = -(-(4 + length) // 8) * 8
                return {**found, "content": raw[begin:]}
    return None


def packed(message: dict[str, Any], arrays: Sequence[Array]) -> bytes:
    """Return a message with arrays: its length, its text, each array at a multiple of 8."""
    text = json.dumps(message, allow_nan=False).encode()
    parts = [struct.pack("<I", len(text)), text, b"\0" * (-(4 + len(text)) % 8)]
    for array in arrays:
        raw = array.tobytes()
        parts += [raw, b"\0" * (-len(raw) % 8)]
    return b"".join(parts)


class Outgoing:
    """Messages on their way to a view; of frames that wait only the last is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.ready = loop, asyncio.Event()
        self.waiting: list[tuple[dict[str, Any], Sequence[Array]]] = []

    def put(self, message: dict[str, Any], arrays: Sequence[Array]) -> None:
        """Take a message, from whatever thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self._put, message, arrays)

    def _put(self, message: dict[str, Any], arrays: Sequence[Array]) -> None:
        if message["type"] in ("frame", "landscape"):
            self.waiting = [one for one in self.waiting if one[0]["type"] != message["type"]]
        self.waiting.append((message, arrays))
        self.ready.set()

    async def send(self, socket: WebSocket) -> None:
        """Send what comes, until the view is gone."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self.ready.wait()
                self.ready.clear()
                while self.waiting:
                    message, arrays = self.waiting.pop(0)
                    await socket.send_bytes(packed(message, arrays))


def serve(page: Page, host: str, port: int, begun: Callable[[str], object]) -> None:
    """Serve a page until Ctrl-C; ``begun`` is called with its link."""
    server, socket = prepared(page, host, port, begun)
    server.run([socket])


@contextlib.contextmanager
def served(page: Page, begun: Callable[[str], object]) -> Iterator[None]:
    """Serve a page to this machine, from a thread, while the block runs."""
    server, socket = prepared(page, "127.0.0.1", 0, begun)
    thread = threading.Thread(target=server.run, args=([socket],), name="sgdfit-page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=2)


def prepared(
    page: Page, host: str, port: int, begun: Callable[[str], object]
) -> tuple[uvicorn.Server, socket.socket]:
    """Return a server that is to be run, and the socket where those who come already wait."""
    import uvicorn

    settings = uvicorn.Config(
        page.app,
        host=host,
        port=port,
        log_level="warning",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,  # it took four fifths of the time of sending
        access_log=False,
    )
    bound = settings.bind_socket()
    bound.listen(settings.backlog)
    begun(f"http://{host}:{bound.getsockname()[1]}/?token={page.token}")
    return uvicorn.Server(settings), bound
