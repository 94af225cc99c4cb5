"""The page's HTML is made once for everyone who comes by one address, and for nobody else."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from ebm_refine.ui.runtime.index_page import _CACHED, IndexPage, rewritten

CONFIG = '{"components": [{"id": 1, "api_info": {}}]}'
PAGE = f"<html><head></head><body><script>window.gradio_config = {CONFIG};</script></body></html>"


class Gradio:
    """Answers like Gradio, and counts how often."""

    def __init__(self, status: int = 200, kind: bytes = b"text/html; charset=utf-8"):
        self.status, self.kind, self.asked = status, kind, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        body = PAGE.encode() if self.kind.startswith(b"text/html") else json.dumps({"asked": self.asked}).encode()
        headers = [(b"content-type", self.kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def get(page: IndexPage, path: str = "/", query: bytes = b"", method: str = "GET", **headers: str) -> tuple[dict, bytes]:
    """Headers and body of the answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "here", **headers}.items()]
    scope = {"type": "http", "method": method, "path": path, "scheme": "http", "query_string": query, "headers": named}
    asyncio.run(page(scope, None, send))  # type: ignore[arg-type]
    return dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


def test_the_second_visitor_gets_what_the_first_one_got():
    gradio = Gradio()
    page = IndexPage(gradio, lambda path: f"<title>{path}</title>")
    first, again = get(page), get(page)
    assert first == again
    assert gradio.asked == 1
    assert b"<title></title></head>" in first[1]
    assert b"api_info" not in first[1]
    assert first[0][b"content-length"] == str(len(first[1])).encode()
    assert b"<title>play</title>" in get(page, "/play")[1]
    assert gradio.asked == 2


def test_who_takes_gzip_gets_the_same_page_compressed():
    page = IndexPage(Gradio(), lambda path: "")
    plain = get(page)[1]
    for _ in range(2):
        headers, body = get(page, accept_encoding="gzip, deflate")
        assert headers[b"content-encoding"] == b"gzip"
        assert gzip.decompress(body) == plain
    assert get(page)[1] == plain


@pytest.mark.parametrize(
    "asks",
    [
        {"query": b"model=tiny"},  # a link with settings
        {"cookie": "access-token=1"},  # may be signed in
        {"authorization": "Bearer x"},
        {"path": "/theme.css/x"},
        {"method": "HEAD"},
    ],
)
def test_what_may_be_somebodys_own_is_made_anew(asks):
    gradio = Gradio()
    page = IndexPage(gradio, lambda path: "")
    for _ in range(3):
        get(page, **asks)
    assert gradio.asked == 3


@pytest.mark.parametrize("name", ["host", "x_forwarded_host", "x_forwarded_proto"])
def test_another_address_has_another_page(name):
    gradio = Gradio()
    page = IndexPage(gradio, lambda path: "")
    for address in ("one", "two", "one"):
        get(page, **{name: address})
    assert gradio.asked == 2


def test_only_pages_and_the_configuration_are_cached_for_a_few_addresses():
    for gradio, path in ((Gradio(404), "/nothing"), (Gradio(kind=b"text/css"), "/theme.css")):
        page = IndexPage(gradio, lambda path: "")
        for _ in range(2):
            get(page, path)
        assert gradio.asked == 2
    gradio = Gradio(kind=b"application/json")
    page = IndexPage(gradio, lambda path: "")
    assert get(page, "/config") == get(page, "/config")
    for number in range(3 * _CACHED):
        get(page, host=f"host{number}")
        get(page, "/config", host=f"host{number}")
    assert len(page.made) <= _CACHED


def test_what_only_the_api_uses_is_not_on_the_page():
    event = {"targets": [[5, "click"]], "outputs": [4]}
    config = {
        "components": [{"id": block} for block in (1, 2, 3, 4, 5, 6)],
        "dependencies": [
            {**event, "id": 0, "inputs": [2, 3], "api_visibility": "public"},
            {"id": 1, "targets": [[6, "click"]], "inputs": [3], "outputs": [1], "api_visibility": "private"},
        ],
        "layout": {"id": 0, "children": [{"id": 1, "children": [{"id": 2}]}, {"id": 3}, {"id": 4}, {"id": 5}, {"id": 6}]},
        "page": {
            "": {
                "components": [1, 2, 3, 4, 5, 6],
                "dependencies": [0, 1],
                "layout": {"id": 0, "children": [{"id": 1, "children": [{"id": 2}]}, {"id": 4}]},
            }
        },
    }
    page = f"<html><head></head><body><script>window.gradio_config = {json.dumps(config)};</script></body></html>"
    text = rewritten(page, "").partition("window.gradio_config = ")[2].partition(";</script>")[0]
    left = json.loads(text)
    assert [one["id"] for one in left["components"]] == [1, 3, 6]  # 3 is also read by an event of the page
    assert [one["id"] for one in left["dependencies"]] == [1]
    assert left["layout"]["children"] == [{"id": 1, "children": []}, {"id": 3}, {"id": 6}]
    assert left["page"][""]["components"] == [1, 3, 6]
    assert left["page"][""]["dependencies"] == [1]
    assert left["page"][""]["layout"]["children"] == [{"id": 1, "children": []}]
