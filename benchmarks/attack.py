"""Attack a page of one's own, then crowd it: what bystanders wait, which answers are opaque, what memory is left.

    python benchmarks/attack.py [--calls 10000] [--visitors 50] [--minutes 20] [--out benchmarks/results/attack.json]

Starts `app.py` on a loopback port, runs every model a few times, and lets a niced process make hostile calls while a bystander
looks. Then visitors come at once (`crowd.py`). Prints totals as JSON.
"""

import argparse
import json
import os
import platform
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from crowd import Crowd, looking, quantiles

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
        names = self.http.post("run/status", json={"data": []}).json()["data"][0]["models"]
        # Right values of /refine, for one image, of which some are replaced: most of the way into the program is behind them.
        self.right = [[name, None, None, 1, 1, 0, "auto", None] for name in names]
        config = httpx.get(f"{address}config", timeout=60).json()
        self.events = {one["id"]: len(one["inputs"]) for one in config["dependencies"]}

    def call(self) -> None:
        """One call of a random kind."""
        kind = self.random.choices(
            ("values", "nearly", "named", "event", "raw", "get", "upload", "abandoned"), (25, 5, 10, 30, 10, 10, 5, 5)
        )[0]
        try:
            getattr(self, f"_{kind}")()
        except httpx.HTTPError as error:
            self._opaque(f"{kind}: {type(error).__name__}")

    def _junk(self, count: int) -> list[Any]:
        return [self.random.choice(JUNK) for _ in range(count)]

    def _nearly(self) -> None:
        data = list(self.random.choice(self.right))
        for _ in range(self.random.choice((0, 1, 1, 2))):
            data[self.random.randrange(len(data))] = self.random.choice(JUNK)
        self._posted("call/refine", {"data": data}, "call/refine/")

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
        data = [self.random.choice(self.right)[0], None, None, None, self.random.choice((1, 16, 300)), 0, "auto", None]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="further runs of every model, after which memory is taken")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=20.0, help="the attack ends after so long, whatever is left of it")
    parser.add_argument("--model", default="mnist-gan", help="what visitors run")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--attack", help=argparse.SUPPRESS)  # what this program tells its niced child
    chosen = parser.parse_args()
    if chosen.attack:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {0})  # one core
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
    report: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "python": platform.python_version()}, "load": {}}

    def found(name: str, what: Any) -> None:
        """Also printed at once: a campaign that is cut short has said what it had."""
        report[name] = what
        report["load"][name] = round(os.getloadavg()[0], 1)
        print(name, json.dumps(what), "load", report["load"][name], file=sys.stderr, flush=True)

    # Resident after every model has run once, after each further round of them, after the attack, and after a last round.
    found("memory_mb_after_every_model", run_all(server.pid, address))  # the first run of a model reads it
    found("memory_mb_after_more_rounds", [run_all(server.pid, address) for _ in range(chosen.rounds)])
    began = time.monotonic()
    command = [sys.executable, __file__, "--attack", address, "--calls", str(chosen.calls), "--minutes", str(chosen.minutes)]
    with looking(address) as looks:
        niced = subprocess.run(["nice", "-n", "19", *command], capture_output=True, text=True, check=True)
    attacked = json.loads(niced.stdout.splitlines()[-1])
    found("attack", {**attacked, "seconds": round(time.monotonic() - began), "bystander": quantiles(looks)})
    time.sleep(90)  # sessions of whoever does not come back are forgotten after a minute
    found("memory_mb_after_attack", resident(server.pid))
    found("memory_mb_after_attack_and_every_model", run_all(server.pid, address))
    if chosen.visitors:
        found("crowd", Crowd(address, chosen.model).come(chosen.visitors))
    found("tracebacks", log.read_text(errors="replace").count("Traceback (most recent call last)"))
    return report


def run_all(pid: int, address: str) -> int:
    """Run every model once, with its default method; gives the megabytes that the server then holds."""
    for name in httpx.post(f"{address}gradio_api/run/status", json={"data": []}, timeout=60).json()["data"][0]["models"]:
        body = json.dumps({"model": name, "num_images": 2, "n_steps": 1})
        answer = httpx.post(
            f"{address}gradio_api/call/v2/refine", content=body, headers={"content-type": "application/json"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        said = httpx.get(f"{address}gradio_api/call/refine/{answer.json()['event_id']}", timeout=300).text
        assert "event: complete" in said, (name, said[-300:])
    return resident(pid)


def resident(pid: int) -> int:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


if __name__ == "__main__":
    main()
