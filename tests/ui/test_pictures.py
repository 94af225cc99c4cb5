"""Pictures by address: a film is made when it is first fetched, once, and beside no other."""

import asyncio
import threading
from types import SimpleNamespace

from ebm_refine.ui.runtime import pictures


def test_a_film_is_made_once_and_one_at_a_time():
    go, begun = threading.Event(), []

    def making(name: str):
        def make() -> bytes:
            begun.append(name)
            go.wait(30)
            return name.encode()

        return pictures.SHELF.promise(make).rpartition("/")[2]

    async def fetched(name: str) -> bytes:
        return (await pictures._shown(SimpleNamespace(path_params={"name": name}))).body  # type: ignore[arg-type]

    async def visitors() -> list[bytes]:
        first, second = making("first"), making("second")
        known = pictures.SHELF.put(b"there", "zip").rpartition("/")[2]
        waiting = [asyncio.create_task(fetched(name)) for name in (first, first, second, first)]
        while not begun:
            await asyncio.sleep(0.01)
        assert await fetched(known) == b"there"  # not behind the films
        await asyncio.sleep(0.1)
        assert begun == ["first"]
        go.set()
        return list(await asyncio.gather(*waiting))

    try:
        assert asyncio.run(visitors()) == [b"first", b"first", b"second", b"first"]
    finally:
        go.set()
    assert begun == ["first", "second"]


def test_what_was_never_there_is_said():
    answer = asyncio.run(pictures._shown(SimpleNamespace(path_params={"name": "nothing.webp"})))  # type: ignore[arg-type]
    assert answer.status_code == 404
    assert b"no longer stored" in answer.body
