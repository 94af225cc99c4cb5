"""Bodies that would hurt the server or reach beyond it are bounded while they stream in, and refused in one sentence."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serving import served
from starlette.testclient import TestClient
from test_api import call

from ebm_refine.ui import build
from ebm_refine.ui.runtime import json_bodies, request_guard, uploads
from ebm_refine.ui.runtime.json_bodies import Refused, parsed
from ebm_refine.ui.runtime.visitors import MAX_OPEN_PER_ADDRESS, OpenRequests, public_address

HTTP = httpx.Client(timeout=60)
VALUES = '["tiny", null, null, 1, 1, 0, "auto", %s]'
REMOTE = {"path": "https://example.com/large.bin", "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    from conftest import save_tiny_energies, save_tiny_models

    with served(save_tiny_energies(save_tiny_models(tmp_path_factory.mktemp("guard") / "embedded"))) as where:
        yield where


@pytest.fixture(scope="module")
def events(address) -> dict[str, int]:
    """Numbers of events: the public call, and one that takes a file."""
    config = HTTP.get(f"{address}config").json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    refine = next(one["id"] for one in config["dependencies"] if one["api_name"] == "refine")
    filed = next(one for one in config["dependencies"] if any(kinds[which] == "file" for which in one["inputs"]))
    place = next(at for at, which in enumerate(filed["inputs"]) if kinds[which] == "file")
    return {"refine": refine, "file": filed["id"], "place": place, "values": len(filed["inputs"])}


def sent(address: str, path: str, content: Any, **headers: str) -> httpx.Response:
    return HTTP.post(f"{address}gradio_api/{path}", content=content, headers={"content-type": "application/json", **headers})


def sentence(response: httpx.Response, *statuses: int) -> str:
    """What a refusal says: one sentence, as JSON, with one of these statuses."""
    assert response.status_code in (statuses or (400, 413, 422)), response.text[:300]
    said = response.json()["detail"]
    assert isinstance(said, str)
    assert 10 < len(said) < 300
    assert "\n" not in said
    return said


def on_every_route(which: int, values: str) -> list[tuple[str, str]]:
    """Paths and bodies that bring the same values to a handler."""
    data = f'{{"data": {values}}}'
    named = f'{{"model": "tiny", "n_steps": 1, "num_images": 1, "options": {json.dumps(json.loads(values)[-1])}}}'
    joined = f'{{"data": {values}, "fn_index": {which}, "session_hash": "guard"}}'
    direct = [(f"{kind}/status", data) for kind in ("run", "api", "run/status/..", "call")]
    return [("call/refine", data), ("call/refine/", data), ("call/v2/refine", named), ("queue/join", joined), *direct]


@pytest.mark.parametrize("name", ["options", "deeper"])
@pytest.mark.slow
def test_no_endpoint_takes_files_and_none_is_fetched(address, events, name):
    planted = REMOTE if name == "options" else {"a": [{"b": REMOTE}]}
    for path, body in on_every_route(events["refine"], VALUES % json.dumps(planted)):
        answer = sent(address, path, body)
        if ".." not in path:
            assert "files are not taken here" in sentence(answer, 400), path
    for record in ({"path": "/etc/passwd"}, {"url": "https://example.com/"}, {"path": "x", "meta": None}):
        assert "files are not taken" in sentence(sent(address, "call/refine", json.dumps({"data": ["tiny", record]})), 400)


@pytest.mark.slow
def test_a_file_must_have_been_uploaded(address, events):
    def asked(record: Any) -> httpx.Response:
        data: list[Any] = [None] * events["values"]
        data[events["place"]] = record
        body = {"data": data, "fn_index": events["file"], "session_hash": "guard"}
        return sent(address, "queue/join", json.dumps(body))

    meta = {"_type": "gradio.FileData"}
    said = "a file must be one that was uploaded to this server before"
    for record in (REMOTE, {"path": "/etc/passwd", "meta": meta}, {"path": 3, "meta": meta}, {"url": "https://example.com/"}):
        assert sentence(asked(record), 400) == said
    (path,) = HTTP.post(f"{address}gradio_api/upload", files={"files": ("a.png", b"no picture")}).json()
    own = {"path": path, "meta": meta, "url": f"{address}gradio_api/file={path}", "orig_name": "a.png", "size": 10}
    assert sentence(asked({**own, "url": "https://example.com/a.png"}), 400) == said
    assert asked(own).status_code == 200
    assert asked({"path": path, "meta": meta}).status_code == 200


@pytest.mark.slow
def test_many_values_are_refused_at_once(address, events):
    """Two million empty lists held every other visitor up for 21 seconds."""
    for path, body in on_every_route(events["refine"], VALUES % ("[" + "[]," * 1_500_000 + "[]]"))[:4]:
        began = time.monotonic()
        assert sentence(sent(address, path, body), 413) == "the body must hold at most 4000 values"
        assert time.monotonic() - began < 3


def test_bodies_are_bounded_while_they_stream_in(address):
    def endless(megabytes: int) -> Iterator[bytes]:
        yield b'{"data": ["'
        for _ in range(megabytes):
            yield b"a" * 1_000_000
        yield b'"]}'

    for path in ("call/refine", "call/v2/refine", "queue/join", "run/status", "api/status", "cancel", "reset"):
        assert sentence(sent(address, path, endless(12)), 413) == "the body must be at most 8 MB", path
    whole = b"".join(endless(12))
    assert sentence(sent(address, "call/refine", whole), 413) == "the body must be at most 8 MB"
    assert "at most 5000000 characters" in sentence(sent(address, "call/refine", b"".join(endless(6))), 413)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("NaN", "NaN and infinity are not JSON"),
        ('{"data": NaN}', "NaN and infinity are not JSON"),
        ('{"data": [], "session_hash": -Infinity}', "NaN and infinity are not JSON"),
        ('{"data": [], "fn_index": 1e999}', "NaN and infinity are not JSON"),
        ('{"data": ["tiny", [[[[NaN]]]]]}', "NaN and infinity are not JSON"),
        ('{"data": ["\\ud800"]}', "half of a surrogate pair"),
        ('{"data": [{"\\udfff": 1}]}', "half of a surrogate pair"),
        ("[" * 3000 + "]" * 3000, "nested at most 12 levels"),
        ('{"data": ' + "[" * 12 + "]" * 12 + "}", "nested at most 12 levels"),
        ('{"data": ["tiny"'.encode("utf-16"), "UTF-8"),
        (b'{"data": ["\xff"]}', "UTF-8"),
        ("\ufeff{}", "not JSON"),
        ("", "not JSON"),
        ('{"data": [], "session_hash": "' + "a" * 65 + '"}', "session_hash must have 1 to 64 characters"),
        ('{"data": [], "session_hash": 3}', "session_hash"),
        ('{"data": {}}', "valid list"),
        ('"text"', "body"),
    ],
)
def test_malformed_bodies_get_one_sentence(address, body, said):
    assert said in sentence(sent(address, "call/refine", body))


def test_events_and_endpoints_that_are_none(address):
    for which in (10_000, -1, True, "0", 1.5, [1], None):
        body = json.dumps({"data": [], "fn_index": which, "session_hash": "guard"})
        assert "fn_index" in sentence(sent(address, "queue/join", body), 404, 422)
    for path in ("call/nothing", "call/v2/nothing", "run/nothing", "api/nothing"):
        assert "no such endpoint" in sentence(sent(address, path, '{"data": []}'), 404)
    assert sentence(sent(address, "run/status", '{"data": [1]}'), 422) == "this call takes 0 values; got 1"


@pytest.mark.parametrize(
    "path",
    [
        "deep_link?session_hash=guard", "dev/reload", "proxy=https://example.com/", "file=https://example.com/",
        "file/https://example.com/", "custom_component/a/client/b/c", "runs", "vibe-code",
    ],
)  # fmt: skip
def test_addresses_that_write_or_fetch_are_closed(address, path):
    assert sentence(HTTP.get(f"{address}gradio_api/{path}"), 404) == "this page has no such address"


def test_other_bodies_are_refused(address):
    for path in ("gradio_api/component_server", "gradio_api/process_recording", "gradio_api/stream/1"):
        sentence(HTTP.post(f"{address}{path}", json={}), 404)
    for path in ("login", "", "gradio_api/config", "gradio_api/call", "gradio_api/upload/x"):
        assert "takes no body" in sentence(HTTP.post(f"{address}{path}", json={}), 405)


def test_uploads_are_one_picture_each_and_bounded_in_all(address, monkeypatch):
    where = f"{address}gradio_api/upload"
    many = [("files", (f"{number}.png", b"x")) for number in range(1000)]
    assert sentence(HTTP.post(where, files=many), 413) == "an upload must be one file; this form has 1000 parts"
    large = {"files": ("a.png", bytes(uploads.MAX_FILE + 20_000))}
    assert sentence(HTTP.post(where, files=large), 413) == "the body must be at most 5.01 MB"
    over = {"files": ("a.png", bytes(uploads.MAX_FILE + 1))}
    assert "maximum allowed size" in sentence(HTTP.post(where, files=over), 413)
    assert "multipart/form-data" in sentence(HTTP.post(where, content=b"x"), 415)
    assert HTTP.post(where, files={"files": ("a.png", b"fine")}).status_code == 200
    monkeypatch.setattr(uploads, "MAX_STORED_BYTES", 100)
    full = HTTP.post(where, files={"files": ("a.png", b"fine")})
    assert "space for uploads is full" in sentence(full, 503)
    assert 0 < int(full.headers["retry-after"]) <= uploads.STORED_SECONDS


def test_an_address_has_its_share_of_uploads():
    ledger = uploads.Uploads()
    for _ in range(uploads.MAX_PER_ADDRESS):
        ledger.admit(1, "8.8.8.8")
    with pytest.raises(Refused, match="from your address"):
        ledger.admit(1, "8.8.8.8")
    ledger.admit(1, "8.8.4.4")


def test_whoever_is_refused_harms_nobody(address):
    assert call(address, {"data": json.loads(VALUES % "null")})["data"]


def test_the_application_is_guarded_where_nobody_calls_launch():
    with TestClient(build().app) as client:
        answer = client.post("/gradio_api/call/refine", json={"data": [REMOTE]})
    assert "files are not taken here" in sentence(answer, 400)


@pytest.mark.slow
def test_a_body_that_trickles_is_given_up(monkeypatch):
    monkeypatch.setattr(request_guard, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(request_guard, "DRAIN_SECONDS", 0.2)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/call/refine", "headers": [], "query_string": b""}
    guard = request_guard.RequestGuard(None, build())
    began = time.monotonic()
    asyncio.run(guard(scope, receive, send))
    assert time.monotonic() - began < 3
    assert sent[0]["status"] == 408


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def with_a_file(value) -> bool:
    """Whether a dictionary in `value` describes a file, as Gradio's clients send one."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, dict) and json_bodies.is_file(value)) or any(map(with_a_file, inside))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(JSON)
@example({"url": None})
@pytest.mark.slow
def test_what_is_let_through_is_what_json_says(value):
    body = json.dumps(value).encode()
    try:
        assert parsed(body, lambda whole: whole) == json.loads(body)
    except Refused as refused:
        assert refused.status == (400 if with_a_file(value) else 413)  # a file, or too many levels  # noqa: PT017


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\nul1eEaN-. ', max_size=60).map(str.encode))
def test_anything_else_is_refused_in_one_sentence(body):
    try:
        parsed(body, lambda whole: whole)
    except Refused as refused:
        assert 10 < len(refused.sentence) < 200  # noqa: PT017


def test_marks_within_texts_are_no_values():
    body = json.dumps({"data": ['[{,\\"' * 10_000]}).encode()
    assert parsed(body, lambda whole: whole["data"])
    assert body.count(b",") > json_bodies.MAX_VALUES


def test_addresses():
    assert public_address("8.8.8.8", {"x-forwarded-for": "1.1.1.1"}) == "8.8.8.8"
    assert public_address("10.0.0.1", {"x-forwarded-for": "1.1.1.1, 9.9.9.9, 10.1.2.3"}) == "9.9.9.9"
    assert public_address("127.0.0.1", {}) is None
    assert public_address("10.0.0.1", {"x-forwarded-for": "unknown"}) is None
    assert public_address("2606:4700:1:2:3::1", {}) == public_address("2606:4700:1:2:9::8", {})


def test_open_requests_of_one_address_are_bounded():
    requests = OpenRequests()
    held = [requests.one_more("8.8.8.8") for _ in range(MAX_OPEN_PER_ADDRESS)]
    for one in held:
        one.__enter__()
    with pytest.raises(Refused, match="from your address"), requests.one_more("8.8.8.8"):
        pass
    with requests.one_more("8.8.4.4"), requests.one_more(None):
        pass
    for one in held:
        one.__exit__(None, None, None)
    assert requests.total == 0
    assert not requests.of
