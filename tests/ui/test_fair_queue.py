"""Looking never waits for runs; what nobody listens to ends; clients take turns; results stay, memory is bounded."""

import gc
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from conftest import save_tiny_models
from gradio_client import Client
from serving import seconds_until, workers
from test_api import HTTP, LONG, Visitor, call, waiting

from ebm_refine import catalogue
from ebm_refine.errors import InputError
from ebm_refine.samplers import METHODS
from ebm_refine.settings import resolve
from ebm_refine.ui import build, launch
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime import waiting as rules
from ebm_refine.ui.runtime.gradio_patches import fair_queue, sessions
from ebm_refine.ui.runtime.json_bodies import Refused

ABANDONED = {"data": ["tiny", None, None, LONG["n_steps"], LONG["num_images"], 0, "auto", None]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page itself and its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "EMBEDDED", save_tiny_models(tmp_path_factory.mktemp("queue") / "embedded"))
        demo = build()
        _, address, _ = launch(demo, server_name="127.0.0.1", quiet=True, prevent_thread_lock=True)
        yield demo, address
        demo.close()


@pytest.fixture(scope="module")
def address(page) -> str:
    return page[1]


@pytest.fixture(scope="module")
def numbers(address) -> dict[str, Any]:
    """Numbers of the page's events: the public run, the page's own, and one that looks."""
    config = HTTP.get(f"{address}config").json()
    by_id = {one["props"].get("elem_id"): one["id"] for one in config["components"]}
    events = config["dependencies"]
    pressed = next(one for one in events if (by_id["run"], "click") in {tuple(target) for target in one["targets"]})
    clicked = next(one for one in events if (by_id["tile-number"], "input") in {tuple(target) for target in one["targets"]})
    values = {one["id"]: one["props"].get("value") for one in config["components"]}
    return {
        "refine": next(one["id"] for one in events if one["api_name"] == "refine"),
        "run": (pressed["id"], [values.get(which) for which in pressed["inputs"]]),
        "look": clicked["id"],
    }


def joined(address: str, which: int, data: list[Any], session: str) -> dict[str, Any]:
    """What the page's event says at its end."""
    return messages(address, which, data, session)[-1]


def messages(address: str, which: int, data: list[Any], session: str) -> list[dict[str, Any]]:
    """All that an event says, to its end."""
    answer = HTTP.post(f"{address}gradio_api/queue/join", json={"data": data, "fn_index": which, "session_hash": session})
    assert answer.status_code == 200, answer.text
    said = []
    with HTTP.stream("GET", f"{address}gradio_api/queue/data", params={"session_hash": session}) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                said.append(json.loads(line.removeprefix("data: ")))
                if said[-1]["msg"] == "process_completed":
                    return said
    raise AssertionError("the stream ended without an end")


@pytest.mark.slow
def test_abandoned_runs_end_within_five_seconds_and_looking_goes_on(address, numbers):
    """Seventeen posted and abandoned calls filled the queue for 25 minutes."""
    began = time.monotonic()
    answers = [HTTP.post(f"{address}gradio_api/call/refine", json=ABANDONED) for _ in range(17)]
    taken = [one for one in answers if one.status_code == 200]
    for refused in answers[len(taken) :]:
        assert refused.status_code in (429, 503)
        assert "about" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
    looks = []
    for _ in range(5):
        for look in (
            lambda: HTTP.get(address).raise_for_status(),
            lambda: HTTP.post(f"{address}gradio_api/run/status", json={"data": []}).raise_for_status(),
            lambda: joined(address, numbers["look"], [None, 0], "looker"),
            lambda: call(address, {"data": []}, "call/models"),
        ):
            start = time.monotonic()
            look()
            looks.append(time.monotonic() - start)
    assert sorted(looks)[-2] < 1
    assert seconds_until(lambda: workers() == 0 and waiting(address) == 0, 30) < 30
    assert time.monotonic() - began < 5 + 4  # a second or two for a busy machine
    late = HTTP.get(f"{address}gradio_api/call/refine/{taken[-1].json()['event_id']}")
    assert "nobody listened to this run for 4 s" in late.text


@pytest.mark.slow
def test_the_python_client_looks_while_the_queue_is_full(address, numbers):
    visitors = [Visitor(address, numbers["refine"]) for _ in range(limits.MAX_WAITING + 1)]
    try:
        assert seconds_until(lambda: waiting(address) == limits.MAX_WAITING, 10) < 10
        client = Client(address, verbose=False, analytics_enabled=False)
        began = time.monotonic()
        assert client.predict(api_name="/status")["queue"]["waiting"] >= limits.MAX_WAITING
        assert client.predict(api_name="/models")[0]["name"] == "tiny"
        assert time.monotonic() - began < 5
        in_browser = HTTP.post(
            f"{address}gradio_api/queue/join",
            json={**ABANDONED, "fn_index": numbers["refine"], "session_hash": "one more"},
            headers={"sec-fetch-mode": "cors"},
        )
        assert in_browser.status_code == 429  # of a 503 the page would only say that the application is busy
        assert "Queue is full: 16 runs wait, for about" in in_browser.json()["detail"]
    finally:
        for visitor in visitors:
            visitor.goes_away()
    assert seconds_until(lambda: workers() == 0 and waiting(address) == 0, 30) < 30


def test_heavy_looks_leave_threads_to_everybody_else(page, numbers, monkeypatch):
    """Looks have no lane: computing, they could take every thread that pages, direct calls and runs need."""
    demo, address = page
    monkeypatch.setattr(rules, "MAX_LOOKING", 3)
    go, computing, most = threading.Event(), [0], [0]

    def heavy(*values):
        computing[0] += 1
        most[0] = max(most[0], computing[0])
        go.wait(30)
        computing[0] -= 1
        raise InputError("looked long enough")

    monkeypatch.setattr(demo.fns[numbers["look"]], "fn", heavy)
    with ThreadPoolExecutor(8) as pool:
        try:
            looks = [pool.submit(joined, address, numbers["look"], [None, 0], f"heavy{number}") for number in range(8)]
            assert seconds_until(lambda: computing[0] == 3, 20) < 20
            assert HTTP.get(address).status_code == 200
            assert HTTP.post(f"{address}gradio_api/run/status", json={"data": []}).status_code == 200
            assert call(address, {"data": ["tiny", None, None, 1, 2, 0, "auto", None]})["data"]  # a run begins beside them
            assert computing[0] == 3
        finally:
            go.set()
        for look in looks:
            look.result()
    assert most[0] == 3
    assert computing[0] == 0


@pytest.mark.slow
def test_results_outlive_other_peoples_calls_and_memory_is_bounded(page, numbers, monkeypatch):
    """Sixty-six questions for the status wiped a visitor's result."""
    demo, address = page
    which, values = numbers["run"]
    assert joined(address, which, values, "owner")["success"]
    for number in range(80):
        answer = HTTP.post(f"{address}gradio_api/run/status", json={"data": [], "session_hash": f"stranger{number}"})
        assert answer.status_code == 200
    answer = joined(address, numbers["look"], [None, 0], "owner")
    assert "of image 0" in json.dumps(answer) or "image 0" in json.dumps(answer).lower()
    holder = demo.state_holder
    holder.delete_all_expired_state()
    assert len(holder.session_data) <= holder.capacity + 5
    assert 100_000 < holder.bytes["owner"] < sessions.LARGEST_RESULT_BYTES
    monkeypatch.setattr(sessions, "MAX_RESULT_BYTES", sessions.LARGEST_RESULT_BYTES + 1)
    with holder.page_open("owner"):
        full = HTTP.post(f"{address}gradio_api/queue/join", json={"data": values, "fn_index": which, "session_hash": "other"})
        assert full.status_code == 503
        assert "fill the memory" in full.json()["detail"]
        assert "owner" in holder.session_data
    assert joined(address, which, values, "other")["success"]  # a page that is closed makes room
    assert "owner" not in holder.session_data


def test_the_end_of_a_run_repeats_nothing_to_the_page(page, numbers, monkeypatch):
    """Gradio ends a generator's event by sending its last update again."""
    _, address = page
    said = messages(address, *numbers["run"], "reader")
    updates = [one["output"]["data"] for one in said if one["msg"] == "process_generating"]
    assert 'class="verdict' in updates[-1][2][0][2]
    assert all(value == {"__type__": "update"} for value in said[-1]["output"]["data"])
    # Callers take what the end says, and so must a page whose reader was too slow for the updates.
    called = joined(address, numbers["refine"], ["tiny", None, None, 1, 2, 0, "auto", None], "caller")
    assert called["output"]["data"][2]["settings"]["model"] == "tiny"
    monkeypatch.setattr(fair_queue, "MAX_UNREAD", 0)
    said = messages(address, *numbers["run"], "slow")
    assert not [one for one in said if one["msg"] == "process_generating"]
    assert 'class="verdict' in said[-1]["output"]["data"][2]


def test_what_forgotten_sessions_held_is_freed(page, monkeypatch):
    """They refer to themselves in circles, and Python collects old objects seldom."""
    demo, _ = page
    holder = demo.state_holder
    circle = [holder["nobody"]]
    circle.append(circle)
    seen = weakref.ref(circle[0])
    del circle
    monkeypatch.setattr(sessions, "GONE_SECONDS", 0.0)
    monkeypatch.setattr(holder, "collected", 0.0)
    gc.disable()
    try:
        holder.delete_all_expired_state()
        assert seen() is None
    finally:
        gc.enable()


def test_what_was_not_fetched_is_forgotten(page, monkeypatch):
    demo, address = page
    monkeypatch.setattr(fair_queue, "STORED_SECONDS", 0.5)
    done = HTTP.post(f"{address}gradio_api/call/status", json={"data": []}).json()["event_id"]
    queue = demo._queue
    assert seconds_until(lambda: done not in queue.pending_messages_per_session, 10) < 10
    gone = HTTP.get(f"{address}gradio_api/call/status/{done}")
    assert gone.status_code == 404
    assert "no such event" in gone.json()["detail"]
    assert not queue.listeners
    assert done not in demo.state_holder.session_data


# --- The rules -------------------------------------------------------------------------------------------------------------


def test_clients_take_turns():
    line = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)]
    assert rules.in_turns(line, lambda one: one[0], []) == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("a", 3)]
    assert rules.in_turns(line, lambda one: one[0], ["a"])[0] == ("b", 1)


def test_a_client_and_an_address_have_so_many_places_and_the_line_so_many_seconds():
    mine = rules.Waiting("me", "8.8.8.8", 10.0)
    rules.admit(mine, [mine] * 3, 5.0)
    with pytest.raises(Refused, match="you have 4 runs waiting; the next may join them in about 5 s") as caught:
        rules.admit(mine, [mine] * 4, 5.0)
    assert caught.value.retry_after == 5
    neighbours = [rules.Waiting(f"tab {number}", "8.8.8.8", 1.0) for number in range(8)]
    with pytest.raises(Refused, match="your address has 8 runs"):
        rules.admit(mine, neighbours, 0.0)
    rules.admit(rules.Waiting("you", None, 1.0), neighbours, 0.0)
    long = [rules.Waiting(f"{number}", None, 120.0) for number in range(8)]
    with pytest.raises(Refused, match="Queue is full: 8 runs wait, for about 960 s together"):
        rules.admit(mine, long, 0.0)
    rules.admit(rules.Waiting("anyone", None, 10_000.0), [], 0.0)


def test_looks_of_one_client_are_bounded():
    rules.admit_look("a", ["b"] * 900)
    with pytest.raises(Refused, match="64 of your requests"):
        rules.admit_look("a", ["a"] * 64)


def test_speed_is_learned_from_long_runs_alone():
    speed = rules.Speed()
    before = speed.seconds(10_000)
    speed.learn(10, 60.0)
    speed.learn(None, 60.0)
    assert speed.seconds(10_000) == before
    for _ in range(20):
        speed.learn(10_000, 100.0)
    assert 100 < speed.seconds(10_000) < 103


# --- Work ------------------------------------------------------------------------------------------------------------------


def priced(method: str, images: int, steps: int, **options: Any) -> float:
    config = json.loads((catalogue.EMBEDDED / "tiny" / "config.json").read_text())
    settings = resolve("tiny", config, method=method, num_images=images, n_steps=steps, options=options, eps=0.1)
    return limits.work_of(limits.check(settings))


def test_everything_that_multiplies_the_work_is_counted(page):
    assert priced("langevin", 10, 20) == 200
    assert priced("hmc", 10, 20, leapfrog=7) == 1400
    assert priced("i-sir", 10, 20, particles=9) == 800
    assert priced("ex2mcmc", 10, 2, particles=9, local_moves=5) == pytest.approx(20 * 10)
    assert priced("tempering", 10, 20, rungs=6) == 1200
    with pytest.raises(InputError, match="num_images x n_steps x 1000 must be at most 40000 here"):
        priced("hmc", 64, 2, leapfrog=1000)


def test_a_pilot_is_work_too(page):
    """Leapfrog 1,000 and 3 images x 2 steps ran for two minutes, most of them in tuning the step."""
    refused = call(page[1], {"data": ["tiny", "hmc", None, 2, 3, 0, "auto", {"leapfrog": 1000}]})
    assert "tuning eps" in refused["error"]


def test_no_default_of_an_embedded_model_is_refused(monkeypatch):
    monkeypatch.setattr(catalogue, "EMBEDDED", catalogue.Path(catalogue.__file__).parent.parent / "checkpoints")
    from ebm_refine.ui.tabs.refine.job import checked, refinable_models

    for name, model in refinable_models().items():
        for method in model.methods:
            assert checked(name, {"method": method}).method in METHODS


def test_bytes_of_what_is_kept():
    base = torch.zeros(1000, dtype=torch.uint8)
    assert sessions.bytes_of({"a": [base[:1], (base[1:2], None)]}) == 2000  # a view keeps the whole
