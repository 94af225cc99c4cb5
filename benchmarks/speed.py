"""Seconds of a Langevin step over the bare forward-plus-gradient of the same networks, interleaved in one run.

    python benchmarks/speed.py [--model cifar10-dcgan] [--repeats 15]

For each batch the floor (generator, discriminator and gradient to z, nothing else), our kernel's step on a bare target, and
the step as the pipeline runs it (networks in chunks of fixed width, padded) are timed in turn; medians are printed, with the
ratio of medians. One image at a time stands beside. JSON goes to standard output with machine and versions.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import ebm_refine
from ebm_refine.density_ratio import LogRatio
from ebm_refine.random import Draws
from ebm_refine.samplers.langevin import langevin
from ebm_refine.targets import LatentTarget

BATCHES = (1, 16, 64, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="cifar10-dcgan")
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    checkpoint = ebm_refine.load(chosen.model)
    generator, discriminator = checkpoint.networks["generator"], checkpoint.networks["discriminator"]
    target = LatentTarget.of(checkpoint, "raw")
    rows = []
    for batch in BATCHES:
        index = torch.arange(batch)
        z = target.init(0, index)
        kernel = langevin(target, eps=0.01)
        state = kernel.init(z)

        def floor(z: torch.Tensor = z) -> None:
            position = z.clone().requires_grad_()
            energy = position.square().sum(1) / 2 - discriminator(generator(position))
            torch.autograd.grad(energy.sum(), position)

        whole = LatentTarget(generator, LogRatio(discriminator), target.dim)
        whole.chunk = batch
        bare = langevin(whole, eps=0.01)
        bare_state = bare.init(z)
        work: dict[str, Callable[[], object]] = {
            "floor": floor,
            "step": lambda bare=bare, s=bare_state, index=index: bare.step(s, Draws(0, index, 1)),
            "step_in_pipeline": lambda kernel=kernel, s=state, index=index: kernel.step(s, Draws(0, index, 1)),
        }
        seconds = interleaved(work, chosen.repeats)
        rows.append({"batch": batch, "seconds": seconds} | {
            f"{name}_over_floor": round(seconds[name] / seconds["floor"], 3) for name in ("step", "step_in_pipeline")
        })  # fmt: skip
    alone = rows[0]["seconds"]["step"]
    for row in rows:
        row["one_at_a_time_over_batched"] = round(alone * row["batch"] / row["seconds"]["step"], 2)
    print(json.dumps({"model": chosen.model, "rows": rows, **machine()}, indent=1))


def interleaved(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each piece of work, taken in turns so that a noisy machine disturbs all alike."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 2):
        for name, function in work.items():
            started = time.perf_counter()
            function()
            if repeat >= 2:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def machine() -> dict[str, object]:
    return {
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    main()
