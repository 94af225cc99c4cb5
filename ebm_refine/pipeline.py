"""The main job: settings in, a stream of frames, one result out.

`run_target` is the one loop that samples a law, whatever made it; `run` is the loop of a loaded model, and what the page, the
command line and the evaluation call; `refine` and `stream` make settings of plain arguments for it.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ebm_refine.catalogue import load
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.targets import BinaryTarget, has_ratio, kernel_for, real_ratios, target_of
from ebm_refine.errors import InputError
from ebm_refine.metrics import run_diagnostics
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.parameters import shorten
from ebm_refine.result import Frame, RefineResult
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.base import Energy
from ebm_refine.samplers.cuda_graphs import Counting, captured
from ebm_refine.samplers.loop import Transition
from ebm_refine.samplers.loop import run as transitions
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.settings import Settings, resolve
from ebm_refine.utils.devices import check_device
from ebm_refine.utils.environment import difference
from ebm_refine.utils.environment import environment as environment_of

FRAME_CHAINS = 64
# A point is two numbers, so frames of points hold more of them.
FRAME_POINTS = 1000


class Law(Energy, Counting, Protocol):
    """What `run_target` samples: an energy that knows its device and counts what it evaluates, and whether it is of points."""

    @property
    def points(self) -> bool: ...


class SampledLaw(NamedTuple):
    """The end of a run of one law, on its device: N chains from `start` to `position` (N, d…), with the sampler's `state`.

    `frames` are the thinned frames, `trace` (frames, N) the energy at them, on the CPU; `diagnostics` are plain numbers.
    """

    start: Tensor
    position: Tensor
    state: Any
    frames: list[Frame]
    trace: Tensor
    diagnostics: dict[str, Any]


def refine(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, label: int | None = None, device: str = "cpu",
           precision: str = "auto", environment: dict[str, Any] | None = None) -> RefineResult:  # fmt: skip
    """Sample a model's energy and give the images before and after.

    model: an embedded name, a folder, a Hub id or a loaded checkpoint. method, eps, n_steps, temperature: None means the
    checkpoint's default for that method. options: the method's further parameters by name. device: "cpu", "cuda" or "cuda:1".
    precision: "fp32" computes the networks in float32; "auto" takes bfloat16 for inner convolutions where the device has it
    natively, and "bf16" requires it. environment: what `settings.json` has under that name; the run is then computed as
    recorded, and an error where that is impossible, so that `refine(**settings)` with all of that file gives the same bits.
    Raises InputError, one sentence, for anything out of range. See `ebm_refine.samplers` for the methods and their papers.
    """
    checkpoint, settings = _settled(model, method=method, eps=eps, n_steps=n_steps, num_images=num_images, seed=seed,
                                    ratio=ratio, beta=beta, temperature=temperature, options=options, label=label)  # fmt: skip
    device, precision = _device_and_precision(checkpoint, device, precision, environment)
    (last,) = deque(run(checkpoint, settings, device, precision, every_step=False), maxlen=1)
    assert isinstance(last, RefineResult)
    return last


def stream(model: str | Path | Checkpoint, method: str | None = None, eps: float | None = None, n_steps: int | None = None,
           num_images: int = 64, seed: int = 0, *, ratio: str = "auto", beta: float = 1.0, temperature: float | None = None,
           options: dict[str, Any] | None = None, label: int | None = None, device: str = "cpu",
           precision: str = "auto", environment: dict[str, Any] | None = None) -> Iterator[Frame | RefineResult]:  # fmt: skip
    """Like `refine`, but yields a Frame after every transition and the RefineResult last. Close it to stop.

    Settings are checked at the call, before the first frame is asked for.
    """
    checkpoint, settings = _settled(model, method=method, eps=eps, n_steps=n_steps, num_images=num_images, seed=seed,
                                    ratio=ratio, beta=beta, temperature=temperature, options=options, label=label)  # fmt: skip
    return run(checkpoint, settings, *_device_and_precision(checkpoint, device, precision, environment))


def _settled(model: str | Path | Checkpoint, **arguments: Any) -> tuple[Checkpoint, Settings]:
    checkpoint = load(model)
    return checkpoint, resolve(checkpoint.name, checkpoint.config, **arguments)


def _device_and_precision(checkpoint: Checkpoint, device: str, precision: str, recorded: Any) -> tuple[str, str]:
    """Device and precision of a run, those of a record where there is one. Raises InputError where it cannot be repeated."""
    if recorded is None:
        return device, precision
    if not isinstance(recorded, dict) or not all(isinstance(recorded.get(name), str) for name in ("device", "precision")):
        raise InputError(f"environment must be the entry of that name in a settings.json; got {shorten(recorded)}")
    # A GPU by its number is as good as the first one; its kind is compared.
    device = device if device.partition(":")[0] == recorded["device"] else recorded["device"]
    precision = recorded["precision"]
    check_device(device)
    checkpoint.dtype_for(precision, device)
    if found := difference(recorded, environment_of(device, precision, checkpoint.fingerprint)):
        raise InputError(f"this run cannot be repeated to the bit: {found}")
    return device, precision


def run(
    checkpoint: Checkpoint,
    settings: Settings,
    device: str = "cpu",
    precision: str = "auto",
    every_step: bool = True,
    first: int = 0,
) -> Generator[Frame | RefineResult, None, None]:
    """Run checked `settings` on the model that they were made for: a Frame after every transition, the RefineResult last.

    Without `every_step` only the thinned frames come, as each one waits for the device. `first` is the number of the first
    image: runs of parts, each of whole chunks, give the images of one run, save of coupled chains. Raises InputError at the
    call for settings of another model, and for a `device` or `precision` (as of `refine`) that this machine lacks. Close it to
    stop.
    """
    if settings.model != checkpoint.name:
        raise InputError(f"these settings are for model {settings.model!r}; got model {checkpoint.name!r}")
    return _run(checkpoint, settings, check_device(device), checkpoint.dtype_for(precision, device), every_step, first)


def _run(
    checkpoint: Checkpoint, settings: Settings, device: str, dtype: torch.dtype, every_step: bool, first: int
) -> Generator[Frame | RefineResult, None, None]:
    index = torch.arange(first, first + settings.num_images, device=device)
    labels = labels_of(checkpoint.config, settings.seed, index, settings.label)
    target: Any = target_of(checkpoint, settings.ratio, settings.beta, device, dtype, labels)
    real = real_ratios(checkpoint, settings.ratio, settings.beta)
    end: Any = None
    for end in run_target(target, settings, real, every_step, first):
        if isinstance(end, Frame):
            yield end
    assert isinstance(end, SampledLaw)
    energy_before, energy_after = target.energy(end.start).cpu(), target.energy(end.position).cpu()
    ratio_before, ratio_after = (_ratio(checkpoint, settings, one, device, dtype, labels) for one in (end.start, end.position))
    # Bits are sampled in float32 throughout: there is no convolution to cast.
    precision = "fp32" if dtype == torch.float32 or isinstance(target, BinaryTarget) else "bf16"
    diagnostics = {
        "precision": precision,
        "mean_energy_before": float(energy_before.mean()),
        "mean_energy_after": float(energy_after.mean()),
        **run_diagnostics.mean_ratios(ratio_before, ratio_after),
        **end.diagnostics,
    }
    if "coupling" not in diagnostics:
        diagnostics |= run_diagnostics.distance_to_law(target, end.state, settings.values.get("temperature", 1.0))
    if settings.ignored:
        diagnostics["ignored"] = f"method {settings.method} does not use {', '.join(settings.ignored)}"
    yield RefineResult(
        before=target.decode(end.start),
        after=target.decode(end.position),
        energy_before=energy_before,
        energy_after=energy_after,
        ratio_before=ratio_before,
        ratio_after=ratio_after,
        positions=end.position.cpu(),
        frames=end.frames,
        energy_trace=end.trace,
        trace_steps=[frame.step for frame in end.frames],
        diagnostics=diagnostics,
        settings=settings,
        checkpoint=checkpoint,
        labels=None if labels is None else labels.cpu(),
        environment=environment_of(device, precision, checkpoint.fingerprint),
    )


def run_target(
    target: Law, settings: Settings, real: Tensor | None = None, every_step: bool = True, first: int = 0
) -> Generator[Frame | SampledLaw, None, None]:
    """Sample the law exp(-energy) of `target` with the method of `settings`: frames, then the end. Close it to stop.

    Of `settings` the method with its values, the seed and the number of chains are read; what model, ratio and beta they name
    is the business of whoever made the target. `real` (R,) are beta * r of held-out real images, where there are any. Without
    `every_step` only the thinned frames come. `first` is the number of the first chain.
    """
    forwards, gradients = target.forwards, target.gradients
    index = torch.arange(first, first + settings.num_images, device=target.device)
    start = target.start(Draws(settings.seed, index, 0), Stream.INIT)
    kernel = captured(kernel_for(target, METHODS[settings.method].build, settings.values, settings.seed, real), target)
    learning = {"pilot_forwards": target.forwards - forwards, "pilot_gradients": target.gradients - gradients}
    forwards, gradients = target.forwards, target.gradients
    frames: list[Frame] = []
    trace: list[Tensor] = []
    accepted, nonfinite = torch.zeros(2, dtype=torch.int64, device=target.device)
    made = 0
    for raw in transitions(kernel, start, settings.seed, index, settings.n_steps):
        accepted = accepted + raw.accepted.sum()
        nonfinite = nonfinite + raw.nonfinite.sum()
        made += len(start) if raw.step else 0
        if not (every_step or raw.keep):
            continue
        frame = _frame(raw, settings, target)
        if raw.keep:
            frames.append(frame)
            trace.append(raw.state.energy.cpu())
        yield frame
    # Counted before anything is evaluated for a report alone.
    forwards, gradients = target.forwards - forwards, target.gradients - gradients
    position, energies = raw.state.position, torch.stack(trace)
    diagnostics = {
        "steps": raw.step,
        "accepted_share": int(accepted) / max(made, 1),
        "nonfinite_proposals": int(nonfinite),
        "forwards_per_image": forwards / settings.num_images,
        "gradients_per_image": gradients / settings.num_images,
        **{name: count for name, count in learning.items() if count},
        "mean_move": float((position - start).flatten(1).norm(dim=1).mean()),
        **run_diagnostics.gradient_norms(frames[0].gradient_norm, frames[-1].gradient_norm),
        **kernel.summary(raw.state),
        **run_diagnostics.convergence(settings.method, energies, [frame.step for frame in frames]),
    }
    yield SampledLaw(start, position, raw.state, frames, energies, diagnostics)


def _ratio(
    checkpoint: Checkpoint, settings: Settings, position: Tensor, device: str, dtype: torch.dtype, labels: Tensor | None
) -> Tensor | None:
    """r itself (N,) at the positions, or None for a model that has none."""
    plain: Any = target_of(checkpoint, settings.ratio, 1.0, device, dtype, labels)
    return plain.log_ratio(position).cpu() if has_ratio(plain) else None


def _frame(raw: Transition, settings: Settings, target: Any) -> Frame:
    shown = FRAME_POINTS if target.points else FRAME_CHAINS
    position, energy = raw.state.position[:shown], raw.state.energy[:shown]
    ratio = torch.full_like(energy, math.nan)
    if has_ratio(target) and settings.beta:
        ratio = (target.prior_energy(position) - energy) / settings.beta
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
