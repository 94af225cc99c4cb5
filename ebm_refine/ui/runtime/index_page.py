"""The HTML that Gradio serves, on its way out: with a title and a preview of our own, and without what no browser reads.

Written for Gradio 6.31.0, which `pyproject.toml` pins. Its template names Gradio in the previews that chat programs show, and
repeats for each component three JSON schemas that only its server uses: four fifths of a page of many pictures.
"""

import gzip
import html
import json
import re
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});(?=\s*(?:window\.|</script>))", re.DOTALL)
_PREVIEW = re.compile(r"\s*<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*?/>", re.DOTALL)
_UNREAD = ("api_info", "api_info_as_input", "api_info_as_output", "example_inputs")
_CACHED = 32
# What of a request, beside its path, is in Gradio's answer: the address that it gives as its own is made of these.
_OWN_ADDRESS = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
_LEVEL = 6


class Answer(NamedTuple):
    """A whole answer, as it is sent."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class IndexPage:
    """An ASGI layer. `head` gives what belongs into the head of the page at a path: "" for the first one.

    A page and `/config` are the same for everyone, and Gradio takes 25 ms to make one: fifty visitors at once would wait for
    each other. So what somebody without cookies was sent goes, compressed as it was, to whoever comes by the same address.
    """

    def __init__(self, app: ASGIApp, head: Callable[[str], str]):
        self.app, self.head = app, head
        self.made: OrderedDict[Any, Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/")).strip("/")
        if scope["type"] != "http" or scope["method"] != "GET" or "/" in path:
            await self.app(scope, receive, send)
            return
        key = _key(scope)
        if (known := self.made.get(key)) is not None:
            self.made.move_to_end(key)
            await _send(known, send)
            return
        start: Message | None = None
        body = b""

        async def changed(message: Message) -> None:
            nonlocal start, body
            if (
                message["type"] == "http.response.start"
                and message["status"] == 200
                and (_is_html(message) or path == "config")
            ):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    page = rewritten(body.decode(), self.head(path)).encode() if _is_html(start) else body
                    answer = Answer([one for one in start["headers"] if one[0].lower() != b"content-length"], page)
                    if key is not None:
                        answer = _compressed(answer) if _takes_gzip(scope) else answer
                        self.made[key] = answer
                        while len(self.made) > _CACHED:
                            self.made.popitem(last=False)
                    await _send(answer, send)

        await self.app(scope, receive, changed)


def _key(scope: Scope) -> Any:
    """What an answer depends on; None where it may be somebody's own: of links with settings, and of whoever is signed in."""
    names = {name for name, _ in scope["headers"]}
    if scope.get("query_string") or names & {b"cookie", b"authorization"}:
        return None
    own = tuple((name, value) for name, value in scope["headers"] if name in _OWN_ADDRESS)
    return scope["path"], scope.get("root_path", ""), scope.get("scheme"), own, _takes_gzip(scope)


def _takes_gzip(scope: Scope) -> bool:
    return any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])


def _compressed(answer: Answer) -> Answer:
    headers = [one for one in answer.headers if one[0].lower() != b"vary"]
    more = [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    return Answer([*headers, *more], gzip.compress(answer.body, _LEVEL, mtime=0))


async def _send(answer: Answer, send: Send) -> None:
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def rewritten(page: str, head: str) -> str:
    """The page with `head` in place of Gradio's previews, its components without their schemas."""
    page = _PREVIEW.sub("", page)
    page = _CONFIG.sub(lambda found: "window.gradio_config = " + _leaner(found[1]) + ";", page, count=1)
    return page.replace("</head>", head + "</head>", 1)


def preview(title: str, description: str, picture: str) -> str:
    """A title, and what search engines and chat programs show of a page."""
    title, description = html.escape(title), html.escape(description)
    return (
        f'<title>{title}</title><meta name="description" content="{description}">'
        f'<meta property="og:title" content="{title}"><meta property="og:description" content="{description}">'
        f'<meta property="og:type" content="website"><meta property="og:image" content="{html.escape(picture)}">'
        '<meta name="twitter:card" content="summary_large_image">'
    )


def _leaner(text: str) -> str:
    try:
        config = json.loads(text)
    except ValueError:
        return text
    for component in config.get("components", []):
        for name in _UNREAD:
            component.pop(name, None)
    _without_endpoints(config)
    # Inside a script of the page, so nothing may end it.
    return json.dumps(config, separators=(",", ":")).replace("</", "<\\/")


def _without_endpoints(config: dict[str, Any]) -> None:
    """Take off the page what only callers of the API use: half of the first page's components, of which some load scripts."""
    events = config.get("dependencies", [])
    public = [event for event in events if event.get("api_visibility") == "public"]
    shown = {block for event in events if event not in public for block in _blocks_of(event)}
    gone = {block for event in public for block in _blocks_of(event)} - shown
    if not gone:
        return
    config["components"] = [one for one in config["components"] if one["id"] not in gone]
    config["dependencies"] = [event for event in events if event not in public]
    called = {event["id"] for event in public}
    for part in [config, *config.get("page", {}).values()]:
        part["layout"] = _pruned(part["layout"], gone)
        if part is not config:
            part["components"] = [block for block in part["components"] if block not in gone]
            part["dependencies"] = [event for event in part["dependencies"] if event not in called]


def _blocks_of(event: dict[str, Any]) -> set[int]:
    return {*event["inputs"], *event["outputs"], *(block for block, _ in event["targets"] if block is not None)}


def _pruned(layout: dict[str, Any], gone: set[int]) -> dict[str, Any]:
    children = [_pruned(one, gone) for one in layout.get("children", []) if one["id"] not in gone]
    return {**layout, "children": children} if "children" in layout else layout


def _is_html(message: MutableMapping[str, Any]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])
