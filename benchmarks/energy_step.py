"""Seconds of a training step of an energy over its floor: K forward-plus-gradient passes and one update of the weights.

    python benchmarks/energy_step.py [--batch 128] [--repeats 15] [--out benchmarks/results/energy-step.json]

The floor does nothing else: no replay buffer, no noise, no moves, no clipping, no logging. The step is the one that
`training.energy` runs. Both are timed in turns, in CPU seconds of this process on one thread, which other work on the machine
hardly lengthens; medians are printed with their ratio, as JSON with machine and versions, and written
to --out.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from speed import interleaved, machine

from ebm_refine.models.networks.energy_cnn import EnergyCNN
from ebm_refine.training.algorithms.contrastive_divergence import (
    EnergyRecipe,
    ReplayBuffer,
    contrastive_loss,
    diverged,
    energy_step,
    source_of,
)
from ebm_refine.training.common.resumable import to_device
from ebm_refine.utils.atomic_io import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = EnergyRecipe(epochs=1, batch_size=chosen.batch)
    network, bare = EnergyCNN(), EnergyCNN()
    for one in (network, bare):
        to_device(one, "cpu")  # as the loop does
    adam, bare_adam = (torch.optim.Adam(one.parameters(), lr=recipe.rate, betas=(0.0, 0.999)) for one in (network, bare))
    buffer = ReplayBuffer(recipe.buffer, (1, 28, 28), recipe.bounds, source_of(0, 0, "cpu"))
    real, fake = 2 * torch.rand(2, chosen.batch, 1, 28, 28) - 1

    def step() -> None:
        numbers = energy_step(network, adam, buffer, recipe, real, source_of(0, 1, "cpu"))
        diverged({name: float(value) for name, value in numbers.items()}, recipe)

    def floor() -> None:
        bare.requires_grad_(False)
        position = fake.clone().requires_grad_()
        for _ in range(recipe.chain_steps):
            torch.autograd.grad(bare(position).sum(), position)
        bare.requires_grad_(True)
        loss, _ = contrastive_loss(bare, real, fake, recipe.alpha)
        bare_adam.zero_grad(set_to_none=True)
        loss.backward()
        bare_adam.step()

    seconds = interleaved({"floor": floor, "step": step}, chosen.repeats, clock=time.process_time)
    ratio = round(seconds["step"] / seconds["floor"], 3)
    results = {"batch": chosen.batch, "repeats": chosen.repeats, "mcmc_steps": recipe.chain_steps, "cpu_seconds": seconds,
            "step_over_floor": ratio, **machine()}  # fmt: skip
    print(json.dumps(results, indent=1))
    if chosen.out is not None:
        with replacing(chosen.out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
