"""The samples of one job of an evaluation: drawn in parts, so that memory is bounded and an interrupted run continues.

Image i depends on (seed, i) alone, and what a method learns comes from a pilot of its own, so that parts are the whole.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ebm_refine.energies.labels import joined_summaries
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.pipeline import run
from ebm_refine.result import RefineResult
from ebm_refine.samplers import METHODS
from ebm_refine.settings import Settings
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.timing import ess_per_second, timed

# A multiple of every chunk's width.
PART = 4096
TELL_EVERY = 20.0


class Sampled(NamedTuple):
    """Samples before and after, (N, …) uint8 images or float32 points, and the run's diagnostics."""

    before: Tensor
    after: Tensor
    diagnostics: dict[str, Any]
    ess_per_second: float | None = None


def sampled_in_parts(
    checkpoint: Checkpoint, job: Settings, device: str, precision: str, record: Path, log: Callable[[str], None]
) -> Sampled:
    """All images of a job. Above PART of them each part is written beside `record`, found there again, and removed at the end.

    Coupled chains are one part. `log` is called with the progress every 20 seconds and after each part.
    """
    if METHODS[job.method].coupled or job.num_images <= PART:
        return _run(checkpoint, job, device, precision, 0, log)
    parts, files = [], []
    for first in range(0, job.num_images, PART):
        count = min(PART, job.num_images - first)
        file = record.with_name(f"{record.stem}-{first}.part.safetensors")
        part = _read(file, count)
        if part is None:
            part = _run(checkpoint, job.changed(num_images=count), device, precision, first, log)
            _write(file, part)
            log(f"{first + count} of {job.num_images} images")
        parts.append(part)
        files.append(file)
    diagnostics = joined_summaries([(part.diagnostics, len(part.before)) for part in parts])
    before, after = torch.cat([part.before for part in parts]), torch.cat([part.after for part in parts])
    for file in files:
        file.unlink(missing_ok=True)
    return Sampled(before, after, diagnostics)


def _run(checkpoint: Checkpoint, job: Settings, device: str, precision: str, first: int, log: Callable[[str], None]) -> Sampled:
    started = said = time.monotonic()
    step_seconds: list[float] = []
    result: Any = None
    for item, seconds in timed(run(checkpoint, job, device, precision, first=first)):
        if isinstance(item, RefineResult):
            result = item
            continue
        if item.step:
            step_seconds.append(seconds)
        if time.monotonic() - said > TELL_EVERY:
            said = time.monotonic()
            log(f"step {item.step}/{item.n_steps}, {said - started:.0f} s")
    return Sampled(result.before, result.after, result.diagnostics, ess_per_second(result.diagnostics, step_seconds))


def _write(file: Path, part: Sampled) -> None:
    with replacing(file) as temporary:
        save_file(
            {"before": part.before.contiguous(), "after": part.after.contiguous()},
            temporary,
            {"diagnostics": json.dumps(part.diagnostics)},
        )


def _read(file: Path, count: int) -> Sampled | None:
    """A part that was written before; None where there is none, or a damaged one."""
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            diagnostics = json.loads((opened.metadata() or {})["diagnostics"])
            sides: Sequence[Tensor] = [opened.get_tensor(name) for name in ("before", "after")]
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    if not isinstance(diagnostics, dict) or any(len(side) != count for side in sides):
        return None
    return Sampled(sides[0], sides[1], diagnostics)
