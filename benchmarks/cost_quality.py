"""What a better image costs: the panel's median change against processor time an image, every method and two other libraries.

    pip install --no-deps torchebm==0.8.9 ebmkit==0.16.0        # the peers; without them their points are missing
    python benchmarks/cost_quality.py mnist-gan --data ../shared/data/mnist -> benchmarks/results/MODEL-cost-quality.json, .svg

One run draws the images of every method of the model, with as many steps as --budget gradient evaluations an image pay for, and
of the peers' Langevin samplers on the same energy and ratio, with the step size and number of steps of the first `langevin`.
Peers run as they are used: networks as stored, frozen, batches of 256. Methods take turns, seed by seed, so that a noisy
machine disturbs all alike. Times are those that this process spent on processors (`time.process_time`), not by the clock, since
the machine may be shared: from the seed to the images, pilots included. Each finished part is saved in --runs, so that an
interrupted run continues; an empty folder makes it one run.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cost_picture import drawn
from panel import MOST_REAL, Seen, drawn_part, number, part_file, part_of, row_of, saved, within
from peers import chains, versions
from speed import machine
from table import best_ratio
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.density_ratio import log_ratio
from ebm_refine.energies.priors import of_normal
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers.cost import spent
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import dtype_for

PEER_BATCH = 256
PEERS = ("torchebm", "ebmkit")
WARM_UP = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--num-images", type=int, default=500, help="images a seed")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--budget", type=float, default=25, help="gradient evaluations an image")
    parser.add_argument("--split", default="test")
    parser.add_argument("--runs", type=Path, default=Path("runs/cost-quality"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    specs = within(checkpoint, chosen.budget)
    langevin = next(spec for spec in specs if spec.startswith("langevin:"))
    drawn_part(checkpoint, langevin, seeds[0], WARM_UP)  # what is prepared once a process is not the first method's cost
    made: dict[str, list[dict[str, Any]]] = {spec: [] for spec in (*specs, *versions())}
    for seed in seeds:
        for spec, parts in made.items():
            if spec in PEERS:
                parts.append(peer_part(checkpoint, spec, langevin, seed, chosen.num_images, chosen.runs))
            else:
                parts.append(part_of(checkpoint, spec, seed, chosen.num_images, chosen.runs))
            milliseconds = 1000 * parts[-1]["processor_seconds"] / chosen.num_images
            print(f"{spec}, seed {seed}: {milliseconds:.2f} ms an image", flush=True)
    real = load_images(dataset, chosen.data, chosen.split).pixels[:MOST_REAL]
    panel = embedded_panel(dataset)
    seen = Seen(panel)
    rows = []
    for spec, parts in made.items():
        times = [1000 * part["processor_seconds"] / chosen.num_images for part in parts]
        row = row_of(checkpoint, seen, real, parts, chosen.split)
        rows.append({"peer": spec in PEERS, "milliseconds": sum(times) / len(times), "range": [min(times), max(times)], **row})
    results = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "panel": panel.name, "fingerprint": panel.fingerprint,
        "num_images": chosen.num_images * len(seeds), "seeds": seeds, "split": chosen.split, "budget": chosen.budget,
        "real_images": len(real), "peers": versions(), "rows": rows, **machine(),
    }  # fmt: skip
    file = chosen.out or RESULTS / f"{checkpoint.name}-cost-quality.json"
    for target, text in ((file, json.dumps(results) + "\n"), (file.with_suffix(".svg"), drawn(results))):
        with replacing(target) as temporary:
            temporary.write_text(text)
    print(f"wrote {file} and its picture")


def peer_part(checkpoint: Checkpoint, package: str, spec: str, seed: int, count: int, runs: Path) -> dict[str, Any]:
    """The images of a peer's Langevin with the settings of `spec`, from the starts of our own; as `panel.part_of`."""
    settings = {key: number(value) for key, _, value in (item.partition("=") for item in spec.split(":")[1:])}
    file = part_file(checkpoint, f"{package}-{versions()[package]}", seed, count, runs)
    return saved(file, lambda: peer_images(checkpoint, package, settings["eps"], settings["n_steps"], seed, count))


def peer_images(checkpoint: Checkpoint, package: str, eps: float, n_steps: int, seed: int, count: int) -> dict[str, Any]:
    target: Any = target_of(checkpoint, best_ratio(checkpoint), dtype=dtype_for("auto", "cpu"))
    start = target.init(seed, torch.arange(count))
    decode, energy = bare(checkpoint)
    chain = chains(energy, eps, start.device)[package]
    torch.manual_seed(seed)
    began, busy = time.monotonic(), time.process_time()
    ends, images = [], []
    for batch in start.split(PEER_BATCH):
        ends.append(chain(batch, n_steps).detach())
        images.append(decode(ends[-1]))
    spent_on = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - busy}
    return {
        "method": f"{package} langevin", "settings": {"eps": eps, "n_steps": n_steps}, "ratio": best_ratio(checkpoint),
        "before": target.decode(start), "after": torch.cat(images), "evaluations": spent(n_steps, n_steps),
        "mean_ratio_after": float(target.log_ratio(torch.cat(ends)).mean()), "fallbacks": 0, **spent_on,
    }  # fmt: skip


def bare(checkpoint: Checkpoint) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """uint8 images and energies (B,) of positions (B, d), by the networks as they are stored, frozen."""
    generator = of_normal(checkpoint.networks["generator"], checkpoint.config["prior"])
    ratio = log_ratio(checkpoint.networks, checkpoint.config, best_ratio(checkpoint))
    for network in (generator, ratio):
        network.eval().requires_grad_(False)

    @torch.no_grad()
    def decode(position: Tensor) -> Tensor:
        return generator(position).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)

    return decode, lambda position: position.square().sum(dim=1) / 2 - ratio(generator(position))


if __name__ == "__main__":
    main()
