"""What a run gives: a frame after every transition, one result at the end, and the five files that the result writes."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.targets import target_of
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.settings import Settings
from ebm_refine.utils.atomic_io import replacing_set


class Frame(NamedTuple):
    """The run after `step` of `n_steps` transitions.

    `positions` (K, d…), `energy` and `ratio` (K,) float32 of the first K chains, on the CPU: up to 64, of points up to 1,000.
    `ratio` is NaN at beta = 0 and where the model has none. `mean_energy`, `accepted` (a share) and `gradient_norm`, the mean
    length of the energy's gradient and NaN for methods that use none, are over all of them. `keep` marks the thinned frames
    that the result records (at most 60). `proposals` (K, d…) are the positions that the last transition proposed, `taken` (K,)
    bool whether they were accepted; None for methods that do not accept or reject.
    """

    step: int
    n_steps: int
    positions: Tensor
    energy: Tensor
    ratio: Tensor
    mean_energy: float
    accepted: float
    gradient_norm: float
    keep: bool
    proposals: Tensor | None = None
    taken: Tensor | None = None


@dataclass(frozen=True)
class RefineResult:
    """What a run gave, all on the CPU: images uint8 (N, C, H, W) or points float32 (N, d); energies, log ratios float32 (N,).

    `ratio_*` are r itself, not beta * r; None for a model with an energy of its own. `positions` (N, d…) are the final
    positions; `frames` the thinned frames; `energy_trace` (frames, N) the energy at `trace_steps`; `diagnostics` plain numbers;
    `settings` repeats the run; `labels` (N,) int64 are the chains' classes, None of a model without. `environment` is
    what its last bits depend on beside the settings (`utils.environment`).
    """

    before: Tensor
    after: Tensor
    energy_before: Tensor
    energy_after: Tensor
    ratio_before: Tensor | None
    ratio_after: Tensor | None
    positions: Tensor
    frames: list[Frame]
    energy_trace: Tensor
    trace_steps: list[int]
    diagnostics: dict[str, Any]
    settings: Settings
    checkpoint: Checkpoint
    labels: Tensor | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def decode(self, positions: Tensor) -> Tensor:
        """Images (K, C, H, W) uint8, or points (K, d) float32, of positions such as those of a frame: of the first K chains."""
        precision = "fp32" if self.diagnostics["precision"] == "fp32" else "auto"
        return decode(self.checkpoint, self.settings, positions, precision=precision)

    def save(self, folder: str | Path, metrics: dict[str, Any] | None = None) -> Path:
        """Write before.png, after.png, samples.npz, settings.json and metrics.json.

        The same run in the same environment gives the same bytes. The files come as one set (`utils.atomic_io.replacing_set`).
        `metrics` are what `metrics.json` holds beside the diagnostics. Raises InputError where `folder` cannot be written.
        """
        arrays: dict[str, Any] = {
            "before": self.before,
            "after": self.after,
            "positions": self.positions,
            "energy_before": self.energy_before,
            "energy_after": self.energy_after,
            "energy_trace": self.energy_trace,
            "trace_steps": torch.tensor(self.trace_steps),
        }
        if self.ratio_before is not None and self.ratio_after is not None:
            arrays |= {"ratio_before": self.ratio_before, "ratio_after": self.ratio_after}
        buffer = io.BytesIO()
        # numpy stamps its archive members with a fixed date, so these bytes are a function of the arrays alone.
        np.savez_compressed(buffer, **{name: value.numpy() for name, value in arrays.items()})
        contents = {
            "before.png": render.png(picture(self.checkpoint.config, self.before)),
            "after.png": render.png(picture(self.checkpoint.config, self.after)),
            "samples.npz": buffer.getvalue(),
            "metrics.json": _json({"diagnostics": self.diagnostics, **(metrics or {})}),
            "settings.json": _json({**self.settings.as_dict(), "environment": self.environment}),
        }
        with replacing_set(Path(folder), contents) as temporary:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
        return Path(folder)


def decode(
    checkpoint: Checkpoint, settings: Settings, positions: Tensor, device: str = "cpu", precision: str = "auto"
) -> Tensor:
    """Images uint8 or points float32, on the CPU, of positions of a run's first chains; device and precision as of the run."""
    dtype = checkpoint.dtype_for(precision, device)
    labels = labels_of(checkpoint.config, settings.seed, torch.arange(len(positions), device=device), settings.label)
    return target_of(checkpoint, settings.ratio, 1.0, device, dtype, labels).decode(positions.to(device))


def picture(config: dict[str, Any], samples: Tensor) -> Image.Image:
    """A grid of a model's images, or a scatter plot of the first two coordinates of its points; `config` is the model's."""
    if not is_points(config):
        return render.grid(samples)
    plane = samples[:, :2] if samples.shape[1] > 1 else torch.cat([samples, torch.zeros_like(samples)], dim=1)
    return render.scatter(plane, config["data"]["range"])


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
