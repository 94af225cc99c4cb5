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
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.catalogue import load
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.targets import AnyTarget, BinaryTarget, has_ratio, kernel_for, real_ratios, target_of
from ebm_refine.errors import InputError
from ebm_refine.metrics import mcmc as chains
from ebm_refine.metrics.ksd import stein_discrepancy
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cuda_graphs import captured
from ebm_refine.samplers.loop import run
from ebm_refine.settings import Settings, resolve
from ebm_refine.utils.atomic_io import replacing, writable_folder
from ebm_refine.utils.devices import check_device, dtype_for

FRAME_CHAINS = 64
# A point is two numbers, so frames of points hold more of them.
FRAME_POINTS = 1000
# Convergence is shown from this many recorded steps and chains, of methods whose steps come to rest in a law.
DIAGNOSED_STEPS, DIAGNOSED_CHAINS = 20, 4
# Chains whose ends are set against the law by its score: enough of them to say something, few enough to wait for.
STEIN_CHAINS = (16, 1000)


class Frame(NamedTuple):
    """The run after `step` of `n_steps` transitions.

    `positions` (K, d…), `energy` and `ratio` (K,) float32 of the first K chains, on the CPU: up to 64, of points up to 1,000.
    `ratio` is NaN at beta = 0 and where the model has none. `mean_energy`, `accepted` (a share) and `gradient_norm`, the mean
    length of the energy's gradient and NaN for methods that use none, are over all of them. `keep` marks the thinned frames
    that the result records (at most 60). `proposals` (K, d…) are the positions that the last transition offered, `taken` (K,)
    bool whether they were accepted; None of methods that do not take or reject.
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


class Passes(NamedTuple):
    """Positions evaluated: forward passes, those of gradients among them, and gradients."""

    forwards: int
    gradients: int


@dataclass(frozen=True)
class RefineResult:
    """What a run gave, all on the CPU: images uint8 (N, C, H, W) or points float32 (N, d); energies, log ratios float32 (N,).

    `ratio_*` are r itself, not beta * r; None for a model with an energy of its own. `positions` (N, d…) are the final
    positions; `frames` the thinned frames; `energy_trace` (frames, N) the energy at `trace_steps`; `diagnostics` plain numbers;
    `settings` repeats the run; `labels` (N,) int64 are the chains' classes, None of a model without.
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

    def decode(self, positions: Tensor) -> Tensor:
        """Images (K, C, H, W) uint8, or points (K, d) float32, of positions such as those of a frame: of the first K chains."""
        precision = "fp32" if self.diagnostics["precision"] == "fp32" else "auto"
        return decode(self.checkpoint, self.settings, positions, precision=precision)

    def save(self, folder: str | Path, metrics: dict[str, Any] | None = None) -> Path:
        """Write before.png, after.png, samples.npz, settings.json and metrics.json; the same run gives the same bytes.

        `metrics` are what `metrics.json` holds beside the diagnostics. Raises InputError where `folder` cannot be written.
        """
        folder = writable_folder(folder)
        for name, samples in (("before", self.before), ("after", self.after)):
            render.save_png(picture(self.checkpoint.config, samples), folder / f"{name}.png")
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


def decode(
    checkpoint: Checkpoint, settings: Settings, positions: Tensor, device: str = "cpu", precision: str = "auto"
) -> Tensor:
    """Images uint8 or points float32, on the CPU, of positions of a run's first chains; device and precision as of the run."""
    dtype = _dtype(checkpoint, precision, device)
    labels = labels_of(checkpoint.config, settings.seed, torch.arange(len(positions), device=device), settings.label)
    return target_of(checkpoint, settings.ratio, 1.0, device, dtype, labels).decode(positions.to(device))


def picture(config: dict[str, Any], samples: Tensor) -> Image.Image:
    """A grid of a model's images, or a scatter plot of the first two coordinates of its points; `config` is the model's."""
    if not is_points(config):
        return render.grid(samples)
    plane = samples[:, :2] if samples.shape[1] > 1 else torch.cat([samples, torch.zeros_like(samples)], dim=1)
    return render.scatter(plane, config["data"]["range"])


def refine(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, label: int | None = None, device: str = "cpu",
           precision: str = "auto") -> RefineResult:  # fmt: skip
    """Sample a model's energy and give the images before and after.

    model: an embedded name, a folder, a Hub id or a loaded checkpoint. method, eps, n_steps, temperature: None means the
    checkpoint's default for that method. options: the method's further parameters by name. device: "cpu", "cuda" or "cuda:1".
    precision: "fp32" computes the networks in float32; "auto" takes bfloat16 for inner convolutions where the device has it
    natively, and "bf16" insists on that. Raises InputError, one sentence, for anything out of range. See `ebm_refine.samplers`
    for the methods and their papers.
    """
    stages = _checked_run(model, method, eps, n_steps, num_images, seed, ratio, beta, temperature, options, label, device,
                          precision, every_step=False)  # fmt: skip
    (last,) = deque(stages, maxlen=1)
    assert isinstance(last, RefineResult)
    return last


def stream(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, label: int | None = None, device: str = "cpu",
           precision: str = "auto") -> Iterator[Frame | RefineResult]:  # fmt: skip
    """Like `refine`, but yields a Frame after every transition and the RefineResult last. Close it to stop.

    Settings are checked at the call, before the first frame is asked for.
    """
    return _checked_run(model, method, eps, n_steps, num_images, seed, ratio, beta, temperature, options, label, device,
                        precision, every_step=True)  # fmt: skip


def _checked_run(model: Any, method: Any, eps: Any, n_steps: Any, num_images: Any, seed: Any, ratio: Any, beta: Any,
                 temperature: Any, options: Any, label: Any, device: str, precision: str,
                 every_step: bool) -> Generator[Frame | RefineResult, None, None]:  # fmt: skip
    """The checked run. Without `every_step` it yields the frames that are kept only: each one waits for the device."""
    checkpoint = model if isinstance(model, Checkpoint) else load(model)
    settings = resolve(checkpoint.name, checkpoint.config, method=method, eps=eps, n_steps=n_steps, num_images=num_images,
                       seed=seed, ratio=ratio, beta=beta, temperature=temperature, options=options, label=label)  # fmt: skip
    return _run(checkpoint, settings, check_device(device), _dtype(checkpoint, precision, device), every_step)


def _dtype(checkpoint: Checkpoint, precision: str, device: str) -> torch.dtype:
    """What the networks are computed in: own callables always in the number format that they have."""
    if checkpoint.runs_as_given and precision == "bf16":
        raise InputError("precision bf16 is for the networks of a checkpoint: own modules run in the format that they have")
    return dtype_for("fp32" if checkpoint.runs_as_given else precision, device)


def _run(
    checkpoint: Checkpoint, settings: Settings, device: str, dtype: torch.dtype, every_step: bool
) -> Generator[Frame | RefineResult, None, None]:
    index = torch.arange(settings.num_images, device=device)
    labels = labels_of(checkpoint.config, settings.seed, index, settings.label)
    target: Any = target_of(checkpoint, settings.ratio, settings.beta, device, dtype, labels)
    start = target.init(settings.seed, index)
    real = real_ratios(checkpoint, settings.ratio, settings.beta)
    kernel = captured(kernel_for(target, METHODS[settings.method].build, settings.values, settings.seed, real), target)
    learning = Passes(target.forwards, target.gradients)
    frames: list[Frame] = []
    trace: list[Tensor] = []
    accepted, nonfinite = torch.zeros(2, dtype=torch.int64, device=device)
    transitions = 0
    for raw in run(kernel, start, settings.seed, index, settings.n_steps):
        accepted = accepted + raw.accepted.sum()
        nonfinite = nonfinite + raw.nonfinite.sum()
        transitions += len(start) if raw.step else 0
        if not (every_step or raw.keep):
            continue
        frame = _frame(raw, settings, target)
        if raw.keep:
            frames.append(frame)
            trace.append(raw.state.energy.cpu())
        yield frame
    # Counted before anything is evaluated for the report alone.
    chain = Passes(target.forwards - learning.forwards, target.gradients - learning.gradients)
    position = raw.state.position
    summary = kernel.summary(raw.state)
    energy_before, energy_after = target.energy(start).cpu(), target.energy(position).cpu()
    ratio_before, ratio_after = (_ratio(checkpoint, settings, one, device, dtype, labels) for one in (start, position))
    diagnostics = {
        "steps": raw.step,
        # Bits are sampled in float32 throughout: there is no convolution to narrow.
        "precision": "fp32" if dtype == torch.float32 or isinstance(target, BinaryTarget) else "bf16",
        "accepted_share": int(accepted) / max(transitions, 1),
        "nonfinite_proposals": int(nonfinite),
        "forwards_per_image": chain.forwards / settings.num_images,
        "gradients_per_image": chain.gradients / settings.num_images,
        **{f"pilot_{name}": count for name, count in learning._asdict().items() if count},
        "mean_energy_before": float(energy_before.mean()),
        "mean_energy_after": float(energy_after.mean()),
        **_ratio_diagnostics(ratio_before, ratio_after),
        "mean_move": float((position - start).flatten(1).norm(dim=1).mean()),
        **_gradient_norms(frames),
        **summary,
        **_convergence(settings.method, torch.stack(trace), [frame.step for frame in frames]),
        **({} if "coupling" in summary else _stein(target, raw.state, settings.values.get("temperature", 1.0))),
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
        labels=None if labels is None else labels.cpu(),
    )


def _convergence(method: str, trace: Tensor, steps: list[int]) -> dict[str, float]:
    """Split R-hat and ESS of the energies `trace` (frames, N) at `steps`: of the later half, as the earlier one is warm-up.

    Empty for a method without a stationary law, for small runs, and without the extra `diagnostics`; only finite numbers.
    """
    recorded, count = trace.shape
    if not METHODS[method].stationary or recorded < DIAGNOSED_STEPS or count < DIAGNOSED_CHAINS or not chains.available():
        return {}
    later = trace[recorded // 2 :]
    found = {f"energy_{name}": value for name, value in chains.convergence(later)._asdict().items() if math.isfinite(value)}
    return {**found, "energy_draws": later.numel(), "energy_from_step": steps[recorded // 2]} if found else {}


def _gradient_norms(frames: list[Frame]) -> dict[str, float]:
    norms = {"gradient_norm_before": frames[0].gradient_norm, "gradient_norm_after": frames[-1].gradient_norm}
    return {name: norm for name, norm in norms.items() if math.isfinite(norm)}


def _stein(target: AnyTarget, state: Any, temperature: float) -> dict[str, float]:
    """How far the chains' ends are from the law exp(-E / T), by its score; empty for few chains, at T = 0, and for bits."""
    least, most = STEIN_CHAINS
    position = state.position[:most]
    if len(position) < least or not temperature or isinstance(target, BinaryTarget) or target.no_gradient:
        return {}
    grad = state.grad[:most] if hasattr(state, "grad") else target.energy_and_grad(position)[1]
    found = stein_discrepancy(position.flatten(1), -grad.flatten(1) / temperature)
    if not math.isfinite(found.value):
        return {}
    return {"stein_discrepancy": found.value, "stein_null_sd": found.null_sd, "stein_chains": len(position)}


def _ratio(
    checkpoint: Checkpoint, settings: Settings, position: Tensor, device: str, dtype: torch.dtype, labels: Tensor | None
) -> Tensor | None:
    """r itself (N,) at the positions, or None for a model that has none."""
    plain: Any = target_of(checkpoint, settings.ratio, 1.0, device, dtype, labels)
    return plain.log_ratio(position).cpu() if has_ratio(plain) else None


def _ratio_diagnostics(before: Tensor | None, after: Tensor | None) -> dict[str, Any]:
    if before is None or after is None:
        return {
            "energy_warning": "the sampler lowers the energy by construction: a lower mean is not evidence of better samples"
        }
    return {
        "mean_ratio_before": float(before.mean()),
        "mean_ratio_after": float(after.mean()),
        "ratio_warning": "the sampler raises r by construction: a higher mean ratio is not evidence of better images",
    }


def _frame(raw: Any, settings: Settings, target: AnyTarget) -> Frame:
    shown = FRAME_POINTS if target.points else FRAME_CHAINS
    position, energy = raw.state.position[:shown], raw.state.energy[:shown]
    ratio = torch.full_like(energy, math.nan)
    if has_ratio(target) and settings.beta:
        pair: Any = target
        ratio = (pair.prior_energy(position) - energy) / settings.beta
    return Frame(
        step=raw.step,
        n_steps=settings.n_steps,
        positions=position.cpu(),
        energy=energy.cpu(),
        ratio=ratio.cpu(),
        mean_energy=float(raw.state.energy.mean()),
        accepted=float(raw.accepted.float().mean()),
        gradient_norm=float(raw.state.grad.flatten(1).norm(dim=1).mean()) if hasattr(raw.state, "grad") else math.nan,
        keep=raw.keep,
        proposals=None if raw.proposal is None else raw.proposal[:shown].cpu(),
        taken=None if raw.proposal is None else raw.accepted[:shown].cpu(),
    )


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
