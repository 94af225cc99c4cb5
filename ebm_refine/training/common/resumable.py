"""What every training run shares: a folder with a resumable state, a log, and files that are never half-written."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ebm_refine.errors import InputError
from ebm_refine.utils.atomic_io import replacing


class Run:
    """A run's folder: `state.pt` (tensors and plain values only), `log.jsonl`, and whatever pictures the recipe draws."""

    def __init__(self, folder: Path, *, resume: bool):
        self.folder = folder
        self.state_file = folder / "state.pt"
        if self.state_file.exists() and not resume:
            raise InputError(f"{folder} already holds a run; pass --resume to go on with it, or remove the folder")
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The last saved state, or None for a fresh run."""
        if not self.state_file.exists():
            return None
        return torch.load(self.state_file, map_location="cpu", weights_only=True)

    def save(self, state: dict[str, Any]) -> None:
        with replacing(self.state_file) as temporary:
            torch.save(state, temporary)

    def log(self, **record: float | int | str) -> None:
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(record) + "\n")


def place(network: nn.Module, device: str, memory_format: torch.memory_format = torch.channels_last) -> None:
    """Move a network in place; channels-last convolutions are faster on both kinds of device."""
    network.to(device)
    network.to(memory_format=memory_format)  # type: ignore[call-overload]


@lru_cache(maxsize=1)
def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of `size` examples in `epoch`: a function of (seed, epoch), so that a run resumes mid-epoch."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
