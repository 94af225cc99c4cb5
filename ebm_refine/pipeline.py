"""The main job: settings in, a stream of frames, one result out."""

import io
import json
import math
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_refine import render
from ebm_refine.catalogue import load
from ebm_refine.checkpoints import Checkpoint
from ebm_refine.files import replacing, writable_folder
from ebm_refine.metrics import diagnostics as chains
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.driver import run
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.settings import Settings, resolve
from ebm_refine.targets import LatentTarget

FRAME_CHAINS = 64
# Convergence is shown from this many recorded steps and chains, of methods whose steps come to rest in a law.
DIAGNOSED_STEPS, DIAGNOSED_CHAINS = 20, 4


class Frame(NamedTuple):
    """The run after `step` of `n_steps` transitions.

    `positions` (K, d…), `energy` and `ratio` (K,) float32 of the first K <= 64 chains, on the CPU; `mean_energy` and
    `accepted` (a share) are over all of them. `keep` marks the thinned frames that the result records (at most 60).
    """

    step: int
    n_steps: int
    positions: Tensor
    energy: Tensor
    ratio: Tensor
    mean_energy: float
    accepted: float
    keep: bool


@dataclass(frozen=True)
class RefineResult:
    """What a run gave. Images are uint8 (N, C, H, W); energies and log ratios float32 (N,); all on the CPU.

    `ratio_*` are r itself, not beta * r. `positions` (N, d…) are the final positions; `frames` the thinned frames;
    `energy_trace` (frames, N) the energy at `trace_steps`; `diagnostics` plain numbers; `settings` repeats the run.
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

    def decode(self, positions: Tensor) -> Tensor:
        """Images (K, C, H, W) uint8 of positions, such as those of a frame."""
        return decode(self.checkpoint, self.settings.ratio, positions)

    def save(self, folder: str | Path, metrics: dict[str, Any] | None = None) -> Path:
        """Write before.png, after.png, samples.npz, settings.json and metrics.json; the same run gives the same bytes.

        `metrics` are what `metrics.json` holds beside the diagnostics. Raises InputError where `folder` cannot be written.
        """
        folder = writable_folder(folder)
        render.save_png(render.grid(self.before), folder / "before.png")
        render.save_png(render.grid(self.after), folder / "after.png")
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
        _write(folder / "samples.npz", buffer.getvalue())
        _write(folder / "settings.json", _json(self.settings.as_dict()))
        _write(folder / "metrics.json", _json({"diagnostics": self.diagnostics, **(metrics or {})}))
        return folder


def decode(checkpoint: Checkpoint, ratio: str, positions: Tensor, device: str = "cpu") -> Tensor:
    """Images (K, C, H, W) uint8, on the CPU, of positions such as those of a frame. `device` is the run's own."""
    return LatentTarget.of(checkpoint, ratio, device=device).decode(positions.to(device))


def refine(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, device: str = "cpu") -> RefineResult:  # fmt: skip
    """Sample a model's energy and give the images before and after.

    model: an embedded name, a folder, a Hub id or a loaded checkpoint. method, eps, n_steps, temperature: None means the
    checkpoint's default for that method. options: the method's further parameters by name. Raises InputError, one sentence,
    for anything out of range. See `ebm_refine.samplers` for the methods and their papers.
    """
    stages = stream(model, method, eps, n_steps, num_images, seed, ratio=ratio, beta=beta, temperature=temperature,
                    options=options, device=device)  # fmt: skip
    (last,) = deque(stages, maxlen=1)
    assert isinstance(last, RefineResult)
    return last


def stream(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, device: str = "cpu") -> Iterator[Frame | RefineResult]:  # fmt: skip
    """Like `refine`, but yields a Frame after every transition and the RefineResult last. Close it to stop.

    Settings are checked at the call, before the first frame is asked for.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load(model)
    settings = resolve(checkpoint.name, checkpoint.config, method=method, eps=eps, n_steps=n_steps, num_images=num_images,
                       seed=seed, ratio=ratio, beta=beta, temperature=temperature, options=options)  # fmt: skip
    return _run(checkpoint, settings, device)


def _run(checkpoint: Checkpoint, settings: Settings, device: str) -> Generator[Frame | RefineResult, None, None]:
    target = LatentTarget.of(checkpoint, settings.ratio, settings.beta, device)
    index = torch.arange(settings.num_images, device=device)
    start = target.init(settings.seed, index)
    plain = LatentTarget.of(checkpoint, settings.ratio, 1.0, device)
    kernel = METHODS[settings.method].build(target, settings.values, Pilot(target, settings.seed, device))
    frames: list[Frame] = []
    trace: list[Tensor] = []
    accepted = nonfinite = transitions = 0
    for raw in run(kernel, start, settings.seed, index, settings.n_steps):
        accepted += int(raw.accepted.sum())
        nonfinite += int(raw.nonfinite.sum())
        transitions += len(start) if raw.step else 0
        frame = _frame(raw, settings, target)
        if raw.keep:
            frames.append(frame)
            trace.append(raw.state.energy.cpu())
        yield frame
    position = raw.state.position
    summary = kernel.summary(raw.state)
    energy_before, energy_after = target.energy(start).cpu(), target.energy(position).cpu()
    ratio_before, ratio_after = plain.log_ratio(start).cpu(), plain.log_ratio(position).cpu()
    diagnostics = {
        "steps": raw.step,
        "accepted_share": accepted / max(transitions, 1),
        "nonfinite_proposals": nonfinite,
        "forwards_per_image": target.forwards / settings.num_images,
        "gradients_per_image": target.gradients / settings.num_images,
        "mean_energy_before": float(energy_before.mean()),
        "mean_energy_after": float(energy_after.mean()),
        "mean_ratio_before": float(ratio_before.mean()),
        "mean_ratio_after": float(ratio_after.mean()),
        "ratio_warning": "the sampler raises r by construction: a higher mean ratio is not evidence of better images",
        "mean_move": float((position - start).flatten(1).norm(dim=1).mean()),
        **summary,
        **_convergence(settings.method, torch.stack(trace)),
    }
    if settings.ignored:
        diagnostics["ignored"] = f"method {settings.method} does not use {', '.join(settings.ignored)}"
    yield RefineResult(
        before=target.decode(start),
        after=target.decode(position),
        energy_before=energy_before,
        energy_after=energy_after,
        ratio_before=ratio_before,
        ratio_after=ratio_after,
        positions=position.cpu(),
        frames=frames,
        energy_trace=torch.stack(trace),
        trace_steps=[frame.step for frame in frames],
        diagnostics=diagnostics,
        settings=settings,
        checkpoint=checkpoint,
    )


def _convergence(method: str, trace: Tensor) -> dict[str, float]:
    """Split R-hat and ESS of the energies `trace` (frames, N): of the later half, as the earlier one is warm-up.

    Empty for a method without a stationary law, for small runs, and without the extra `diagnostics`; only finite numbers.
    """
    steps, count = trace.shape
    if not METHODS[method].stationary or steps < DIAGNOSED_STEPS or count < DIAGNOSED_CHAINS or not chains.available():
        return {}
    later = trace[steps // 2 :]
    found = {f"energy_{name}": value for name, value in chains.convergence(later)._asdict().items() if math.isfinite(value)}
    return {**found, "energy_draws": later.numel()} if found else {}


def _frame(raw: Any, settings: Settings, target: LatentTarget) -> Frame:
    position, energy = raw.state.position[:FRAME_CHAINS], raw.state.energy[:FRAME_CHAINS]
    ratio = (target.prior_energy(position) - energy) / settings.beta if settings.beta else torch.full_like(energy, math.nan)
    return Frame(
        step=raw.step,
        n_steps=settings.n_steps,
        positions=position.cpu(),
        energy=energy.cpu(),
        ratio=ratio.cpu(),
        mean_energy=float(raw.state.energy.mean()),
        accepted=float(raw.accepted.float().mean()),
        keep=raw.keep,
    )


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
