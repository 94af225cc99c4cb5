"""The ASGI layer before Gradio: it knows every route that takes a body, and lets through what its handler can bear.

Gradio reads bodies of any size, walks them, and answers what it did not expect with a bare 500. Here a body is bounded while it
streams in, looked through, and refused in one sentence, as JSON with a status of 4xx.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import gradio as gr

from ebm_refine.ui.runtime import json_bodies, uploads
from ebm_refine.ui.runtime.json_bodies import MAX_NAME, Refused
from ebm_refine.ui.runtime.visitors import OpenRequests, address_of

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PREFIX = "/gradio_api"
# A slow telephone sends a picture in this time; whoever trickles bytes holds no memory for longer.
BODY_SECONDS = 60
MAX_HELD_BYTES = 80_000_000
# A body that is refused is read this far, so that its sender hears the answer and not a broken connection.
DRAINED_BYTES, DRAIN_SECONDS = 64_000_000, 10
_CALL = re.compile(r"/(?:run|api|call|call/v2)/([^/]+)/?")
_EVENTS = re.compile(r"/call/(?:v2/)?[^/]+/([^/]+)/?")
# Of Gradio's routes these write to disk or log, fetch other people's addresses, or serve what this page has none of.
_CLOSED = re.compile(
    r"/(?:deep_link|dev/|custom_component/|proxy=|stream/|runs|run-history|vibe-|undo-vibe-|profiling|process_recording"
    r"|component_server|file[=/]\s*[a-z][a-z+.-]*:)",
    re.IGNORECASE,
)
_BODILESS = ("GET", "HEAD", "OPTIONS")
NO_ENDPOINT = "there is no such endpoint; see /gradio_api/info"
MISTAKE = "the request failed because of a bug in this program; see its log"


class Route(NamedTuple):
    """What the handler of a request's path takes: kind of body, and the name of the endpoint that the path calls."""

    kind: str
    name: str | None = None


class RequestGuard:
    """Wraps Gradio's application. `blocks` is the page that it serves, a `gradio_patches.Page`."""

    def __init__(self, app: Any, blocks: Any):
        self.app, self.blocks = app, blocks
        self.open, self.uploads = OpenRequests(), uploads.Uploads()
        self.held = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer, body = _Answer(send), _Body(receive)
        try:
            address = address_of(scope)
            with self.open.one_more(address), self._listening(scope):
                await self._serve(scope, body, answer, address)
        except Refused as refused:
            if scope["method"] not in _BODILESS and _declared(scope) <= DRAINED_BYTES:
                await body.discard()
            await answer.refuse(refused)
        except Exception:
            if answer.started:
                raise
            logging.getLogger(__name__).exception("a request failed")
            await answer.refuse(Refused(500, MISTAKE))

    async def _serve(self, scope: dict[str, Any], incoming: "_Body", answer: "_Answer", address: str | None) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if path.startswith(PREFIX) and _CLOSED.match(path.removeprefix(PREFIX)):
            raise Refused(404, "this page has no such address")
        if scope["method"] in _BODILESS:
            await self.app(scope, incoming.receive, answer.send)
            return
        route = _route(path)
        most = uploads.MAX_BODY if route.kind == "upload" else json_bodies.MAX_BYTES
        if _declared(scope) > most:
            raise json_bodies.too_large(most)
        body = await incoming.read(most)
        self.held += len(body)
        try:
            if self.held > MAX_HELD_BYTES:
                raise Refused(503, "the server is reading too many large bodies; try again in a few seconds", 5)
            self._check(route, body, scope, address)
            await self.app(scope, incoming.again(body), answer.send)
        finally:
            self.held -= len(body)
        await answer.finish()

    def _check(self, route: Route, body: bytes, scope: dict[str, Any], address: str | None) -> None:
        if route.kind == "upload":
            uploads.check_parts(_header(scope, b"content-type"), body)
            self.uploads.admit(len(body), address)
            return
        named = route.kind == "named"
        value = json_bodies.parsed(body, _itself) if named else json_bodies.parsed(body, _data, self._files)
        if isinstance(value, dict) and not named:
            self._check_names(value, route.kind == "join")
        # The page calls events that have no name by their number alone, under any name.
        numbered = not named and isinstance(value, dict) and value.get("fn_index") is not None
        if route.name is not None and not numbered and all(fn.api_name != route.name for fn in self.blocks.fns.values()):
            raise Refused(404, NO_ENDPOINT)

    def _files(self, value: Any) -> frozenset[int]:
        """The positions among a call's values that may hold the record of an upload, after checking it."""
        which, values = (value.get("fn_index"), value.get("data")) if isinstance(value, dict) else (None, None)
        if not isinstance(which, int) or not isinstance(values, list) or which not in self.blocks.fns:
            return frozenset()
        inputs = self.blocks.fns[which].inputs[: len(values)]
        positions = frozenset(position for position, block in enumerate(inputs) if isinstance(block, gr.File))
        for position in positions:
            if isinstance(values[position], dict):
                self._check_upload(values[position])
        return positions

    def _check_upload(self, record: dict[str, Any]) -> None:
        path, url = record.get("path"), record.get("url")
        uploaded = isinstance(path, str) and path in self.blocks.upload_file_set
        # The page adds the address at which it shows the file: this server's own, of the same path.
        own = url is None or (isinstance(url, str) and unquote(url).endswith(f"{PREFIX}/file={path}"))
        if not uploaded or not own or not isinstance(record.get("meta"), dict):
            raise Refused(400, "a file must be one that was uploaded to this server before")

    def _check_names(self, value: dict[str, Any], joins: bool) -> None:
        for name in ("session_hash", "event_id"):
            text = value.get(name)
            if isinstance(text, str) and not 0 < len(text) <= MAX_NAME:
                raise Refused(422, f"{name} must have 1 to {MAX_NAME} characters; got {len(text)}")
        which = value.get("fn_index")
        if which is None and not joins:
            return
        if not isinstance(which, int) or isinstance(which, bool) or which not in self.blocks.fns:
            raise Refused(404, "fn_index must be the number of an event that the page's /config lists")

    def _listening(self, scope: dict[str, Any]) -> AbstractContextManager[None]:
        """Tells the page's queue who listens to which events, and its sessions which pages are open.

        Raises Refused where there is no such event, of which Gradio would log a traceback.
        """
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")).removeprefix(PREFIX).rstrip("/")
        if scope["method"] != "GET":
            return nullcontext()
        if path == "/queue/data":
            return self.blocks._queue.listened(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0])
        if found := _EVENTS.fullmatch(path):
            return self.blocks._queue.listened(found[1])
        if path.startswith("/heartbeat/"):
            return self.blocks.state_holder.page_open(path.removeprefix("/heartbeat/"))
        return nullcontext()


class _Body:
    """What a client sends: read within bounds, read away, or given to the next reader once more."""

    def __init__(self, receive: Receive):
        self.receive, self.ended = receive, False

    async def _part(self) -> bytes:
        message = await self.receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body")
        if message["type"] != "http.request":
            raise Refused(400, "the connection was closed before the body had come")
        return message.get("body", b"")

    async def read(self, most: int) -> bytes:
        """The whole body. Raises Refused where it is larger than that, or slow."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.ended:
                    body += await self._part()
                    if len(body) > most:
                        raise json_bodies.too_large(most)
        except TimeoutError:
            raise Refused(408, f"the body must come within {BODY_SECONDS} s") from None
        return bytes(body)

    async def discard(self) -> None:
        """Read on and keep nothing: a sender that is cut off would not hear why."""
        left = DRAINED_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.ended and left > 0:
                    left -= len(await self._part())
        except (TimeoutError, Refused):
            return

    def again(self, body: bytes) -> Receive:
        """The body that was read, for the next reader; then whatever the connection says."""
        given = False

        async def replay() -> dict[str, Any]:
            nonlocal given
            if given:
                return await self.receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return replay


class _Answer:
    """What goes back: Gradio's plain-text errors, and its 500 of nothing or of our own sentence, become JSON of 4xx."""

    def __init__(self, send: Send):
        self._send, self.started = send, False
        self._held: dict[str, Any] | None = None
        self._text = b""

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400 and not self.started:
            self._held = message
        elif self._held is not None and message["type"] == "http.response.body":
            self._text += message.get("body", b"")
            if not message.get("more_body"):
                await self.finish()
        else:
            self.started = True
            await self._send(message)

    async def finish(self) -> None:
        """Send an error that was held back."""
        if self._held is None:
            return
        start, self._held = self._held, None
        status, headers = start["status"], start["headers"]
        after = next((int(value) for name, value in headers if name == b"retry-after"), None)
        await self.refuse(Refused(*_as_sentence(status, self._text), after))

    async def refuse(self, refused: Refused) -> None:
        if self.started:
            return
        self.started, self._held = True, None
        body = json.dumps({"detail": refused.sentence, "error": refused.sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refused.retry_after is not None:
            headers.append((b"retry-after", str(refused.retry_after).encode()))
        await self._send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _as_sentence(status: int, text: bytes) -> tuple[int, str]:
    try:
        value = json.loads(text)
    except ValueError:
        value = text.decode(errors="replace")[:300]
    said = value
    if isinstance(value, dict):
        said = value.get("detail") or value.get("error")
    if isinstance(said, list):  # of pydantic: what is wrong where, and what came, which is left out
        said = "; ".join(f"{'.'.join(map(str, one.get('loc', [])[1:])) or 'body'}: {one.get('msg', '')}" for one in said[:3])
    if not isinstance(said, str) or not said:
        return status, MISTAKE if status >= 500 else "the request was rejected"
    # A sentence of the library comes as a 500 from calls that pass by the queue.
    return (422 if status == 500 and isinstance(value, dict) and "error" in value else status), said


def _route(path: str) -> Route:
    """Raises Refused for paths whose bodies nobody reads."""
    inner = path.removeprefix(PREFIX) if path.startswith(PREFIX + "/") else ""
    if inner == "/upload":
        return Route("upload")
    if inner.rstrip("/") in ("/cancel", "/reset"):
        return Route("values")
    if inner.rstrip("/") == "/queue/join":
        return Route("join")
    if found := _CALL.fullmatch(inner):
        return Route("named" if inner.startswith("/call/v2/") else "values", found[1])
    raise Refused(405, f"this address takes no body; calls go to {PREFIX}/call/ and the name of an endpoint")


def _itself(value: Any) -> Any:
    return value


def _data(value: Any) -> Any:
    return value.get("data") if isinstance(value, dict) else None


def _declared(scope: dict[str, Any]) -> int:
    length = _header(scope, b"content-length")
    return int(length) if length.isdigit() and len(length) < 20 else 0


def _header(scope: dict[str, Any], name: bytes) -> bytes:
    return next((value for header, value in scope["headers"] if header == name), b"")
