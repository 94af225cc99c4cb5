"""A stranger's GAN brought to `ebm_refine`: wrapped, given a ratio from 5,000 real images, refined, and put before the panel.

    python benchmarks/small_gan.py --data ../shared/data/mnist --out runs/small_gan.pt
    python benchmarks/own_model.py --data ../shared/data/mnist --gan runs/small_gan.pt [--out benchmarks/results/own-model.json]
    python benchmarks/own_model.py --vectors [--out benchmarks/results/own-vectors.json]

Between the two marks below stands all that somebody with a GAN of their own writes. The panel's kinds vote, save the one that
the ratio's body is of; the second form does the same for vectors, a small table whose law is known.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from small_gan import LATENT, digits, networks
from torch import Tensor, nn

import ebm_refine

REAL, IMAGES = 5000, 2000


def images(data: str, gan: str, method: str, n_steps: int, eps: float | None, count: int, ratio: str | None) -> dict[str, Any]:
    real, labels = digits(data)[:REAL], numbers(data)[:REAL]
    started = time.monotonic()

    # From here …
    generator, discriminator = networks(gan)
    mine = ebm_refine.pair(generator, discriminator, latent=(LATENT, 1, 1), name="small-gan", ratio=ratio)
    if ratio is None:
        mine = ebm_refine.fit_ratio(mine, (real, labels))
    fitted = time.monotonic()
    result = ebm_refine.refine(mine, method, n_steps=n_steps, eps=eps, num_images=count)
    # … to here.

    seconds = {"fit": fitted - started, "refine": time.monotonic() - fitted}
    if ratio is None:
        mine.save_ratio(Path(gan).with_suffix(".ratio.safetensors"))
    report = ebm_refine.panel(result.before, result.after, dataset="mnist", body="classifier")
    print(report, file=sys.stderr)
    voting = [row for row in report.rows if row.votes]
    return {
        "settings": result.settings.as_dict(),
        "seconds": seconds,
        "ratio_report": {name: one["verdict"] for name, one in mine.config["ratio_report"].items()},
        "panel": report.as_dict(),
        "median_change_of_voters": statistics.median(row.relative for row in voting) if voting else None,
    }


def numbers(folder: str) -> Tensor:
    """The digits' labels (N,)."""
    import pyarrow.parquet as pq

    return torch.cat([torch.tensor(pq.read_table(file)["label"].to_pylist()) for file in sorted(Path(folder).glob("train-*"))])


def table(count: int, seed: int) -> Tensor:
    """(count, 4) float32: two correlated columns, one of two humps, one positive and skewed."""
    source = torch.Generator().manual_seed(seed)
    n = torch.randn(count, 4, generator=source)
    humps = torch.where(torch.rand(count, generator=source) < 0.3, -2.0, 1.0) + 0.4 * n[:, 2]
    return torch.stack([n[:, 0], 0.8 * n[:, 0] + 0.6 * n[:, 1], humps, (0.5 * n[:, 3]).exp()], dim=1)


def vectors(steps: int = 1500) -> dict[str, Any]:
    """A small GAN of that table, trained on the spot."""
    real = table(20_000, 0)
    torch.manual_seed(0)
    g = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    d = nn.Sequential(nn.Linear(4, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    of_g, of_d = (torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.9)) for network in (g, d))
    for _ in range(steps):
        some, fake = real[torch.randint(len(real), (128,))], g(torch.randn(128, 8))
        loss = nn.functional.softplus(-d(some)).mean() + nn.functional.softplus(d(fake.detach())).mean()
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        nn.functional.softplus(-d(fake)).mean().backward()
        of_g.step()

    started = time.monotonic()
    mine = ebm_refine.fit_ratio(ebm_refine.pair(g, d, latent=8, name="small-table"), real)
    fit = time.monotonic() - started
    results = ebm_refine.evaluate(mine, methods=["mala", "i-sir"], real=table(5000, 1), num_images=2000)
    return {
        "seconds": {"fit": fit, "all": time.monotonic() - started},
        "ratio_report": {name: one["verdict"] for name, one in mine.config["ratio_report"].items()},
        "rows": results["rows"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data")
    parser.add_argument("--gan")
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--method", default="langevin")
    parser.add_argument("--n-steps", type=int, default=100)
    parser.add_argument("--eps", type=float, default=0.05)
    parser.add_argument("--num-images", type=int, default=IMAGES)
    parser.add_argument("--ratio", help="a ratio fitted before")
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.vectors:
        found = vectors()
    else:
        eps = None if math.isnan(given.eps) else given.eps
        found = images(given.data, given.gan, given.method, given.n_steps, eps, given.num_images, given.ratio)
    text = json.dumps(found, indent=1)
    if given.out:
        Path(given.out).write_text(text + "\n")
    print(text)
