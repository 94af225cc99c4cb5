"""The HTML that Gradio serves, on its way out: with a title and a preview of our own, and without what no browser reads.

Written for Gradio 6.31.0, which `pyproject.toml` pins. Its template names Gradio in the previews that chat programs show, and
repeats for each component three JSON schemas that only its server uses: four fifths of a page of many pictures.
"""

import hashlib
import html
import json
import re
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});(?=\s*(?:window\.|</script>))", re.DOTALL)
_PREVIEW = re.compile(r"\s*<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*?/>", re.DOTALL)
_UNREAD = ("api_info", "api_info_as_input", "api_info_as_output", "example_inputs")
_KEPT = 16


class IndexPage:
    """An ASGI layer. `head` gives what belongs into the head of the page at a path: "" for the first one."""

    def __init__(self, app: ASGIApp, head: Callable[[str], str]):
        self.app, self.head = app, head
        self.made: OrderedDict[str, bytes] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/")).strip("/")
        if scope["type"] != "http" or scope["method"] != "GET" or "/" in path:
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def changed(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_html(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    page = self._rewritten(path, body)
                    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                    await send({**start, "headers": [*headers, (b"content-length", str(len(page)).encode())]})
                    await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, changed)

    def _rewritten(self, path: str, body: bytes) -> bytes:
        key = path + hashlib.sha256(body).hexdigest()
        if key not in self.made:
            self.made[key] = rewritten(body.decode(), self.head(path)).encode()
            while len(self.made) > _KEPT:
                self.made.popitem(last=False)
        return self.made[key]


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
    # Inside a script of the page, so nothing may end it.
    return json.dumps(config, separators=(",", ":")).replace("</", "<\\/")


def _is_html(message: MutableMapping[str, Any]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])
