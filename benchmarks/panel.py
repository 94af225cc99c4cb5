"""The panel's verdict on a pair: base and refined images in the features of several kinds of encoders, against test images.

    python benchmarks/panel.py cifar10-dcgan --data ../shared/data/cifar10 -> benchmarks/results/MODEL-panel.json

    python benchmarks/panel.py mnist-gan --data ../shared/data/mnist --budget 25 --split holdout --num-images 2048 --seeds 0 \\
        --out benchmarks/results/mnist-gan-panel-holdout-25.json

Methods are `default` or a name, with settings after colons: `elliptical-slice:n_steps=150`. Two baselines need no sampler:
`best-of-N` keeps of every N base images the one with the largest r, `truncation:T` draws latents of absolute values below T.
`--budget B` is every method of the model with as many steps as cost at most B gradient evaluations an image, and the baselines:
what `choose_defaults.py` chooses from, on holdout. Images are drawn in parts of --num-images a seed; each part is saved in
--runs, so that a stopped run goes on.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from speed import machine
from table import best_ratio, variants
from torch import Tensor

from ebm_refine import load, refine
from ebm_refine.data.images import load_images
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.best_of import best_of, tries_within
from ebm_refine.evaluation.jobs import plan
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.evaluation.truncation import truncated
from ebm_refine.metrics.faces_found import shares
from ebm_refine.metrics.panel import judged, projected
from ebm_refine.metrics.panel_kinds import kinds_seen
from ebm_refine.metrics.panel_store import Panel, embedded_panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers.cost import spent
from ebm_refine.samplers.method import FORWARD
from ebm_refine.settings import methods_of
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import dtype_for

METHODS = "default,dg-flow,elliptical-slice:n_steps=50,elliptical-slice:n_steps=150,best-of-50,truncation:1.0"
THRESHOLDS = (1.0, 2.0)
MOST_REAL = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--methods", default=METHODS, help="comma-separated")
    parser.add_argument("--budget", type=float, help="every method at so many gradient evaluations an image; no --methods")
    parser.add_argument("--without", default="", help="with --budget: methods that are left out, comma-separated")
    parser.add_argument("--num-images", type=int, default=1000, help="images a seed")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--split", default="test", help="real images: test, or holdout to choose settings")
    parser.add_argument("--runs", type=Path, default=Path("runs/panel"))
    parser.add_argument("--sample-only", action="store_true", help="draw the images, measure nothing")
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    drawn = {}
    methods = chosen.methods.split(",")
    if chosen.budget:
        methods = within(checkpoint, chosen.budget, chosen.without.split(","))
    for method in methods:
        parts = [part_of(checkpoint, method, seed, chosen.num_images, chosen.runs) for seed in seeds]
        drawn[method] = parts
        print(f"{method}: {len(parts)} parts, {sum(part['seconds'] for part in parts):.0f} s", flush=True)
    if chosen.sample_only:
        return
    real = load_images(dataset, chosen.data, chosen.split).pixels[:MOST_REAL]
    panel = embedded_panel(dataset)
    seen = Seen(panel)
    rows = []
    for parts in drawn.values():
        rows.append(row_of(checkpoint, seen, real, parts, chosen.split))
    results = {
        "model": Path(checkpoint.name).name,
        "weights": checkpoint.hashes,
        "panel": panel.name,
        "fingerprint": panel.fingerprint,
        "members": [{"kind": one.kind.name, "title": one.kind.title, "sha256": one.kind.sha256} for one in panel.members],
        "num_images": chosen.num_images * len(seeds),
        "seeds": seeds,
        "split": chosen.split,
        **({"budget": chosen.budget} if chosen.budget else {}),
        "real_images": len(real),
        "rows": rows,
        **machine(),
    }
    file = chosen.out or RESULTS / f"{Path(checkpoint.name).name}-panel.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results) + "\n")
    print(f"wrote {file}")


def within(checkpoint: Checkpoint, budget: float, without: Sequence[str] = ()) -> list[str]:
    """Every method of a model but those `without`, with the steps that `budget` pays for, and the baselines, as --methods."""
    specs = []
    for method in methods_of(checkpoint.config):
        for given in variants(checkpoint, method) if method not in without else ():
            (job,) = plan(checkpoint, [method], 1, [0], [best_ratio(checkpoint)], given=given, budget=budget)
            shown = {"n_steps": job.n_steps, **{key: value for key, value in given.items() if key != "options"}}
            shown |= given.get("options", {})
            spec = ":".join([method, *(f"{key}={value}" for key, value in shown.items())])
            specs += [spec] if spec not in specs else []
    return [*specs, f"best-of-{tries_within(budget)}", *(f"truncation:{threshold}" for threshold in THRESHOLDS)]


def row_of(
    checkpoint: Checkpoint, seen: "Seen", real: Tensor | None, parts: Sequence[dict[str, Any]], split: str
) -> dict[str, Any]:
    """What the panel says of one method's parts together, as plain values; against uint8 `real` images of `split`, or, where
    None, against the features of that split that the panel stores."""
    before, after = (torch.cat([part[side] for part in parts]) for side in ("before", "after"))
    kinds = kinds_seen(checkpoint.config, parts[0]["ratio"])
    given = None if real is None else seen.of(real)
    report = judged(seen.panel, seen.of(before), projected(seen.panel, after), given, split=split, seen=kinds)
    if checkpoint.config["data"]["dataset"] == "celeba":
        sets = {"before": before, "after": after, **({} if real is None else {"real": real})}
        report = report._replace(faces=shares(sets))
    print(f"\n{parts[0]['method']}\n{report}", flush=True)
    row = described(parts, "evaluations", "mean_ratio_after", "seconds")
    return {**row, "fallbacks": sum(part["fallbacks"] for part in parts), **report.as_dict()}


def described(parts: Sequence[dict[str, Any]], *averaged: str) -> dict[str, Any]:
    """What all parts of a method share, and the means over the parts of what differs."""
    shared = {name: parts[0][name] for name in ("method", "settings", "ratio")}
    return {**shared, **{name: sum(part[name] for part in parts) / len(parts) for name in averaged}}


class Seen:
    """What the panel sees of sets of images, each looked at once: base and real ones are those of every method."""

    def __init__(self, panel: Panel):
        self.panel, self.known = panel, []

    def of(self, images: Tensor) -> dict[str, Tensor]:
        for known, features in self.known:
            if torch.equal(known, images):
                return features
        self.known.append((images, projected(self.panel, images)))
        return self.known[-1][1]


def parts_parser(words: str | None, methods: str) -> argparse.ArgumentParser:
    """The arguments of a benchmark that sets parts of `methods`, drawn or read from --runs, against test images."""
    parser = argparse.ArgumentParser(description=(words or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--methods", default=methods, help="comma-separated")
    parser.add_argument("--num-images", type=int, default=500, help="images a seed, as --runs holds them")
    parser.add_argument("--seeds", default="0,1,2,3")
    parser.add_argument("--real", type=int, default=5000, help="test images")
    parser.add_argument("--runs", type=Path, default=Path("runs/panel"))
    return parser


def part_of(checkpoint: Checkpoint, spec: str, seed: int, count: int, runs: Path) -> dict[str, Any]:
    """The images of one method and seed, drawn or read: uint8 "before" and "after" with what the method spent.

    "seconds" by the clock, "processor_seconds" of all threads of this process.
    """

    def make() -> dict[str, Any]:
        started, busy = time.monotonic(), time.process_time()
        part = drawn_part(checkpoint, spec, seed, count)
        return {**part, "seconds": time.monotonic() - started, "processor_seconds": time.process_time() - busy}

    return saved(part_file(checkpoint, spec.replace(":", "_"), seed, count, runs), make)


def part_file(checkpoint: Checkpoint, name: str, seed: int, count: int, runs: Path) -> Path:
    """Where a part of a model is saved; other weights of it have other files."""
    weights = "-".join(sha[:8] for sha in checkpoint.hashes.values())
    return runs / Path(checkpoint.name).name / f"{name}-{seed}-{count}-{weights}.pt"


def saved(file: Path, make: Callable[[], Any]) -> Any:
    """What lies in `file`, made and saved in one step where it is missing: tensors and plain values."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        with replacing(file) as temporary:
            torch.save(made, temporary)
    return torch.load(file, weights_only=True)


def drawn_part(checkpoint: Checkpoint, spec: str, seed: int, count: int) -> dict[str, Any]:
    name, *given = spec.split(":")
    if name.startswith("best-of-"):
        return best_by_ratio(checkpoint, int(name.removeprefix("best-of-")), seed, count)
    if name == "truncation":
        return prior_truncated(checkpoint, float(given[0]), seed, count)
    settings = {key: number(value) for key, _, value in (item.partition("=") for item in given)}
    own = {key: settings.pop(key) for key in ("eps", "n_steps", "temperature", "ratio", "beta") if key in settings}
    method = None if name == "default" else name
    result = refine(checkpoint, method, num_images=count, seed=seed, options=settings or None, **own)
    diagnostics, used = result.diagnostics, result.settings.as_dict()
    forwards, gradients = diagnostics.get("forwards_per_image", 0.0), diagnostics.get("gradients_per_image", 0.0)
    return {
        "method": used["method"],
        "settings": {key: used.get(key) for key in ("eps", "n_steps", "temperature", "beta", "options")},
        "ratio": used["ratio"],
        "before": result.before,
        "after": result.after,
        "evaluations": spent(forwards, gradients),
        "mean_ratio_after": float(result.ratio_after.mean()),
        "fallbacks": sum(diagnostics.get(key, 0) for key in ("budget_exhausted", "fallbacks")),
    }


def best_by_ratio(checkpoint: Checkpoint, tries: int, seed: int, count: int) -> dict[str, Any]:
    """Of every `tries` draws from the prior the one with the largest r; the first of them is the base's image."""
    target = target_by_best_ratio(checkpoint, seed, count)
    start, best = best_of(target, seed, torch.arange(count), tries)
    return {
        "method": f"best of {tries}", "settings": {}, "ratio": best_ratio(checkpoint), "before": target.decode(start),
        "after": target.decode(best), "evaluations": tries * FORWARD, "mean_ratio_after": float(target.log_ratio(best).mean()),
        "fallbacks": 0,
    }  # fmt: skip


@torch.no_grad()
def prior_truncated(checkpoint: Checkpoint, threshold: float, seed: int, count: int) -> dict[str, Any]:
    target = target_by_best_ratio(checkpoint, seed, count)
    latents = target.init(seed, torch.arange(count))
    inside = truncated(latents, threshold)
    return {
        "method": f"truncation at {threshold:g}", "settings": {}, "ratio": "none", "before": target.decode(latents),
        "after": target.decode(inside), "evaluations": 0.0, "mean_ratio_after": float(target.log_ratio(inside).mean()),
        "fallbacks": 0,
    }  # fmt: skip


def target_by_best_ratio(checkpoint: Checkpoint, seed: int, count: int) -> Any:
    """The target of `count` chains; of a model with classes each keeps the label that `refine` gives it."""
    labels = labels_of(checkpoint.config, seed, torch.arange(count))
    return target_of(checkpoint, best_ratio(checkpoint), dtype=dtype_for("auto", "cpu"), labels=labels)


def number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
