"""What every recipe is given and what it writes down of itself."""

import hashlib
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.training.common.resumable import Run
from ebm_refine.utils.devices import processor


class Job(NamedTuple):
    """What a recipe gets: where the data is, how long to train (None: its own length), and where things go.

    `model` is the one to start from, of a recipe that starts from one.
    """

    data: str | None
    steps: int | None
    seed: int
    device: str
    run: Run
    folder: Path
    model: Checkpoint | None = None


def record(recipe: str, job: Job, steps: int, unit: str, pixels: Tensor) -> dict[str, Any]:
    """The `training` entry of a checkpoint's config: recipe, length, seed, device, time, and a fingerprint of the pixels.

    `minutes` are those of the clock, of all sittings of the run, up to this call.
    """
    device = torch.cuda.get_device_name() if job.device.startswith("cuda") else f"CPU {platform.machine()}"
    return {
        "recipe": recipe,
        "steps": steps,
        "unit": unit,
        "seed": job.seed,
        "device": f"{device}, torch {torch.__version__}",
        "processor": processor(),
        "minutes": round(job.run.seconds() / 60, 1),
        "data": {"images": len(pixels), "sha256": hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()},
        "date": time.strftime("%Y-%m-%d"),
    }


def origin(checkpoint: Checkpoint) -> dict[str, Any]:
    """The card's entry on the pair from which training began: its name, its weights, and how it was trained."""
    hashes = {role: checkpoint.hashes[role] for role in ("generator", "discriminator")}
    names = ("recipe", "steps", "unit", "seed", "device", "date", "begins_at")
    training = checkpoint.config.get("training", {})
    return {"name": checkpoint.name, "sha256": hashes, **{name: training[name] for name in names if name in training}}
