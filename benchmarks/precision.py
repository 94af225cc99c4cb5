"""Whether bfloat16 inside the networks changes the law that is sampled: r and its gradient against exact float32.

    python benchmarks/precision.py [--model cifar10-dcgan] [--num-images 2000] [--device cpu]

Both formats see the same latents. For each ratio of the model: standard deviation and mean of the difference of r in nats; the
effective sample size of reweighting one law to the other, as a share; the median relative error of r's gradient to the latent;
and the share of proposals that MALA accepts, over the same chains, noise and uniforms, with the standard error of the
difference. A processor without native bfloat16 emulates it, which is slow and computes the same sums of rounded factors.
JSON goes to standard output with machine and versions, progress to standard error.
"""

import argparse
import json
import sys
from typing import Any

import torch
from speed import machine
from torch import Tensor

import ebm_refine
from ebm_refine.energies.density_ratio import available_ratios
from ebm_refine.energies.targets import target_of
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.mala import mala
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.utils.devices import check_device, has_bfloat16

CHAINS, STEPS = 64, 10
FORMATS = (torch.float32, torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="cifar10-dcgan")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-images", type=int, default=2000)
    chosen = parser.parse_args()
    device = check_device(chosen.device)
    checkpoint = ebm_refine.load(chosen.model)
    report: dict[str, Any] = {"model": chosen.model, "weights": checkpoint.hashes, **machine(device)}
    report |= {"native_bfloat16": has_bfloat16(device), "num_images": chosen.num_images, "chains": CHAINS, "steps": STEPS}
    report["ratios"] = {
        ratio: {**difference(checkpoint, ratio, device, chosen.num_images), **acceptance(checkpoint, ratio, device)}
        for ratio in available_ratios(checkpoint.config)
    }
    print(json.dumps(report, indent=1))


def difference(checkpoint: Checkpoint, ratio: str, device: str, count: int) -> dict[str, float]:
    exact, short = (ratio_and_grad(checkpoint, ratio, device, count, dtype) for dtype in FORMATS)
    change = (short[0] - exact[0]).double()
    error = (short[1] - exact[1]).norm(dim=1) / exact[1].norm(dim=1)
    weight = (change - change.max()).exp()
    return {
        "ratio_sd": float(exact[0].std()),
        "difference_sd": float(change.std()),
        "difference_mean": float(change.mean()),
        "effective_sample_share": float(weight.sum().square() / (count * weight.square().sum())),
        "gradient_error_median": float(error.median()),
        "gradient_error_95": float(error.quantile(0.95)),
    }


def ratio_and_grad(checkpoint: Checkpoint, ratio: str, device: str, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """r (N,) at N latents of the prior, and its gradient (N, d); seed 0."""
    target: Any = target_of(checkpoint, ratio, device=device, dtype=dtype)
    position = target.init(0, torch.arange(count, device=device))
    energies, grads = [], []
    for part in position.split(8 * target.chunk):
        energy, grad = target.energy_and_grad(part)
        energies.append(target.prior_energy(part) - energy)
        grads.append(part - grad)  # the prior's gradient is the latent itself
        print(f"{ratio} {dtype}: {sum(map(len, energies))} of {count}", file=sys.stderr, flush=True)
    return torch.cat(energies), torch.cat(grads)


def acceptance(checkpoint: Checkpoint, ratio: str, device: str) -> dict[str, float]:
    """MALA at the step that its pilot finds in float32, the same in both formats."""
    index, shares = torch.arange(CHAINS, device=device), []
    exact = target_of(checkpoint, ratio, device=device)
    eps = Pilot(exact, 0, device).tuned_eps(lambda eps: mala(exact, eps), 0.574)
    for dtype in FORMATS:
        target = target_of(checkpoint, ratio, device=device, dtype=dtype)
        print(f"{ratio} {dtype}: MALA", file=sys.stderr, flush=True)
        *_, last = run(mala(target, eps), target.init(1, index), 1, index, STEPS)
        shares.append((last.state.accepted / last.state.proposals).double())
    change = shares[1] - shares[0]
    return {
        "mala_eps": eps,
        "mala_accepts_fp32": float(shares[0].mean()),
        "mala_accepts_bf16": float(shares[1].mean()),
        "mala_difference_error": float(change.std()) / CHAINS**0.5,
    }


if __name__ == "__main__":
    main()
