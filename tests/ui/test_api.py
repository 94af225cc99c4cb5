"""The HTTP interface: its schema, right answers, every kind of bad input in one sentence, stopping, queueing, hostile calls."""

import gc
import io
import itertools
import json
import math
import random
import statistics
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import seconds_until, served_tiny, served_tiny_apart, workers

import ebm_refine
from ebm_refine import render
from ebm_refine.result import Frame
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.gradio_patches import Page

SCHEMA = Path(__file__).parent / "api_schema.json"
LONG = {"model": "tiny", "n_steps": 10_000, "num_images": 4}  # as much as one call may ask for
HTTP = httpx.Client(timeout=30)
STORED_VISITORS = 16  # fewer than the page keeps, so that a leak shows after fewer calls


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served_tiny(tmp_path_factory.mktemp("api"), state_session_capacity=STORED_VISITORS) as where:
        yield where


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


def call(address: str, body: Any, path: str = "call/refine") -> dict[str, Any]:
    """One raw HTTP call: {"data": …} where it was answered, {"error": sentence} where it was refused."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    joined = HTTP.post(f"{address}gradio_api/{path}", content=content, headers={"content-type": "application/json"})
    if joined.status_code != 200:
        assert 400 <= joined.status_code < 500 or joined.status_code == 503, joined.text
        return {"status": joined.status_code, "error": json.dumps(joined.json()["detail"])}
    name = path.rpartition("/")[2]
    with HTTP.stream("GET", f"{address}gradio_api/call/{name}/{joined.json()['event_id']}") as events:
        lines = [line for line in events.iter_lines() if line]
    kind, data = lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))
    return {"data": data} if kind == "complete" else {"error": data["error"]}


def refusal(address: str, *values: Any) -> str:
    """The sentence with which `/refine` refuses these values, given in order, the rest left at harmless ones."""
    harmless = ["tiny", None, None, 1, 2, 0, "auto", None]
    return call(address, {"data": [*values, *harmless[len(values) :]]})["error"]


def test_schema_is_the_committed_one(client):
    live = client.view_api(return_format="dict", print_info=False)
    assert live == json.loads(SCHEMA.read_text()), f"if the change is meant, write the live schema to {SCHEMA.name}"


def test_status_and_models(client, address):
    status = client.predict(api_name="/status")
    assert status["ready"] is True
    assert status["version"] == ebm_refine.__version__
    assert status["queue"] == {"waiting": 0, "max_waiting": limits.MAX_WAITING}
    assert status["limits"]["num_images"] == limits.MAX_IMAGES
    (model,) = client.predict(api_name="/models")
    assert model["name"] == "tiny"  # the extractor beside it cannot be refined
    by_events = call(address, {"data": []}, "call/models")["data"]
    assert by_events == HTTP.post(f"{address}gradio_api/run/models", json={"data": []}).json()["data"] == [[model]]
    assert {"langevin", "rejection"} <= set(model["methods"])
    rows = {row["name"]: row for row in model["methods"]["langevin"]["parameters"]}
    assert rows["eps"]["allowed"] == "a number from 1e-09 to 10"


def test_refine_gives_what_the_library_gives(client, address):
    before, after, metrics, bundle = client.predict("tiny", "langevin", 0.02, 3, 6, 7, "raw", {"beta": 0.5}, api_name="/refine")
    result = ebm_refine.refine("tiny", "langevin", 0.02, 3, 6, 7, ratio="raw", beta=0.5)
    for path, images in ((before, result.before), (after, result.after)):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(render.grid(images)))
    assert metrics["settings"] == result.settings.as_dict()
    assert metrics["diagnostics"] == result.diagnostics
    assert metrics["num_images"] == 6
    assert metrics["kernel_distance"].keys() == {"before", "after", "difference"}
    with zipfile.ZipFile(bundle) as archive:
        assert sorted(archive.namelist()) == ["after.png", "before.png", "metrics.json", "samples.npz", "settings.json"]
        samples = np.load(io.BytesIO(archive.read("samples.npz")))
        assert np.array_equal(samples["after"], result.after.numpy())
        settings = json.loads(archive.read("settings.json"))
        assert settings.pop("environment").keys() == result.environment.keys()
        assert settings == result.settings.as_dict()


def test_only_the_model_is_needed(client, address):
    metrics = client.predict("tiny", num_images=2, n_steps=1, api_name="/refine")[2]
    assert metrics["settings"]["eps"] == 0.05  # the checkpoint's default
    assert len(call(address, {"model": "tiny", "num_images": 1, "n_steps": 1}, "call/v2/refine")["data"]) == 4


@pytest.mark.slow
def test_progress_is_streamed(client):
    job = client.submit("tiny", n_steps=300, num_images=4, api_name="/refine")
    metrics = job.result(timeout=60)[2]
    steps = [output[2]["step"] for output in job.outputs()[:-1]]
    assert steps == sorted(steps)
    assert metrics["diagnostics"]["steps"] == 300


def test_what_a_run_yields_goes_out_whole_and_only_when_it_changed():
    page, event = Page(), SimpleNamespace(outputs=["film", "status"])

    def sent(*data: Any, final: bool = False) -> list[Any]:
        return page.handle_streaming_diffs(event, list(data), "session", "run", final)

    assert sent({"frames": 1}, "a") == [{"frames": 1}, "a"]
    assert sent({"frames": 2}, "a") == [[["replace", [], {"frames": 2}]], []]
    assert sent({}, "ab") == [[["replace", [], {}]], [["replace", [], "ab"]]]
    assert sent(None, None, final=True) == [{}, "ab"]
    assert not page.pending_diff_streams


NUMBER_EPS = "eps must be a number from 1e-09 to 10; got "


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["tiny", None, math.nan], NUMBER_EPS + "nan"),
        (["tiny", None, math.inf], NUMBER_EPS + "inf"),
        (["tiny", None, True], NUMBER_EPS + "True"),
        (["tiny", None, "0.1"], NUMBER_EPS + "'0.1'"),
        (["tiny", None, [0.1]], NUMBER_EPS + "[0.1]"),
        (["tiny", None, 0], NUMBER_EPS + "0"),
        (["tiny", None, None, 0], "n_steps must be a whole number from 1 to 10000; got 0"),
        (["tiny", None, None, 2.5], "n_steps must be a whole number from 1 to 10000; got 2.5"),
        (["tiny", None, None, 1, None], "num_images must be a whole number from 1 to 50000; got None"),
        (["tiny", None, None, 1, 300], "num_images must be a whole number from 1 to 256 here; got 300"),
        (["tiny", None, None, 1, 2, -1], "seed must be a whole number from 0 to 4294967295; got -1"),
        (["tiny", None, None, 1, 2, 2**70], f"seed must be a whole number from 0 to 4294967295; got {2**70}"),
        (["tiny", None, None, 1, 2, 0, "best"], "ratio must be one of auto, raw, calibrated, isotonic, refitted; got 'best'"),
        (["tiny", None, None, 1, 2, 0, "auto", [1]], "options must be an object of names and values; got [1]"),
        (["tiny", None, None, 1, 2, 0, "auto", {"beta": "1"}], "beta must be a number from 0 to 100; got '1'"),
        ([None], "model must be one of tiny; got None"),
        (["/etc"], "model must be one of tiny; got '/etc'"),
        (["someone/somewhere"], "model must be one of tiny; got 'someone/somewhere'"),
        (["cifar10-features"], "model must be one of tiny; got 'cifar10-features'"),
        (["<b>hi</b>"], "model must be one of tiny; got '&lt;b&gt;hi&lt;/b&gt;'"),
    ],
)
def test_bad_values_are_refused_in_the_librarys_words(address, values, sentence):
    assert refusal(address, *values) == sentence


def test_the_worst_case_is_bounded(address):
    sentence = refusal(address, "tiny", None, None, 200, 256)
    assert sentence == (
        "num_images x n_steps must be at most 40000 here; got 256 x 200 = 51200, so with 256 images n_steps may be at most 156"
    )


@pytest.mark.parametrize(
    ("body", "path", "word"),
    [
        ({"data": []}, "call/refine", "takes 8 values; got 0"),
        ({"data": ["tiny"]}, "call/refine", "takes 8 values; got 1"),
        ({"data": ["tiny", *[None] * 9]}, "call/refine", "takes 8 values; got 10"),
        ({"data": None}, "call/refine", "valid list"),
        ({}, "call/refine", "required"),
        ("[]", "call/refine", "valid dictionary"),
        ("{not json", "call/refine", "JSON"),
        ("{}", "call/v2/refine", "No value provided for required argument: model"),
        ({"model": "tiny", "<i>x</i>": 1}, "call/v2/refine", "&lt;i&gt;x&lt;/i&gt;"),
        ({}, "call/v2/nothing", "no such endpoint"),
        ('{"data": ["tiny", null, 1' + "0" * 5000 + "]}", "call/refine", "error parsing the body"),
    ],
)
def test_malformed_calls_get_a_clear_answer(address, body, path, word):
    assert word in call(address, body, path)["error"]


def test_direct_calls_do_not_pass_by_the_queue(address):
    assert httpx.post(f"{address}gradio_api/run/refine", json={"data": ["tiny"]}).status_code == 404


def test_private_events_cannot_be_called(address, client):
    named = json.loads(SCHEMA.read_text())["named_endpoints"]
    ours = {"/refine", "/models", "/status"}
    energies, laboratory = {"/energy_sample", "/energy_question"}, {"/toy_sample", "/toy_landscape", "/toy_experiments"}
    assert set(named) == ours | energies | laboratory | {"/energy_gan", "/sweep"}
    assert client.view_api(return_format="dict", print_info=False)["unnamed_endpoints"] == {}


class Visitor:
    """Someone who asks for a long run as the page does, with a session and an event stream of their own."""

    def __init__(self, address: str, which: int):
        self.address, self.which, self.session = address, which, f"visitor{random.random()}"
        data = ["tiny", None, None, LONG["n_steps"], LONG["num_images"], 0, "auto", None]
        joined = HTTP.post(
            f"{address}gradio_api/queue/join", json={"data": data, "fn_index": which, "session_hash": self.session}
        )
        self.refused = joined.json().get("detail")
        if not self.refused:
            self.event = joined.json()["event_id"]
            self._stream = HTTP.stream("GET", f"{address}gradio_api/queue/data", params={"session_hash": self.session})
            self._lines = self._stream.__enter__().iter_lines()

    def sees_it_run(self) -> "Visitor":
        next(line for line in self._lines if "process_generating" in line)
        return self

    def cancels(self) -> None:
        body = {"session_hash": self.session, "fn_index": self.which, "event_id": self.event}
        assert HTTP.post(f"{self.address}gradio_api/cancel", json=body).json() == {"success": True}

    def goes_away(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture(scope="module")
def visitor(address) -> Any:
    which = next(one["id"] for one in HTTP.get(f"{address}config").json()["dependencies"] if one["api_name"] == "refine")
    return lambda: Visitor(address, which)


def frames_held() -> int:
    """Moments of chains that this process still has in memory."""
    gc.collect()
    return sum(type(one) is Frame for one in gc.get_objects())


def ends_within_half_a_second(start: Any, end: Any, over: Any = lambda: workers() == 0) -> bool:
    """Whether it does once in three times: a machine that is busy elsewhere is not what is tested."""
    took = []
    for _ in range(3):
        started = start()
        end(started)
        took.append(seconds_until(over, 30))
        assert took[-1] < 30
        if took[-1] < 0.5:
            return True
    return False


@pytest.mark.slow
def test_cancel_ends_the_work_within_half_a_second_and_gives_memory_back(client):
    def start():
        job = client.submit(**LONG, api_name="/refine")
        assert seconds_until(lambda: len(job.outputs()) > 2, 20) < 20
        assert workers() == 1
        return job

    before = frames_held()
    assert ends_within_half_a_second(start, lambda job: job.cancel())
    assert seconds_until(lambda: frames_held() <= before, 5) < 5


@pytest.mark.slow
def test_a_dropped_connection_ends_the_work(visitor):
    """A visitor who goes away frees the lane: the page's own event stream is closed while the chain runs."""
    before = frames_held()
    assert ends_within_half_a_second(lambda: visitor().sees_it_run(), lambda gone: gone.goes_away())
    assert seconds_until(lambda: frames_held() <= before, 5) < 5


@pytest.mark.slow
def test_two_visitors_get_their_own_results(address):
    clients = [Client(address, verbose=False, analytics_enabled=False) for _ in range(2)]
    jobs = [one.submit("tiny", n_steps=40, num_images=4, seed=seed, api_name="/refine") for seed, one in enumerate(clients)]
    for seed, job in enumerate(jobs):
        picture = np.asarray(Image.open(job.result(timeout=60)[1]))
        result = ebm_refine.refine("tiny", n_steps=40, num_images=4, seed=seed)
        assert np.array_equal(picture, np.asarray(render.grid(result.after)))


def waiting(address: str) -> int:
    """By plain HTTP, which the queue's fullness does not touch; the Python client joins the queue even for this."""
    return HTTP.post(f"{address}gradio_api/run/status", json={"data": []}).json()["data"][0]["queue"]["waiting"]


def test_a_full_queue_says_so_and_status_still_answers(client, address, visitor):
    running = visitor().sees_it_run()
    assert client.predict(api_name="/status")["ready"]  # not behind the run
    queue = [visitor() for _ in range(limits.MAX_WAITING)]
    try:
        assert waiting(address) == limits.MAX_WAITING
        assert "Queue is full" in visitor().refused
        with pytest.raises(QueueError, match="Queue is full"):
            client.submit(**LONG, api_name="/refine").result(timeout=20)
        # Who cancels while waiting has left once that is answered, and who closes the page a moment later.
        queue.pop().cancels()
        assert waiting(address) == limits.MAX_WAITING - 1

        def left():
            return waiting(address) == len(queue)

        assert ends_within_half_a_second(queue.pop, lambda gone: gone.goes_away(), left)
        assert workers() == 1  # one lane, and it went on
    finally:
        while queue:
            queue.pop().goes_away()
        running.goes_away()
    assert seconds_until(lambda: workers() == 0 and waiting(address) == 0, 30) < 30


def test_a_mistake_of_ours_is_one_sentence_without_details(address, monkeypatch):
    from ebm_refine.ui.tabs.refine import job as running

    monkeypatch.setattr(running, "_recorded", lambda *_: 1 / 0)
    sentence = call(address, {"data": ["tiny", None, None, 1, 2, 0, "auto", None]})["error"]
    assert sentence == "the run failed because of a bug in this program; see its log"


@pytest.mark.slow
def test_an_endless_run_is_ended(client, monkeypatch):
    monkeypatch.setattr(limits, "MAX_SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(AppError, match="stopped after 1 seconds"):
        client.predict(**LONG, api_name="/refine")
    assert time.monotonic() - began < 5
    assert seconds_until(lambda: workers() == 0, 5) < 0.5


# --- 500 hostile calls, made from the schema -------------------------------------------------------------------------------

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**200),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["<script>alert(1)</script>", "../../etc/passwd", "nan", "0", "\x00", "𝒛", "'; DROP TABLE"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.floats(), max_size=3),
)
# What the schema's types allow, kept small where a right value costs time.
FITTING = {
    "model": st.just("tiny"),
    "method": st.sampled_from(["langevin", "rejection", None]),
    "eps": st.one_of(st.none(), st.floats(1e-9, 10)),
    "n_steps": st.integers(1, 2),
    "num_images": st.integers(1, 3),
    "seed": st.integers(0, 2**32 - 1),
    "ratio": st.sampled_from(["auto", "raw", "calibrated"]),
    "options": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"beta": st.floats(0, 100)})),
}


def test_schema_names_what_the_hostile_calls_are_made_of():
    parameters = json.loads(SCHEMA.read_text())["named_endpoints"]["/refine"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == list(FITTING)


@st.composite
def bodies(draw) -> tuple[str, Any]:
    """A path and a body: fitting values with up to three of them replaced by junk, items missing or too many."""
    values = {name: draw(strategy) for name, strategy in FITTING.items()}
    for name in draw(st.lists(st.sampled_from(list(FITTING)), min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3)):
        values[name] = draw(JUNK)
    if values["num_images"] is True:  # an int to JSON's eye
        values["num_images"] = "true"
    way = draw(st.sampled_from(["all", "all", "short", "long", "named"]))
    if way == "named":
        kept = draw(st.sets(st.sampled_from(list(FITTING))))
        return "call/v2/refine", {name: values[name] for name in kept | {"n_steps", "num_images"}}
    data = list(values.values())
    # Few visitors, who come again: a new one costs the server fifty milliseconds, and `test_memory_is_flat` has those.
    visitor = {"session_hash": f"hostile{draw(st.integers(0, 7))}"}
    cut = {"all": data, "short": data[: draw(st.integers(0, 7))], "long": [*data, draw(JUNK)]}
    return "call/refine", {"data": cut[way], **visitor}


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """In the tests' own process all that other tests have left would be measured with it."""
    with served_tiny_apart(tmp_path_factory.mktemp("apart"), STORED_VISITORS) as page:
        yield page


@pytest.mark.slow
def test_hostile_calls(apart):
    address = apart.address
    seen: list[str] = []
    memory: list[float] = []

    @settings(max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies())
    def attack(body):
        path, content = body
        answer = call(address, content, path)
        if "data" in answer:
            before, after, metrics, bundle = answer["data"]
            assert all(file["url"] for file in (before, after, bundle))
            assert metrics["diagnostics"]["steps"] >= 1
            seen.append("answered")
        else:
            sentence = answer["error"]
            assert isinstance(sentence, str)
            assert 10 < len(sentence) < 400
            assert "\n" not in sentence
            assert "Traceback" not in sentence
            assert "<" not in sentence
            seen.append("refused")
        if len(seen) % 50 == 0:
            memory.append(apart.resident_mebibytes())

    attack()
    assert len(seen) >= 500
    assert seen.count("answered") >= 25  # the generator is not all junk
    assert seen.count("refused") >= 200
    assert call(address, {"data": ["tiny", None, None, 1, 2, 0, "auto", None]})["data"]
    assert seconds_until(lambda: apart.workers() == 0, 5) < 5
    # 150 calls lie between: a leak of 0.2 a call makes it 30. Calls of many sizes also leave gaps of many sizes, worth 5 to 10.
    grown = statistics.median(memory[-3:]) - statistics.median(memory[4:7])
    assert grown < 20, [round(one) for one in memory]


@pytest.mark.slow
def test_memory_is_flat(apart):
    """The same call over and over: past the visitors whose state is kept, nothing may be left behind.

    The allocator takes memory in jumps of several MiB, at most now and then; a leak takes it in every stretch of calls.
    """
    memory = []
    for calls in (STORED_VISITORS + 5, *[30] * 4):
        for _ in range(calls):
            assert call(apart.address, {"data": ["tiny", "langevin", 0.01, 2, 4, 0, "auto", None]})["data"]
        memory.append(apart.resident_mebibytes())
    grown = [after - before for before, after in itertools.pairwise(memory[1:])]
    assert min(grown) < 1, grown
    assert sum(grown) < 12, grown
