"""Pictures and files of results, stored in memory: a run sends addresses, a browser fetches what it shows.

Two routes beside Gradio's: `shown/NAME` for results, `page/NAME` for the scripts, styles and films that ship with the page.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ASSETS = Path(__file__).parents[1] / "assets"
TYPES = {
    "webp": "image/webp",
    "png": "image/png",
    "svg": "image/svg+xml",
    "zip": "application/zip",
    "js": "text/javascript",
    "css": "text/css",
    "json": "application/json",
}
# All results of all visitors together; a film that nobody has asked for yet holds its run's images.
STORED_BYTES, STORED_PROMISES = 64_000_000, 64
_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


class Shelf:
    """Files by name, the least recently fetched of them forgotten first."""

    def __init__(self, most_bytes: int = STORED_BYTES, most_promises: int = STORED_PROMISES):
        self.most_bytes, self.most_promises = most_bytes, most_promises
        self.stored: OrderedDict[str, bytes] = OrderedDict()
        self.promised: OrderedDict[str, Callable[[], bytes]] = OrderedDict()
        self.lock = Lock()

    def put(self, data: bytes, kind: str = "webp") -> str:
        """Keep a file; gives its address, relative to the page. The same bytes have the same address."""
        name = f"{hashlib.sha256(data).hexdigest()[:32]}.{kind}"
        self._keep(name, data)
        return f"shown/{name}"

    def promise(self, make: Callable[[], bytes], kind: str = "webp") -> str:
        """The address of a file that is made when somebody first fetches it."""
        name = f"{secrets.token_hex(16)}.{kind}"
        with self.lock:
            self.promised[name] = make
            while len(self.promised) > self.most_promises:
                self.promised.popitem(last=False)
        return f"shown/{name}"

    def ready(self, name: str) -> bytes | None:
        """The file of that name where it need not be made first."""
        with self.lock:
            if name in self.stored:
                self.stored.move_to_end(name)
            return self.stored.get(name)

    def get(self, name: str) -> bytes | None:
        """The file of that name, made if it was only promised; None where there is none, or no longer."""
        if (known := self.ready(name)) is not None:
            return known
        with self.lock:
            make = self.promised.get(name)
        if make is None:
            return None
        data = make()
        self._keep(name, data)
        with self.lock:
            self.promised.pop(name, None)
        return data

    def _keep(self, name: str, data: bytes) -> None:
        with self.lock:
            self.stored[name] = data
            self.stored.move_to_end(name)
            while len(self.stored) > 1 and sum(map(len, self.stored.values())) > self.most_bytes:
                self.stored.popitem(last=False)


SHELF = Shelf()


def asset(name: str) -> str:
    """The address of a file that ships with the page; it changes with the file, so that browsers may keep it for good."""
    return f"page/{name}?v={_fingerprint(name)}"


def script(name: str) -> str:
    """What loads a script before the component that needs it."""
    return f'<script src="{asset(name)}"></script>'


def routes() -> list[Route]:
    """The routes that `launch` adds to Gradio's."""
    return [Route("/shown/{name}", _shown), Route("/page/{name}", _page)]


# Films take seconds to make: one at a time, on a thread of their own, so that they wait for each other and nobody for them.
_MAKER = ThreadPoolExecutor(1, "films")


async def _shown(request: Request) -> Response:
    name = request.path_params["name"]
    data = SHELF.ready(name)
    if data is None:
        data = await asyncio.get_running_loop().run_in_executor(_MAKER, SHELF.get, name)
    return _answer(name, data)


async def _page(request: Request) -> Response:
    name = request.path_params["name"]
    file = ASSETS / name
    # A name holds no slash, so nothing but what lies in this folder can be meant.
    present = name.rpartition(".")[2] in TYPES and file.is_file()
    return _answer(name, await run_in_threadpool(file.read_bytes) if present else None)


def _answer(name: str, data: bytes | None) -> Response:
    if data is None:
        return Response("this file is no longer stored; run again", 404, media_type="text/plain")
    return Response(data, media_type=TYPES[name.rpartition(".")[2]], headers=_HEADERS)


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()[:12]
