"""A crowd on a page: bystanders who look, and visitors who ask for runs and look around until theirs are done."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

PATIENCE = 600.0  # seconds for which a visitor retries after 503


def client(timeout: float) -> httpx.Client:
    """A client of plain HTTP. It reads no certificates: that takes 26 ms of processor, and a hundred of them at once would be
    timed as the server's."""
    return httpx.Client(timeout=timeout, verify=False)


def asks(http: httpx.Client, address: str) -> list[Any]:
    """The ways to look: the page, the status, the models."""
    return [
        lambda: http.get(address),
        lambda: http.post(f"{address}gradio_api/run/status", json={"data": []}),
        lambda: http.post(f"{address}gradio_api/run/models", json={"data": []}),
    ]


@contextmanager
def looking(address: str) -> Any:
    """A bystander who looks all the time, in turns at the page, the status and the models; gives the seconds of each look."""
    seconds: list[float] = []
    over = threading.Event()

    def look() -> None:
        with client(60) as http:
            while not over.is_set():
                for ask in asks(http, address):
                    began = time.monotonic()
                    ask().raise_for_status()
                    seconds.append(time.monotonic() - began)
                over.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look)
        try:
            yield seconds
        finally:
            over.set()
            looks.result()


class Crowd:
    """Visitors at once: each opens the page, asks for one run, retries after `Retry-After`, and loads pages meanwhile."""

    def __init__(self, address: str, model: str):
        self.address, self.model, self.lock = address, model, threading.Lock()
        config = httpx.get(f"{address}config", timeout=60).json()
        self.which = next(one["id"] for one in config["dependencies"] if one["api_name"] == "refine")
        self.looks: list[float] = []
        self.failed = Counter[str]()
        self.joins = Counter[str]()
        self.times: list[tuple[float, float, float]] = []  # when a run joined, began and ended

    def come(self, visitors: int) -> dict[str, Any]:
        """Let them come, wait until all have gone, and say how long looks and runs took."""
        with ThreadPoolExecutor(2 * visitors) as pool:
            for done in [pool.submit(self._visit, pool, number) for number in range(visitors)]:
                done.result()
        ratios = []
        for joined, start, _ in self.times:
            # The work that was queued before: what runs that joined earlier still took from the lane.
            ahead = [(s, e) for j, s, e in self.times if j < joined]
            work = sum(max(0.0, e - max(s, joined)) for s, e in ahead)
            ratios += [(start - joined) / work] if work > 1 else []
        return {
            "visitors": visitors,
            "looks": quantiles(self.looks),
            "failed_looks": dict(self.failed),
            "joins_by_status": dict(self.joins),
            "runs_done": len(self.times),
            "runs": quantiles([end - start for _, start, end in self.times]),
            "waits": quantiles([start - joined for joined, start, _ in self.times]),
            "longest_wait_over_work_before": round(max(ratios), 2) if ratios else None,
        }

    def _visit(self, pool: ThreadPoolExecutor, number: int) -> None:
        over = threading.Event()
        looks = pool.submit(self._look_around, number, over)
        try:
            with client(300) as http:
                self._run(http, number)
        finally:
            over.set()
            looks.result()

    def _look_around(self, number: int, over: threading.Event) -> None:
        """The page, and every few seconds something of it, until the own run is done."""
        chance = random.Random(number)
        with client(60) as http:
            page, *others = asks(http, self.address)
            ask = page
            while True:
                began = time.monotonic()
                answer = ask()
                with self.lock:
                    self.looks.append(time.monotonic() - began)
                    if answer.status_code != 200:
                        self.failed[str(answer.status_code)] += 1
                if over.wait(chance.uniform(2, 6)):
                    return
                ask = chance.choice([page, *others, *others])

    def _run(self, http: httpx.Client, number: int) -> None:
        session = f"visitor{number}"
        data = [self.model, None, None, None, 16, number, "auto", None]
        body = {"data": data, "fn_index": self.which, "session_hash": session}
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            joined = http.post(f"{self.address}gradio_api/queue/join", json=body)
            with self.lock:
                self.joins[str(joined.status_code)] += 1
            if joined.status_code == 200:
                break
            time.sleep(min(10, int(joined.headers["retry-after"])))
        else:
            return
        began = start = time.monotonic()
        with http.stream("GET", f"{self.address}gradio_api/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                if "process_starts" in line:
                    start = time.monotonic()
                elif "process_completed" in line:
                    assert '"success":true' in line.replace(" ", ""), line[:300]
                    with self.lock:
                        self.times.append((began, start, time.monotonic()))
                    return


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Count, median, 95th percentile and maximum."""
    found = sorted(seconds) or [0.0]
    p50, p95, most = (round(found[min(len(found) - 1, int(share * len(found)))], 3) for share in (0.5, 0.95, 1.0))
    return {"count": len(seconds), "p50_s": p50, "p95_s": p95, "max_s": most}
