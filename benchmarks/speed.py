"""What a sampling step costs beside its floor and its peers, interleaved in one run; then whole runs, memory and start-up.

    pip install --no-deps torchebm==0.8.9 ebmkit==0.16.0        # the peers; without them their columns stay empty
    python benchmarks/speed.py [--model cifar10-dcgan] [--device cpu] [--repeats 15] [--only steps]

For each batch, in turns, medians in seconds: `floor`, generator, discriminator and gradient to z of the networks as they are
stored, all at once; `step_bare`, our Langevin step on them; `gradient`, energy and gradient of the prepared networks in exact
float32, in chunks; `step`, a transition of `ebm_refine.stream` on these, with noise, driver and bookkeeping; `step_idle`, the
same of networks that cost nothing; `step_bf16` where the device has it; `mala`; the peers' steps on the same energy, bare as
they take it. JSON goes to standard output with machine and versions, progress to standard error.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers import peers, versions
from startup import page, parts
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import ebm_refine
from ebm_refine.energies.density_ratio import LogRatio
from ebm_refine.energies.targets import LatentTarget, target_of
from ebm_refine.evaluation.jobs import evaluate, plan
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers.langevin import langevin
from ebm_refine.samplers.mala import mala
from ebm_refine.samplers.rng import Draws
from ebm_refine.utils.devices import check_device, has_bfloat16, processor

BATCHES = {"cpu": (1, 16, 64, 256), "cuda": (1, 16, 64, 256, 1024, 4096)}
EPS = 0.01
ENDLESS = 10_000
EVALUATED = 1200
MEMORY_STEPS = (20, 200)
# Dense bfloat16 operations a second, from the makers' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "A10": 125e12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="cifar10-dcgan")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", choices=("steps",), help="leave out whole runs, memory and start-up")
    chosen = parser.parse_args()
    device = check_device(chosen.device)
    checkpoint = ebm_refine.load(chosen.model)
    report: dict[str, Any] = {"model": chosen.model, "device": device, **machine(device), "versions": versions()}
    report["native_bfloat16"] = has_bfloat16(device)
    report["rows"] = [row(checkpoint, device, batch, chosen.repeats) for batch in BATCHES[torch.device(device).type]]
    for one in report["rows"]:
        alone = report["rows"][0]["seconds"]["step_bare"]
        one["one_at_a_time_over_batched"] = round(alone * one["batch"] / one["seconds"]["step_bare"], 2)
    if device != "cpu":
        report["gpu"] = gpu_shares(checkpoint, device, report["rows"][-1])
    if chosen.only is None:
        report["evaluate"] = whole_evaluation(checkpoint, device)
        report["peak_memory_mb"] = {str(steps): peak_memory(chosen.model, steps) for steps in MEMORY_STEPS}
        report["startup"] = {**page(chosen.model), "parts_s": parts(chosen.model)}
    print(json.dumps(report, indent=1))


def row(checkpoint: Checkpoint, device: str, batch: int, repeats: int) -> dict[str, Any]:
    """One batch size: medians and what they are of each other."""
    print(f"batch {batch}", file=sys.stderr, flush=True)
    seconds = interleaved(work(checkpoint, device, batch), repeats, torch.device(device))
    ours = seconds.get("step_bf16", seconds["step"])
    ratios = {f"{name}_over_floor": round(seconds[name] / seconds["floor"], 3) for name in seconds if name != "floor"}
    return {
        "batch": batch,
        "seconds": seconds,
        **ratios,
        "added_to_gradient": round(seconds["step_idle"] / seconds["gradient"], 4),
        **{f"{name}_over_ours": round(seconds[name] / ours, 2) for name in ("torchebm", "ebmkit") if name in seconds},
        **({"ebmkit_mala_over_ours": round(seconds["ebmkit_mala"] / seconds["mala"], 2)} if "ebmkit_mala" in seconds else {}),
    }


def work(checkpoint: Checkpoint, device: str, batch: int) -> dict[str, Callable[[], object]]:
    generator, discriminator = (checkpoint.networks[role].to(device) for role in ("generator", "discriminator"))
    prepared, index = target_of(checkpoint, "raw", device=device), torch.arange(batch, device=device)
    bare = LatentTarget(generator, LogRatio(discriminator), prepared.shape[0], device=device)
    bare.chunk = batch
    z = prepared.init(0, index)
    kernels = {"step_bare": langevin(bare, EPS), "mala": mala(prepared, EPS)}
    states = {name: kernel.init(z) for name, kernel in kernels.items()}

    def energy(position: Tensor) -> Tensor:
        return position.square().sum(dim=1) / 2 - discriminator(generator(position))

    def floor() -> None:
        position = z.clone().requires_grad_()
        torch.autograd.grad(energy(position).sum(), position)

    def step(name: str) -> Callable[[], object]:
        return lambda: kernels[name].step(states[name], Draws(0, index, 1))

    pieces: dict[str, Callable[[], object]] = {
        "floor": floor,
        "step_bare": step("step_bare"),
        "gradient": lambda: prepared.energy_and_grad(z),
        "step": transition(checkpoint, device, batch, "fp32"),
        "step_idle": transition(idle(checkpoint), device, batch, "fp32"),
        "mala": step("mala"),
    }
    if has_bfloat16(device):
        pieces["step_bf16"] = transition(checkpoint, device, batch, "bf16")
    return pieces | peers(energy, z, EPS)


def transition(checkpoint: Checkpoint, device: str, batch: int, precision: str) -> Callable[[], object]:
    frames = ebm_refine.stream(checkpoint, "langevin", EPS, ENDLESS, batch, ratio="raw", device=device, precision=precision)
    next(frames)  # the start
    return lambda: next(frames)


class Nothing(nn.Module):
    """A network that costs next to nothing, but has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1)


def idle(checkpoint: Checkpoint) -> Checkpoint:
    """The same model with networks that compute nothing: what is left of a step is ours."""
    networks = {"generator": nn.Identity(), "discriminator": Nothing()}
    return Checkpoint("idle", Path(), checkpoint.config, networks)


def gpu_shares(checkpoint: Checkpoint, device: str, row: dict[str, Any]) -> dict[str, Any]:
    """How near the largest batch comes to the device's peak, and what 50,000 images of 1,000 steps would take at that rate."""
    counter = FlopCounterMode(display=False)
    with counter:
        work(checkpoint, device, 1)["floor"]()
    seconds = row["seconds"].get("step_bf16", row["seconds"]["step"]) / row["batch"]
    name = torch.cuda.get_device_name(device)
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    operations = counter.get_total_flops()
    return {
        "operations_an_evaluation": operations,
        "share_of_bf16_peak": None if peak is None else round(operations / seconds / peak, 4),
        "seconds_for_50000_images_of_1000_steps": round(seconds * 5e7, 1),
    }


def whole_evaluation(checkpoint: Checkpoint, device: str) -> dict[str, Any]:
    """`evaluate` from end to end: sampling with the model's own defaults, decoding, features and distances."""
    print("evaluate", file=sys.stderr, flush=True)
    jobs = plan(checkpoint, ["langevin"], EVALUATED, [0], ["raw"])
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        evaluate(checkpoint, jobs, folder, device=device, progress=lambda line: None)
        seconds = time.perf_counter() - began
    return {
        "num_images": EVALUATED,
        "n_steps": jobs[0].n_steps,
        "seconds": round(seconds, 2),
        "images_a_second": round(EVALUATED / seconds, 1),
    }


def peak_memory(model: str, n_steps: int) -> float:
    """Megabytes that a process of its own holds at most while it refines 16 images by `n_steps`."""
    print(f"memory of {n_steps} steps", file=sys.stderr, flush=True)
    code = (
        "import resource, ebm_refine\n"
        f"ebm_refine.refine({model!r}, 'langevin', 0.01, {n_steps}, 16)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return round(int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10), 1)


def interleaved(
    work: dict[str, Callable[[], object]],
    repeats: int,
    device: torch.device | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each piece of work, by `clock`, taken in turns so that a noisy machine disturbs all alike."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 2):
        for name, function in work.items():
            started = clock()
            function()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat >= 2:
                taken[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def machine(device: str = "cpu") -> dict[str, object]:
    return {
        "machine": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
