"""Kill whole commands and start them again: nothing may be half-written, and the end must be that of a run nobody disturbed.

    python benchmarks/kills.py [--commands refine,evaluate,train,search,push] [--kills 20] [--every] [--seed 0] [--out FILE]

`--kills` sends SIGKILL at so many random moments to each command; `--every` kills it before and after each write, flush,
rename, removal, link and request that it makes, with half of the content there where a write is cut short. Models, digits and
the Hub are tiny ones of the tests; the commands are whole and run in processes of their own. Prints totals as JSON.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from killed_commands import COMMANDS, REPO, STUDY, Death, live
from PIL import Image

from ebm_refine.models.checkpoint import load_checkpoint

CLOCKS = ("seconds", "cpu_seconds", "ess_per_second")  # what two equal runs differ in
# A process that forks before any gradient was taken: PyTorch allows no other.
FORKED = multiprocessing.get_context("forkserver")
PRELOADED = [
    *("killed_commands", "optuna", "huggingface_hub", "httpx", "ebm_refine.evaluation.jobs", "ebm_refine.evaluation.sweeps"),
    *("ebm_refine.metrics.features", "ebm_refine.metrics.report", "ebm_refine.training.pipelines.train"),
    *("ebm_refine.training.recipes", "ebm_refine.training.grid_search.search"),
]
# The tiny models and the Hub of the tests.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))


class Killer:
    """Kills one command and looks at what is left. `root` is a folder for its runs, `hub` a stand-in Hub for `push`."""

    def __init__(self, command: str, root: Path, hub: Any = None):
        FORKED.set_forkserver_preload(PRELOADED)
        self.command, self.root, self.hub = command, root, hub
        self.folders = 0
        folder = self.fresh()
        self.run(folder)
        began = time.monotonic()
        self.undisturbed = self.outcome(folder)
        folder = self.fresh()
        began = time.monotonic()
        self.run(folder)
        self.seconds = time.monotonic() - began
        assert self.outcome(folder) == self.undisturbed, "two undisturbed runs differ"
        self.calls = int((folder / "calls").read_text())

    def fresh(self) -> Path:
        """A new folder with the models."""
        from conftest import save_tiny_models

        folder = self.root / f"{self.command}-{self.folders}"
        self.folders += 1
        save_tiny_models(folder / "embedded")
        if self.hub is not None:
            self.hub.repos.clear()
            self.hub.stored.clear()
        return folder

    def run(self, folder: Path, death: Death | None = None, seconds: float | None = None) -> bool:
        """Start the command, kill it after `seconds`; False where it was killed. Raises AssertionError where it failed."""
        url = None if self.hub is None else self.hub.url
        process = FORKED.Process(target=live, args=(self.command, str(folder), url, death))
        process.start()
        process.join(seconds)
        if seconds is not None:
            process.kill()
        process.join(120)
        log = folder / "log"
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text() if log.exists() else process.exitcode
        return process.exitcode == 0

    def killed_at(self, deaths: list[Death]) -> None:
        """One death after the other in one folder, and an undisturbed run at the end."""
        self._resumed(lambda folder: [lambda death=death: self.run(folder, death) for death in deaths])

    def killed_after(self, seconds: list[float]) -> None:
        """The same with a kill from outside after each of `seconds`."""
        self._resumed(lambda folder: [lambda after=after: self.run(folder, seconds=after) for after in seconds])

    def _resumed(self, lives: Callable[[Path], list[Callable[[], bool]]]) -> None:
        folder = self.fresh()
        for one in lives(folder):
            one()
            self.whole(folder)
        assert self.run(folder), "it was killed though nobody did"
        assert self.outcome(folder) == self.undisturbed
        shutil.rmtree(folder)

    def outcome(self, folder: Path) -> Any:
        """What the command is for, without clocks."""
        if self.command == "evaluate":
            return _timeless(json.loads((folder / "out" / "results.json").read_text()))
        if self.command == "search":
            from ebm_refine.training.grid_search.study import read_study

            stored = read_study(folder / "search.journal", STUDY)
            return _timeless(stored.results), stored.queued, _contents(folder / "search" / STUDY)
        if self.command == "push":
            repo = self.hub.repos[REPO]
            return repo.commits[repo.revisions["main"]]
        logs = {str(log.relative_to(folder)): log.read_text() for log in (folder / "runs").rglob("log.jsonl")}
        return _contents(folder / "out"), logs

    def whole(self, folder: Path) -> None:
        """Raises AssertionError where something is half-written."""
        out = folder / "out"
        if self.command == "refine":
            assert _contents(out) in ({}, self.undisturbed[0])
        elif self.command == "evaluate" and out.exists():
            for file in [*out.glob("jobs/[!.]*.json"), *out.glob("[!.]*.json")]:
                json.loads(file.read_text())
            for file in out.rglob("[!.]*.png"):
                Image.open(file).load()
            if (out / "results.json").exists():
                assert self.outcome(folder) == self.undisturbed
        elif self.command == "train":
            for state in (folder / "runs").rglob("state.pt"):
                torch.load(state, weights_only=True)
            for config in out.glob("[!.]*/config.json"):
                load_checkpoint(config.parent)
                assert _contents(out) == self.undisturbed[0]
        elif self.command == "search":
            for file in folder.rglob(f"{STUDY}/[!.]*.png"):
                Image.open(file).load()
        elif self.command == "push" and REPO in self.hub.repos:
            commits = self.hub.repos[REPO].commits
            assert all(commits[name] == self.undisturbed for name in self.hub.repos[REPO].revisions.values())


def _contents(folder: Path, hidden: bool = False) -> dict[str, bytes]:
    """Every file below, by its path; what a killed process left under a temporary name begins with a point."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        name: file.read_bytes() for name, file in files.items() if hidden or "." not in {part[0] for part in Path(name).parts}
    }


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in CLOCKS}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


@contextmanager
def killer(command: str, folder: Path) -> Iterator[Killer]:
    """A Killer, with a stand-in Hub where the command needs one."""
    if command != "push":
        yield Killer(command, folder)
        return
    import hub_server

    with hub_server.running() as hub:
        yield Killer(command, folder, hub)


def every_death(calls: int) -> list[Death]:
    """Before and after each of so many calls."""
    return [Death(moment, before) for moment in range(calls) for before in (True, False)]


def random_moments(kills: int, seconds: float, source: random.Random) -> list[list[float]]:
    """So many kills over runs of `seconds`, four of them on each folder, one after the other."""
    moments = [source.uniform(0.0, 1.1 * seconds) for _ in range(kills)]
    return [moments[first : first + 4] for first in range(0, kills, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    report: dict[str, Any] = {"cpus": os.cpu_count(), "seed": chosen.seed}
    for command in chosen.commands.split(","):
        with tempfile.TemporaryDirectory() as folder, killer(command, Path(folder)) as one:
            began = time.monotonic()
            for moments in random_moments(chosen.kills, one.seconds, random.Random(f"{command}{chosen.seed}")):
                one.killed_after(moments)
            deaths = every_death(one.calls) if chosen.every else []
            for death in deaths:
                one.killed_at([death])
            report[command] = {
                "random_kills": chosen.kills,
                "calls": one.calls,
                "deaths_at_calls": len(deaths),
                "half_written": 0,  # the first one ends this program
                "different_results": 0,
                "seconds": round(time.monotonic() - began),
            }
            print(command, report[command], flush=True)
    print(json.dumps(report, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
