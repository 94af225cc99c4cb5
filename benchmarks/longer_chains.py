"""Do chains four times as long undo anything? The panel's distances after 300 evaluations, paired with those after 75.

    python benchmarks/longer_chains.py mnist-gan --data ../shared/data/mnist --runs runs/panel --num-images 500 --seeds 0,1,2,3
        -> benchmarks/results/MODEL-longer-chains.json

Two chains of the same starts, by default of elliptical slice sampling with 150 and with 600 forward passes. In each kind of
features the change of the unbiased kernel distance from the shorter one to the longer one, as a share of the base's distance,
with the error of a paired difference, the real images' noise included. Kinds that have no vote are there too, marked. Images
are drawn, or read from --runs, as by `benchmarks/panel.py`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from panel import described, part_of, parts_parser
from speed import machine
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.errors import InputError
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel import judged, projected
from ebm_refine.metrics.panel_kinds import kinds_seen
from ebm_refine.metrics.panel_store import Panel, embedded_panel
from ebm_refine.utils.atomic_io import replacing

METHODS = "elliptical-slice:n_steps=150,elliptical-slice:n_steps=600"


def main() -> None:
    chosen = parts_parser(__doc__, METHODS).parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    methods, seeds = chosen.methods.split(","), [int(seed) for seed in chosen.seeds.split(",")]
    if len(methods) != 2:
        raise InputError(f"two methods are compared, the shorter one first; got {chosen.methods}")
    shorter, longer = ([part_of(checkpoint, one, seed, chosen.num_images, chosen.runs) for seed in seeds] for one in methods)
    panel = embedded_panel(dataset)
    real = projected(panel, load_images(dataset, chosen.data, "test").pixels[: chosen.real])
    base, short, long = (
        projected(panel, torch.cat([part[side] for part in parts]))
        for parts, side in ((shorter, "before"), (shorter, "after"), (longer, "after"))
    )
    results = {
        "model": Path(checkpoint.name).name,
        "weights": checkpoint.hashes,
        "panel": panel.name,
        "fingerprint": panel.fingerprint,
        "num_images": chosen.num_images * len(seeds),
        "seeds": seeds,
        "real_images": len(next(iter(real.values()))),
        "shorter": described(shorter, "evaluations"),
        "longer": described(longer, "evaluations"),
        "kinds": changes(panel, base, short, long, real, kinds_seen(checkpoint.config, longer[0]["ratio"])),
        **machine(),
    }
    print(json.dumps(results["kinds"], indent=1))
    with replacing(RESULTS / f"{results['model']}-longer-chains.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")


def changes(
    panel: Panel,
    base: dict[str, Tensor],
    short: dict[str, Tensor],
    long: dict[str, Tensor],
    real: dict[str, Tensor],
    seen: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """By kind: the shorter and the longer chain's change against base, and the difference of the two with its error.

    All as shares of the base's distance.
    """
    found = {}
    reports = (judged(panel, before, after, real, seen=seen) for before, after in ((base, short), (short, long)))
    for shorter, further in zip(*(one.rows for one in reports), strict=True):
        whole = shorter.before.value
        found[shorter.kind] = {
            "votes": shorter.votes,
            "shorter": shorter.difference.value / whole,
            "longer": (shorter.difference.value + further.difference.value) / whole,
            "further": further.difference.value / whole,
            "error": further.difference.error / whole,
        }
    return found


if __name__ == "__main__":
    main()
