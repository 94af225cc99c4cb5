"""Attack a page of one's own, then crowd it: what bystanders wait, which answers are opaque, what memory is left.

    python benchmarks/attack.py [--calls 10000] [--visitors 50] [--minutes 20] [--out benchmarks/results/attack.json]

Starts `app.py` on a loopback port, runs every model once, and lets a niced process make hostile calls while a bystander looks.
Then visitors come at once: each opens the page, asks for one run, and looks around until it is done. Prints totals as JSON.
"""

import argparse
import json
import os
import platform
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
FILE = {"path": "https://example.com/x", "meta": {"_type": "gradio.FileData"}}
JUNK: list[Any] = [
    None, True, -1, 2**70, 1e308, float("nan"), float("inf"), "", "x" * 10_000, "<script>alert(1)</script>", "../../etc/passwd",
    "\x00", "\ud800", [], [[[[[]]]]], [1] * 300, {}, {"a": {"b": {}}}, FILE, {"url": "https://example.com"}, ["tiny"] * 9,
]  # fmt: skip
RAW = [b"", b"NaN", b"{", b"[" * 20_000, b'{"data": NaN}', b"\xff\xfe", b'{"data": [' + b"[]," * 100_000 + b"1]}", b'"x"']
STRANGE = [
    "deep_link?session_hash=x", "proxy=https://example.com", "file=https://example.com", "file=/etc/passwd", "dev/reload",
    "queue/data?session_hash=none", "call/refine/none", "custom_component/a/client/b/c", "stream/a/b/1/x.ts",
]  # fmt: skip


class Attacker:
    """Makes one hostile call after another, and counts what comes back."""

    def __init__(self, address: str, seed: int = 0):
        self.address, self.random, self.seen = address, random.Random(seed), Counter[str]()
        self.http = httpx.Client(base_url=f"{address}gradio_api/", timeout=60)
        self.opaque: list[str] = []
        info = self.http.get("info").json()["named_endpoints"]
        self.endpoints = {name.strip("/"): len(about["parameters"]) for name, about in info.items()}
        config = httpx.get(f"{address}config", timeout=60).json()
        self.events = {one["id"]: len(one["inputs"]) for one in config["dependencies"]}

    def call(self) -> None:
        """One call of a random kind."""
        kind = self.random.choices(
            ("values", "named", "event", "raw", "get", "upload", "abandoned"), (30, 10, 30, 10, 10, 5, 5)
        )[0]
        try:
            getattr(self, f"_{kind}")()
        except httpx.HTTPError as error:
            self._opaque(f"{kind}: {type(error).__name__}")

    def _junk(self, count: int) -> list[Any]:
        return [self.random.choice(JUNK) for _ in range(count)]

    def _values(self) -> None:
        name, count = self.random.choice(list(self.endpoints.items()))
        count = self.random.choice((count, count, count, 0, count + 1))
        self._posted(f"call/{name}", {"data": self._junk(count)}, f"call/{name}/")

    def _named(self) -> None:
        name = self.random.choice([*self.endpoints, "nothing"])
        keys = self.random.sample(["model", "method", "eps", "seed", "options", "images", "window", "zzz"], 4)
        self._posted(f"call/v2/{name}", dict(zip(keys, self._junk(4), strict=True)), f"call/{name}/")

    def _event(self) -> None:
        which = self.random.choice([*self.events, 10_000, "1", None])
        session = f"attacker{self.random.randrange(500)}"
        body = {"data": self._junk(self.events.get(which, 2)), "fn_index": which, "session_hash": session}  # type: ignore[arg-type]
        body["event_data"] = self.random.choice([None, {"index": "x"}, {"index": [1e9, -1]}, [], FILE])
        self._posted("queue/join", body, None)

    def _raw(self) -> None:
        self._posted(
            self.random.choice(["call/refine", "queue/join", "run/status", "cancel", "reset"]), self.random.choice(RAW), None
        )

    def _get(self) -> None:
        self._answered(self.http.get(self.random.choice(STRANGE)))

    def _upload(self) -> None:
        files = [("files", ("../x.png", b"no picture"))] * self.random.choice((1, 2, 50))
        self._answered(self.http.post("upload", files=files))

    def _abandoned(self) -> None:
        data = [self.random.choice(JUNK[:4]) for _ in range(self.endpoints["refine"])]
        self._answered(self.http.post("call/refine", content=json.dumps({"data": data})))

    def _posted(self, path: str, body: Any, stream: str | None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body)
        answer = self.http.post(path, content=content, headers={"content-type": "application/json"})
        if not self._answered(answer) or stream is None:
            return
        with self.http.stream("GET", stream + answer.json()["event_id"]) as events:
            if events.status_code != 200:
                events.read()
                self._answered(events)
                return
            last = ["", ""]
            for line in events.iter_lines():
                last = [last[1], line] if line else last
        said = json.loads(last[1].removeprefix("data: ") or "null")
        if "error" in last[0] and not (isinstance(said, dict) and isinstance(said.get("error"), str)):
            self._opaque(f"{path}: {last} for {content[:200]!r}")
        else:
            self.seen["answered by events"] += 1

    def _answered(self, answer: httpx.Response) -> bool:
        self.seen[str(answer.status_code)] += 1
        if answer.status_code < 400:
            return answer.status_code == 200
        try:
            said = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            said = None
        unclear = not isinstance(said, str) or len(said) < 8 or "Traceback" in said
        if unclear or (answer.status_code >= 500 and answer.status_code != 503):
            self._opaque(f"{answer.request.url.path}: {answer.status_code} {answer.text[:200]}")
        return False

    def _opaque(self, what: str) -> None:
        self.seen["opaque"] += 1
        self.opaque = [*self.opaque, what][:20]


@contextmanager
def looking(address: str) -> Any:
    """A bystander who looks all the time, in turns at the page, the status and the models; gives the seconds of each look."""
    seconds: list[float] = []
    over = threading.Event()

    def look() -> None:
        with httpx.Client(timeout=60) as http:
            while not over.is_set():
                for ask in (
                    lambda: http.get(address),
                    lambda: http.post(f"{address}gradio_api/run/status", json={"data": []}),
                    lambda: http.post(f"{address}gradio_api/run/models", json={"data": []}),
                ):
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


def visit(address: str, number: int, model: str, ends: dict[str, Any]) -> None:
    """One visitor: a page, a run, and looks until it is done."""
    with httpx.Client(timeout=300) as http:
        session, which = f"visitor{number}", ends["which"]

        def look(ask: Any) -> httpx.Response:
            began = time.monotonic()
            answer = ask()
            with ends["lock"]:
                ends["looks"].append(time.monotonic() - began)
                ends["failed looks"] += answer.status_code != 200
            return answer

        look(lambda: http.get(address))
        data = [model, None, None, None, 16, number, "auto", None]
        joined = http.post(f"{address}gradio_api/queue/join", json={"data": data, "fn_index": which, "session_hash": session})
        began = start = time.monotonic()
        with ends["lock"]:
            ends["runs"][str(joined.status_code)] += 1
        if joined.status_code == 200:
            with http.stream("GET", f"{address}gradio_api/queue/data", params={"session_hash": session}) as events:
                for line in events.iter_lines():
                    if "process_starts" in line:
                        start = time.monotonic()
                    elif "process_completed" in line:
                        with ends["lock"]:
                            ends["times"].append((began, start, time.monotonic()))
                        break
        for _ in range(5):
            look(lambda: http.post(f"{address}gradio_api/run/status", json={"data": []}))


def crowd(address: str, visitors: int, model: str) -> dict[str, Any]:
    """So many visitors at once: how long looks and runs took."""
    config = httpx.get(f"{address}config", timeout=60).json()
    which = next(one["id"] for one in config["dependencies"] if one["api_name"] == "refine")
    ends: dict[str, Any] = {"which": which, "lock": threading.Lock(), "looks": [], "failed looks": 0, "runs": Counter(),
                            "times": []}  # fmt: skip
    with ThreadPoolExecutor(visitors) as pool:
        for done in [pool.submit(visit, address, number, model, ends) for number in range(visitors)]:
            done.result()
    ratios = []
    for joined, start, _ in ends["times"]:
        # The work that was queued before: what runs that joined earlier still took from the lane.
        ahead = [(s, e) for j, s, e in ends["times"] if j < joined]
        work = sum(max(0.0, e - max(s, joined)) for s, e in ahead)
        ratios += [(start - joined) / work] if work > 1 else []
    return {
        "visitors": visitors,
        "looks": quantiles(ends["looks"]),
        "failed_looks": ends["failed looks"],
        "runs_by_status": dict(ends["runs"]),
        "runs": quantiles([end - start for _, start, end in ends["times"]]),
        "waits": quantiles([start - joined for joined, start, _ in ends["times"]]),
        "longest_wait_over_work_before": round(max(ratios), 2) if ratios else None,
    }


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Count, median, 95th percentile and maximum."""
    found = sorted(seconds) or [0.0]
    p50, p95, most = (round(found[min(len(found) - 1, int(share * len(found)))], 3) for share in (0.5, 0.95, 1.0))
    return {"count": len(seconds), "p50_s": p50, "p95_s": p95, "max_s": most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=20.0, help="the attack ends after so long, whatever is left of it")
    parser.add_argument("--model", default="mnist-gan", help="what visitors run")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--attack", help=argparse.SUPPRESS)  # what this program tells its niced child
    chosen = parser.parse_args()
    if chosen.attack:
        attacker, until = Attacker(chosen.attack), time.monotonic() + 60 * chosen.minutes
        made = 0
        while made < chosen.calls and time.monotonic() < until:
            attacker.call()
            made += 1
        print(json.dumps({"calls": made, "answers": dict(attacker.seen), "opaque": attacker.opaque}))
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"attack-{port}.log"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        report = measured(server, f"http://127.0.0.1:{port}/", chosen, log)
    finally:
        server.terminate()
        server.wait(30)
    text = json.dumps(report, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")


def measured(server: Any, address: str, chosen: Any, log: Path) -> dict[str, Any]:
    """The whole campaign against a running server."""
    while server.poll() is None:
        try:
            httpx.get(f"{address}config", timeout=5).raise_for_status()
            break
        except httpx.HTTPError:
            time.sleep(0.5)
    names = httpx.post(f"{address}gradio_api/run/status", json={"data": []}, timeout=60).json()["data"][0]["models"]
    for name in names:  # the first run of a model reads it
        body = json.dumps({"model": name, "num_images": 2, "n_steps": 1})
        answer = httpx.post(
            f"{address}gradio_api/call/v2/refine", content=body, headers={"content-type": "application/json"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        httpx.get(f"{address}gradio_api/call/refine/{answer.json()['event_id']}", timeout=300)
    before, began = resident(server.pid), time.monotonic()
    command = [sys.executable, __file__, "--attack", address, "--calls", str(chosen.calls), "--minutes", str(chosen.minutes)]
    with looking(address) as looks:
        niced = subprocess.run(["nice", "-n", "19", *command], capture_output=True, text=True, check=True)
    attacked = json.loads(niced.stdout.splitlines()[-1])
    seconds = time.monotonic() - began
    time.sleep(90)  # sessions of whoever does not come back are forgotten after a minute
    after = resident(server.pid)
    said = log.read_text(errors="replace")
    return {
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()},
        "attack": {
            **attacked,
            "seconds": round(seconds),
            "tracebacks": said.count("Traceback (most recent call last)"),
            "bystander": quantiles(looks),
            "memory_mb": {"before": before, "after": after, "left": after - before},
        },
        "crowd": crowd(address, chosen.visitors, chosen.model),
    }


def resident(pid: int) -> int:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


if __name__ == "__main__":
    main()
