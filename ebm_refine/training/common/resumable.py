"""What every training run shares: a folder with a resumable state, a log, and files that are never half-written."""

import json
import sys
import time
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.utils.atomic_io import replacing

# The entry of a state that names its run; the version of the code is recorded and printed, not compared.
IDENTITY, VERSION, LINES, SECONDS = "run", "code", "log_lines", "seconds"


class Run:
    """A run's folder: `state.pt` (tensors and plain values only), `log.jsonl`, and whatever pictures the recipe draws.

    `identity` is what the run is of: recipe, seed, steps, data and the like, as plain values. It stands in every state, and a
    state of another identity is rejected at once, so that no weights ship under a seed that they were not trained with.
    """

    def __init__(self, folder: Path, *, resume: bool, identity: dict[str, Any] | None = None, version: str = ""):
        """Raises InputError where the folder cannot be made, holds an unreadable or another run, or any and not `resume`."""
        self.folder = folder
        self.state_file, self.log_file = folder / "state.pt", folder / "log.jsonl"
        self.identity, self.version = identity or {}, version
        self.began, self.earlier, self.sat_before = time.monotonic(), 0.0, True
        self.parts: dict[str, Run] = {}
        if not resume and (self.state_file.exists() or any(folder.glob("*/state.pt"))):  # its own or a phase's
            raise InputError(f"{folder} already holds a run; pass --resume to go on with it, or remove the folder")
        if self.state_file.exists():
            self._check(self._read())
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise InputError(f"the run's folder {str(folder)!r} cannot be made: {error.strerror}") from None

    def part(self, name: str) -> "Run":
        """The run of a phase, in a folder of its own within this one; asked for again, the same."""
        if name not in self.parts:
            self.parts[name] = Run(self.folder / name, resume=True, identity=self.identity, version=self.version)
        return self.parts[name]

    def seconds(self) -> float:
        """How long this run has taken by the clock, phases and earlier sittings with it, these up to their last saved state."""
        return time.monotonic() - self.began + self._of_earlier_sittings()

    def _of_earlier_sittings(self) -> float:
        return self.earlier + sum(part._of_earlier_sittings() for part in self.parts.values())

    def load(self) -> dict[str, Any] | None:
        """The last saved state, or None for a fresh run. What was logged after it is dropped: it will be logged again."""
        state = self._read() if self.state_file.exists() else None
        lines = self.log_file.read_text(errors="replace").splitlines(keepends=True) if self.log_file.exists() else []
        # A state from before logs were counted says nothing of its lines.
        counted = len(lines) if state is not None and LINES not in state else (state or {}).get(LINES, 0)
        if len(lines) > counted:
            with replacing(self.log_file) as temporary:
                temporary.write_text("".join(lines[:counted]))
        # The clock is no part of what a run resumes to.
        seconds = (state or {}).pop(SECONDS, 0.0)
        self.earlier = seconds if self.sat_before else self.earlier
        return state

    def save(self, state: dict[str, Any]) -> None:
        self.sat_before = False  # what is saved from now on holds the time of this sitting
        lines = len(self.log_file.read_bytes().splitlines()) if self.log_file.exists() else 0
        with replacing(self.state_file) as temporary:
            torch.save(
                {**state, IDENTITY: self.identity, VERSION: self.version, LINES: lines, SECONDS: self.seconds()}, temporary
            )

    def log(self, **record: float | int | str) -> None:
        with open(self.log_file, "a") as log:
            log.write(json.dumps(record) + "\n")

    def _read(self) -> dict[str, Any]:
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
            raise InputError(
                f"{self.state_file} is damaged and cannot be read ({type(error).__name__}); remove {self.folder} to begin anew"
            ) from None
        if not isinstance(state, dict):
            raise InputError(f"{self.state_file} holds no training state; remove {self.folder} to begin anew")
        return state

    def _check(self, state: dict[str, Any]) -> None:
        """Refuse a state of another run. Raises InputError with the first entry that differs.

        Versions before this one wrote fewer entries; what a state does not say is not compared.
        """
        if not self.identity:
            return
        if (saved := state.get(IDENTITY)) is None:
            raise InputError(f"{self.folder} holds a run that does not say its recipe, seed and data; remove it to begin anew")
        for name, here in self.identity.items():
            if saved.get(name, here) != here:
                raise InputError(
                    f"{self.folder} holds a run with {name} {shorten(saved[name])}, not {shorten(here)}; "
                    "repeat the command that began it, or name another folder with --runs"
                )
        if (saved_by := state.get(VERSION)) != self.version:
            print(f"going on with {self.version} in {self.folder}, which was saved by {saved_by}", file=sys.stderr)


def to_device(network: nn.Module, device: str, memory_format: torch.memory_format = torch.channels_last) -> None:
    """Move a network in place; channels-last convolutions are faster on both kinds of device."""
    network.to(device)
    network.to(memory_format=memory_format)  # type: ignore[call-overload]


@lru_cache(maxsize=1)
def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of `size` examples in `epoch`: a function of (seed, epoch), so that a run resumes mid-epoch."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
